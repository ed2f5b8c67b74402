"""Which run-time dimensions the shapes of the inputs give: each axis is an equation, solved as the runtime will."""

from __future__ import annotations

from collections.abc import Iterable

from graphc.ir.dims import Dim, Quotient, Symbol, SymDim, symbols
from graphc.ir.node import Node


def determined(inputs: Iterable[Node]) -> dict[Symbol, None]:
    """The symbols that follow from the inputs' axes, in the order in which they are found."""
    axes = [dim for node in inputs for dim in node.shape if not isinstance(dim, int)]
    known: dict[Symbol, None] = {}
    progress = True
    while progress:
        progress = False
        for dim in axes:
            unknown = [symbol for symbol in symbols(dim) if symbol not in known]
            if len(unknown) == 1 and _is_linear(dim, unknown[0]):
                known[unknown[0]] = None
                progress = True
    return known


def _is_linear(dim: Dim, symbol: Symbol) -> bool:
    """Whether the symbol stands at most once in each product, and not inside of a rounded division."""
    if not isinstance(dim, SymDim):
        return False
    for monomial, _ in dim.terms:
        if monomial.count(symbol) > 1:
            return False
        for atom in monomial:
            if isinstance(atom, Quotient) and symbol in (*symbols(atom.numerator), *symbols(atom.denominator)):
                return False
    return True
