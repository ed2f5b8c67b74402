"""What the epilogue of a contraction reaches, as seen from where the loops around the contraction stand.

The places of an epilogue depend on the loops around, on constants, and on the row and the column of an element. What is
not of the element is added up once, before the contraction is called, and the epilogue gets an address for it: a view.
So its code is shorter, and the same for contractions that differ in nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from graphc.codegen.kernel import (
    Affine,
    Ask,
    Buffer,
    Call,
    Cast,
    Contract,
    Load,
    Position,
    Scalar,
    Select,
    Store,
    Var,
    closure,
    indices,
    scalars_of,
)
from graphc.ir.dims import Dim, symbols


@dataclass(frozen=True)
class View:
    """A buffer from one of its places on, which the contraction's row and column do not decide."""

    buffer: Buffer
    at: Affine


def with_views(stmt: Contract) -> tuple[Contract, dict[Buffer, View]]:
    """The contraction with an epilogue that names views only, and what they are; in the order of their first use."""
    found = _Views(stmt)
    for scalar in closure(tuple(scalars_of(stmt.epilogue))):
        found.scalars[scalar] = found.seen_from(scalar)
    epilogue = tuple(found.store(one) for one in stmt.epilogue)
    return replace(stmt, epilogue=epilogue, asks=tuple(map(found.ask, stmt.asks))), found.places


def variables(stmt: Contract) -> dict[Var, None]:
    """The variables of loops around that the epilogue needs as numbers."""
    every = (term for at in _indices(stmt) for term, _ in at.terms if isinstance(term, Var))
    return {var: None for var in every if var not in (stmt.row, stmt.column)}


def sizes(stmt: Contract) -> dict[str, None]:
    """The names of the run-time sizes that the epilogue needs."""
    dims: list[Dim] = [stmt.column.extent]
    for at in _indices(stmt):
        dims += [at.constant, *(coefficient for _, coefficient in at.terms)]
    return {symbol.name: None for dim in dims for symbol in symbols(dim)}


def _indices(stmt: Contract) -> list[Affine]:
    every = closure(tuple(scalars_of(stmt.epilogue)))
    places = [*(store.at for store in stmt.epilogue), *(ask.at for ask in stmt.asks)]
    return [*places, *(at for scalar in every for at in indices(scalar))]


class _Views:
    def __init__(self, stmt: Contract) -> None:
        self.own = (stmt.row, stmt.column)
        self.places: dict[Buffer, View] = {}
        self.scalars: dict[Scalar, Scalar] = {}
        self._views: dict[tuple[Buffer, tuple[tuple[Var | Scalar, Dim], ...]], Buffer] = {}

    def store(self, one: Store) -> Store:
        view, at = self._view(one.buffer, one.at)
        return replace(one, buffer=view, at=at, value=self.scalars[one.value])

    def ask(self, one: Ask) -> Ask:
        view, at = self._view(one.buffer, one.at)
        return replace(one, buffer=view, at=at)

    def seen_from(self, scalar: Scalar) -> Scalar:
        """The scalar, computed from what has been found for its operands."""
        match scalar:
            case Load(dtype, buffer, at, guard, otherwise):
                view, at = self._view(buffer, at)
                return Load(dtype, view, at, *(None if x is None else self.scalars[x] for x in (guard, otherwise)))
            case Call(dtype, op, args):
                return Call(dtype, op, tuple(self.scalars[x] for x in args))
            case Cast(dtype, value):
                return Cast(dtype, self.scalars[value])
            case Select(dtype, condition, yes, no):
                return Select(dtype, *(self.scalars[x] for x in (condition, yes, no)))
            case Position(dtype, index):
                return Position(dtype, self._index(index))
        return scalar

    def _view(self, buffer: Buffer, at: Affine) -> tuple[Buffer, Affine]:
        """A view of the buffer, and the place in it. Places that differ by a constant are of the same view."""
        around = tuple((term, c) for term, c in at.terms if isinstance(term, Var) and term not in self.own)
        view = self._views.get((buffer, around))
        if view is None:
            view = self._views[buffer, around] = Buffer(buffer.name, buffer.dtype, buffer.shape, buffer.role)
            self.places[view] = View(buffer, Affine(at.constant, around))
        within = Affine(at.constant, tuple(term for term in at.terms if term not in around))
        return view, self._index(within - self.places[view].at.constant)

    def _index(self, at: Affine) -> Affine:
        return Affine(
            at.constant, tuple((self.scalars.get(t, t) if isinstance(t, Scalar) else t, c) for t, c in at.terms)
        )
