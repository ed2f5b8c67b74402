"""Which inputs index something, within which bounds, and the kernel that checks them.

Only values taken straight from a leaf are checked (through casts and moves, which keep values); computed indices are
clamped where they are used.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from graphc.codegen import loops
from graphc.codegen.kernel import Buffer, Kernel
from graphc.ir.dims import Dim
from graphc.ir.graph import Graph
from graphc.ir.node import Node, make
from graphc.ir.types import BOOL, I32, I64, U8, DType
from graphc.ops.build import cast, compare, fill, reduce, size_of
from graphc.ops.op import IndexMap


@dataclass(frozen=True)
class IndexBound:
    """Every element of `index` is in [0, size), or equals `ignore`; `index` is the leaf or a part of it."""

    leaf: Node
    index: Node
    size: Dim
    ignore: int | None = None

    @property
    def is_of_all(self) -> bool:
        """Whether every element of the leaf is bound, as it stands there."""
        return self.index is self.leaf


def index_bounds(graph: Graph) -> Iterator[IndexBound]:
    """The bounds that the graph's gathers, scatters and class losses put on its leaves, each once."""
    seen: dict[IndexBound, None] = {}
    for index, size, ignore in _uses(graph):
        while _has_same_elements(index):
            index = index.inputs[0]
        leaf = index
        while _moves(leaf) or leaf.op == "cast":
            leaf = leaf.inputs[0]
        if leaf.is_leaf:
            seen[IndexBound(leaf, index, size, ignore)] = None
    yield from seen


def _uses(graph: Graph) -> Iterator[tuple[Node, Dim, int | None]]:
    """(what is used as an index, the number of places, the value that stands for none), in scans too.

    What the step of a scan uses as it reads it is a use of the whole sequence, or of the value that all steps read.
    """
    for node in graph.nodes():
        index, size, ignore = _use(node)
        if index is not None:
            yield index, size, ignore
        if node.op != "scan":
            continue
        body: Graph = node.attr("body")
        around = dict(zip(body.leaves[1:], node.inputs, strict=True))
        for bound in index_bounds(body):
            if bound.is_of_all and bound.leaf.attr("role") == "input":
                yield around[bound.leaf], bound.size, bound.ignore


def _has_same_elements(node: Node) -> bool:
    """Whether the node's operand has the same numbers as elements."""
    if node.op == "cast":
        return _holds(node.dtype, node.inputs[0].dtype)
    return _moves(node) and getattr(node.definition, "keeps_all", True)


def _moves(node: Node) -> bool:
    """Whether the elements of the node are some of its operand's, at other places."""
    return node.op == "reshape" or isinstance(node.definition, IndexMap)


def _holds(wide: DType, narrow: DType) -> bool:
    """Whether every number of an integer type is one of another."""
    (least, most), (low, high) = wide.range(), narrow.range()
    return narrow.is_integer and least <= low and high <= most


def _use(node: Node) -> tuple[Node | None, Dim, int | None]:
    """(what a node uses as an index, the number of places, the value that stands for none)."""
    if node.op == "gather":
        table, index = node.inputs
        return index, table.shape[node.attr("axis")], None
    if node.op in ("scatter_add", "last_places"):
        return node.inputs[0], node.attr("size"), None
    if node.op == "cross_entropy" and not node.inputs[1].dtype.is_float:
        logits, labels = node.inputs
        return labels, logits.shape[node.attr("axis")], node.attr("ignore")
    return None, 0, None


def out_of_range(bound: IndexBound) -> Kernel:
    """A kernel that stores whether any of the elements breaks the bound."""
    numbers, narrow = bound.index.dtype, range(-(2**31), 2**31)
    limits = (bound.size, bound.ignore or 0)
    fits = _holds(I32, numbers) and all(isinstance(limit, int) and limit in narrow for limit in limits)
    kind = I32 if fits else I64
    value = cast(bound.index, kind)
    bad = make("ge", value, fill(size_of(bound.size, kind), value.shape))
    if numbers != U8:
        bad = make("or", compare("lt", value, 0), bad)
    if bound.ignore is not None:
        bad = make("and", bad, compare("ne", value, bound.ignore))
    source, flag = Buffer("index", bound.leaf.dtype, bound.leaf.shape), Buffer("flag", BOOL, (), "out")
    found = reduce("or", bad, *range(len(value.shape)))
    body, _ = loops.build({found: flag}, {bound.leaf: source})
    return Kernel("check", (flag, source), body, "is an index out of range")
