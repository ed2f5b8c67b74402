"""Which integer inputs index something, within which bounds, and the kernel that checks them.

Only values taken straight from a leaf are checked (through casts and moves, which keep values); computed indices are
clamped where they are used.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from graphc.codegen.kernel import (
    Affine,
    Buffer,
    Call,
    Cast,
    Const,
    Fold,
    For,
    Kernel,
    Load,
    Position,
    Scalar,
    Store,
    Temp,
    Var,
    affine,
)
from graphc.ir.dims import Dim, product
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.types import BOOL, I64

KEEPS_VALUES = frozenset({"cast", "reshape", "broadcast", "transpose", "slice", "reverse"})


@dataclass(frozen=True)
class IndexBound:
    """Every element of the leaf is in [0, size), or equals `ignore`."""

    leaf: Node
    size: Dim
    ignore: int | None = None


def index_bounds(graph: Graph) -> Iterator[IndexBound]:
    """The bounds that the graph's gathers, scatters and class losses put on its leaves, each once."""
    seen: dict[IndexBound, None] = {}
    for node in graph.nodes():
        index, size, ignore = _use(node)
        while index is not None and index.op in KEEPS_VALUES and index.inputs:
            index = index.inputs[0]
        if index is not None and index.is_leaf and index.dtype.is_integer:
            seen[IndexBound(index, size, ignore)] = None
    yield from seen


def _use(node: Node) -> tuple[Node | None, Dim, int | None]:
    """(what a node uses as an index, the number of places, the value that stands for none)."""
    if node.op == "gather":
        table, index = node.inputs
        return index, table.shape[node.attr("axis")], None
    if node.op == "scatter_add":
        return node.inputs[0], node.attr("size"), None
    if node.op == "cross_entropy":
        logits, labels = node.inputs
        return labels, logits.shape[node.attr("axis")], node.attr("ignore")
    return None, 0, None


def out_of_range(bound: IndexBound) -> Kernel:
    """A kernel that stores whether any element of the leaf breaks the bound."""
    dtype = bound.leaf.dtype
    source = Buffer("index", dtype, bound.leaf.shape)
    flag = Buffer("flag", BOOL, (), "out")
    var = Var("i", product(bound.leaf.shape))
    value: Scalar = Load(dtype, source, affine(var))
    value = value if dtype == I64 else Cast(I64, value)
    low: Scalar = Call(BOOL, "lt", (value, Const(I64, 0)))
    high: Scalar = Call(BOOL, "ge", (value, Position(I64, affine(bound.size))))
    bad: Scalar = Call(BOOL, "or", (low, high))
    if bound.ignore is not None:
        bad = Call(BOOL, "and", (bad, Call(BOOL, "ne", (value, Const(I64, bound.ignore)))))
    temp = Temp(BOOL, "bad")
    loop = For(var, (), vector=True, folds=(Fold(temp, "or", False, bad),))
    return Kernel("check", (flag, source), (loop, Store(flag, Affine(), temp)), "is an index out of range")
