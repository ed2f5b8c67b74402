"""Work moves out of recurrences: before the loop what needs no carried value, behind it what no step waits for.

Contractions are what is worth moving: `x[t] @ w` at every step becomes one product over the sequence, and a weight's
gradient, summed step by step, one product over all steps.
"""

from __future__ import annotations

from graphc.ir.graph import Graph, rebuild
from graphc.ir.node import Node, make, postorder
from graphc.ir.types import I32
from graphc.ops.op import Elementwise
from graphc.ops.scan import Carry, Recurrence, inner_leaf
from graphc.passes.bodies import replace, scans
from graphc.passes.pipeline import graph_pass
from graphc.passes.stacking import stack, sum_over_steps
from graphc.passes.tidy_scans import opened

LINEAR = frozenset({"transpose", "reshape", "neg"})
"""Ops of one operand whose sum over the steps is the op of the sum."""

SUMMED = frozenset({"contract", "reduce_sum", "scatter_add"})


@graph_pass("scan-motion")
def scan_motion(graph: Graph) -> Graph:
    """Moves contractions out of loops: before them over sequences, behind them over what the steps emit."""
    for scan in reversed(scans(graph)):
        r = opened(scan)
        moved = _Moved(r)
        if values := moved.values():
            items = {make("item", scan, index=i): value for i, value in values.items()}
            graph = replace(graph, items)
    return graph


def _hoisted(r: Recurrence) -> Recurrence:
    """Contractions that depend on no carried value, computed for all steps before the loop.

    So is what is elementwise behind them, such as the sum with a bias: it comes for nothing there.
    """
    sequences = dict(r.elements)
    carried = dict.fromkeys(c.leaf for c in r.carries)
    varying: dict[Node, None] = {}
    stacked: dict[Node, Node] = {}
    found: dict[Node, None] = {}
    for node in postorder(r.roots):
        if node in sequences:
            stacked[node] = sequences[node]
        elif node is r.index:
            stacked[node] = make("iota", dtype=I32, shape=(r.length,), axis=0)
        elif node in carried or any(x in varying for x in node.inputs):
            varying[node] = None
        elif any(x in stacked for x in node.inputs):
            value = stack(node, tuple(stacked.get(x) for x in node.inputs), r.length)
            if value is None:
                varying[node] = None
                continue
            stacked[node] = value
            if node.op == "contract" or (
                isinstance(node.definition, Elementwise) and any(x in found for x in node.inputs)
            ):
                found[node] = None
    if not found:
        return r
    elements = {node: inner_leaf("input", node.type) for node in found}
    roots = rebuild(r.roots, lambda node, _: elements.get(node))
    carries = [Carry(c.leaf, c.start, new) for c, new in zip(r.carries, roots, strict=False)]
    before = [(x, stacked[node]) for node, x in elements.items()]
    emits = roots[len(carries) :]
    return Recurrence(r.length, r.reverse, r.index, carries, emits, [*r.elements, *before], [], r.recompute)


class _Moved:
    """A recurrence without the contractions that only sums and emitted values need."""

    def __init__(self, r: Recurrence) -> None:
        self.r = r
        self.sequences = dict(r.elements)
        self.sums = {i: terms for i, c in enumerate(r.carries) if (terms := _terms_of_sum(r, c)) is not None}
        self.core = dict.fromkeys(postorder(c.new for i, c in enumerate(r.carries) if i not in self.sums))
        self.varying = dict.fromkeys(r.leaves)
        for node in postorder(r.roots):
            if any(x in self.varying for x in node.inputs):
                self.varying[node] = None
        self.emitted: dict[Node, Node] = {}  # node of the step -> the leaf that stands for its stacked values

    def values(self) -> dict[int, Node]:
        """The results by number, of the loop that remains and of what moved behind it; empty if nothing moved."""
        r, count = self.r, len(self.r.carries)
        kept: list[Carry] = []
        outside: dict[int, Node] = {}
        for i, c in enumerate(r.carries):
            rest, total = self._summed(i, c)
            if rest is None:
                assert total is not None, "a sum has terms"
                outside[i] = total
            else:
                kept.append(Carry(c.leaf, c.start, rest))
                if total is not None:
                    outside[i] = total
        emits = {i: self._behind(x) for i, x in enumerate(r.emits, count)}
        loop = _hoisted(Recurrence(r.length, r.reverse, r.index, kept, list(self.emitted), r.elements, [], r.recompute))
        finals, stacked = loop.results() if loop.roots else ([], [])
        last = dict(zip((c.leaf for c in kept), finals, strict=True))
        binding = dict(zip(self.emitted.values(), stacked, strict=True))
        results: dict[int, Node] = {}
        for i, c in enumerate(r.carries):
            parts = [x for x in (outside.get(i), last.get(c.leaf)) if x is not None]
            results[i] = parts[0] if len(parts) == 1 else parts[0] + parts[1]
        results.update(emits)
        return dict(zip(results, rebuild(results.values(), lambda node, _: binding.get(node)), strict=True))

    # ---- sums over the steps -----------------------------------------------------------------------------------------

    def _summed(self, number: int, c: Carry) -> tuple[Node | None, Node | None]:
        """(what the loop still computes of a carried value, what is added to it behind the loop)."""
        if number not in self.sums:
            return c.new, None
        rest, total = None, None
        for term in self.sums[number]:
            moved = self._sum(term)
            if moved is None:
                rest = term if rest is None else rest + term
            else:
                total = moved if total is None else total + moved
        if rest is not None:
            return c.leaf + rest, total
        starts_at_zero = c.start.op == "const" and c.start.attr("value") == 0
        return None, total if starts_at_zero or total is None else c.start + total

    def _sum(self, term: Node) -> Node | None:
        """The sum of a term over the steps, from stacked values."""
        path = []
        while term.op in LINEAR:
            path.append(term)
            term = term.inputs[0]
        if term.op not in SUMMED or term in self.core:
            return None
        total = sum_over_steps(term, tuple(self._stacked(x) for x in term.inputs), self.r.length)
        for node in reversed(path):
            total = make(node.op, total, **node.attrs_dict) if total is not None else None
        return total

    # ---- emitted values ----------------------------------------------------------------------------------------------

    def _behind(self, x: Node) -> Node:
        """An emitted value of all steps: computed behind the loop if it is a contraction with what no step changes."""
        path, inner = [], x
        while inner.op in LINEAR and inner not in self.core:
            path.append(inner)
            inner = inner.inputs[0]
        if inner.op == "contract" and inner not in self.core and any(y not in self.varying for y in inner.inputs):
            total = stack(inner, tuple(self._stacked(y) for y in inner.inputs), self.r.length)
            for node in reversed(path):
                total = stack(node, (total,), self.r.length) if total is not None else None
            if total is not None:
                return total
        found = self._stacked(x)
        return found if found is not None else _every(x, self.r)

    def _stacked(self, x: Node) -> Node | None:
        """The values of x at all steps; None if it is the same at every step."""
        if x not in self.varying:
            return None
        if x in self.sequences:
            return self.sequences[x]
        if x not in self.emitted:
            self.emitted[x] = inner_leaf("input", x.type.with_shape((self.r.length, *x.shape)))
        return self.emitted[x]


def _every(x: Node, r: Recurrence) -> Node:
    return make("broadcast", x, shape=(r.length, *x.shape), axes=tuple(range(1, len(x.shape) + 1)))


def _terms_of_sum(r: Recurrence, c: Carry) -> list[Node] | None:
    """The terms that every step adds to a carried value which nothing else reads; None if it is no such sum."""
    terms: list[Node] = []
    pending, own = [c.new], 0
    while pending:
        x = pending.pop()
        if x is c.leaf:
            own += 1
        elif x.op == "add" and c.leaf in postorder([x]):
            pending += reversed(x.inputs)
        else:
            terms.append(x)
    others = [root for root in r.roots if root is not c.new]
    read = dict.fromkeys(postorder([*others, *terms]))
    return terms if own == 1 and terms and c.leaf not in read and c.leaf.dtype.is_float else None
