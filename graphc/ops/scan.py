"""scan: the recurrence of a run-time number of steps, as one node with the graph of one step inside.

`Recurrence` is the form in which rules and passes take a scan apart and put it together: the step's values over leaves
of their own, and over values of the graph around it.  `close` finds what belongs to the step and what is only read by
it, and gives the leaves names by their place, so that equal recurrences are one node.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

import numpy as np

from graphc.ir.dims import Dim
from graphc.ir.graph import Graph, inline, rebuild
from graphc.ir.node import Node, leaf, make, postorder
from graphc.ir.types import F64, I32, TensorType, TupleType
from graphc.ops.op import Array, Sample, Structured, expect, register
from graphc.ops.rules import check_shape

CONSTANT = frozenset({"const", "iota", "dim", "cast", "reshape", "transpose"})
"""Ops that, over constants, the step says itself: nothing is stored for it to read."""

_fresh = count()


def inner_leaf(role: str, type: TensorType) -> Node:
    """A leaf no other graph has; its name does not outlive `Recurrence.close`."""
    return leaf(role, f"{role}.{next(_fresh)}", type)


@register
class Scan(Structured):
    """scan(starts..., sequences..., values..., body, length, reverse, carries, sequences, recompute): a recurrence.

    Step t of 0 .. length-1 (length-1 .. 0 if `reverse`) computes the graph `body`.  Its leaves are: t as an i32 scalar,
    the carried values as the step before left them (at first the starts), element t along the first axis of every
    sequence, and the values that are the same at every step.  Its outputs are the new carried values, then what the
    step emits.  The results, read by `item`, are the carried values after the last step, then the emitted ones, stacked
    along a new first axis at place t.  With `recompute` the derivative keeps only the carried values of every step.
    """

    name = "scan"
    kernel = "loop"
    differentiable = False  # by a rule of its own for all results at once: graphc.ops.scan_gradient

    def infer(
        self, *types: TensorType, body: Graph, length: Dim, reverse: bool, carries: int, sequences: int, recompute: bool
    ) -> TupleType:
        expect(isinstance(body, Graph) and not body.updates, "scan: the body is not a graph, or it has updates")
        check_shape("scan", (length,))
        expect(isinstance(carries, int) and isinstance(sequences, int), "scan: carries and sequences are numbers")
        expect(isinstance(reverse, bool) and isinstance(recompute, bool), "scan: reverse and recompute are bools")
        cut = carries + sequences
        expect(carries >= 0 and sequences >= 0 and cut <= len(types), "scan: there are fewer operands than it says")
        for i, sequence in enumerate(types[carries:cut], carries):
            message = f"scan: {sequence} is no sequence of {length} elements"
            expect(sequence.rank > 0 and sequence.shape[0] == length, message, i)
        elements = [x.with_shape(x.shape[1:]) for x in types[carries:cut]]
        given = [TensorType(I32), *types[:carries], *elements, *types[cut:]]
        wanted = [x.type for x in body.leaves]
        expect(given == wanted, f"scan: the body takes {wanted}, not {given}")
        results = [x.type for x in body.outputs.values()]
        expect(len(results) >= max(1, carries), "scan: the body has no results, or fewer than carried values")
        expect(results[:carries] == list(types[:carries]), "scan: a carried value changes its type", *range(carries))
        stacked = tuple(x.with_shape((length, *x.shape)) for x in results[carries:])
        return TupleType((*types[:carries], *stacked))

    def evaluate(
        self, *arrays: Array, body: Graph, length: int, reverse: bool, carries: int, sequences: int, recompute: bool
    ) -> tuple[Array, ...]:
        from graphc.ir.interpret import interpret

        cut = carries + sequences
        names = [str(x.attr("name")) for x in body.leaves]
        outputs = list(body.outputs.values())
        now = list(arrays[:carries])
        stacked = [np.zeros((length, *x.shape), x.dtype.numpy) for x in outputs[carries:]]
        for t in reversed(range(length)) if reverse else range(length):
            values = [np.int32(t), *now, *(x[t] for x in arrays[carries:cut]), *arrays[cut:]]
            results = list(interpret(body, dict(zip(names, values, strict=True)), {})[0].values())
            now = results[:carries]
            for into, value in zip(stacked, results[carries:], strict=True):
                into[t] = value
        return (*now, *stacked)

    def samples(self, size: int) -> Iterator[Sample]:
        one = TensorType(F64, (3,))
        t, h, x, w = (
            leaf("index", "t", TensorType(I32)),
            leaf("carry", "c0", one),
            leaf("input", "x0", one),
            leaf("input", "v0", one),
        )
        body = Graph("body", (t, h, x, w), {"c0": make("tanh", h * w) + x, "y0": h * x})
        attrs = {"body": body, "length": size, "carries": 1, "sequences": 1, "recompute": False}
        types = (one, TensorType(F64, (size, 3)), one)
        yield Sample(types, {**attrs, "reverse": False})
        yield Sample(types, {**attrs, "reverse": True})


@dataclass
class Carry:
    """A value handed from step to step: its leaf in the step, what it starts as, and what the step makes of it."""

    leaf: Node
    start: Node
    new: Node


@dataclass
class Recurrence:
    """A scan taken apart; `elements` and `values` are (leaf in the step, value of the graph around)."""

    length: Dim
    reverse: bool
    index: Node
    carries: list[Carry]
    emits: list[Node]
    elements: list[tuple[Node, Node]] = field(default_factory=list)
    values: list[tuple[Node, Node]] = field(default_factory=list)
    recompute: bool = False

    @property
    def roots(self) -> list[Node]:
        return [*(c.new for c in self.carries), *self.emits]

    @property
    def leaves(self) -> list[Node]:
        """The leaves that differ from step to step."""
        return [self.index, *(c.leaf for c in self.carries), *(x for x, _ in self.elements)]

    def close(self) -> Node:
        """The scan node. What depends on no leaf of the step is computed outside of it, once."""
        return _Closing(self).node()

    def results(self) -> tuple[list[Node], list[Node]]:
        """(carried values after the last step, stacked emits)."""
        scan = self.close()
        items = [make("item", scan, index=i) for i in range(len(self.roots))]
        return items[: len(self.carries)], items[len(self.carries) :]


def build_scan(
    length: Dim,
    reverse: bool,
    step: Node,
    carries: Sequence[tuple[Node, Node, Node]],
    emits: Sequence[Node],
    recompute: bool = False,
) -> tuple[list[Node], list[Node]]:
    """(final carries, stacked emits) of a recurrence.

    `step` is the leaf that stands for t, an i32 scalar; each carry is (its leaf in the step, the starting value, the
    new value); emits are values of one step.  A stacked emit has the shape (length, *shape).  With nothing carried or
    emitted there is no loop: ([], []).  With `recompute` the derivative keeps the carried values of every so many steps
    only (graphc.ops.checkpoints).
    """
    recurrence = Recurrence(
        length, reverse, step, [Carry(*carry) for carry in carries], list(emits), recompute=recompute
    )
    if not recurrence.roots:
        return [], []
    if recompute and recurrence.carries:
        from graphc.ops.checkpoints import checkpointed

        return checkpointed(recurrence)
    return recurrence.results()


def open_scan(scan: Node) -> Recurrence:
    """The node as a Recurrence over new leaves; its values keep leaves of their own too."""
    body: Graph = scan.attr("body")
    carries, cut = scan.attr("carries"), scan.attr("carries") + scan.attr("sequences")
    leaves = [inner_leaf(str(x.attr("role")), x.type) for x in body.leaves]
    results = inline(body, leaves)
    inner = leaves[1:]
    return Recurrence(
        scan.attr("length"),
        scan.attr("reverse"),
        leaves[0],
        [Carry(*parts) for parts in zip(inner[:carries], scan.inputs[:carries], results[:carries], strict=True)],
        results[carries:],
        list(zip(inner[carries:cut], scan.inputs[carries:cut], strict=True)),
        list(zip(inner[cut:], scan.inputs[cut:], strict=True)),
        scan.attr("recompute"),
    )


class _Closing:
    """Sorts the nodes under a recurrence's roots into the step, the sequences it reads and the values it reads."""

    def __init__(self, recurrence: Recurrence) -> None:
        self.recurrence = recurrence
        self.given = dict(recurrence.values)
        self.sequences = dict(recurrence.elements)
        self.order = postorder(recurrence.roots)
        self.inside = dict.fromkeys(recurrence.leaves)
        constant: dict[Node, None] = {}
        for node in self.order:
            if node in self.given or any(x in self.inside for x in node.inputs):
                self.inside[node] = None
            elif node.op == "broadcast" or (node.op in CONSTANT and all(x in constant for x in node.inputs)):
                constant[node] = None  # a broadcast of what is around is read at its own size
        self.inside.update(constant)

    def node(self) -> Node:
        r = self.recurrence
        index = leaf("index", "t", TensorType(I32))
        carried = [leaf("carry", f"c{i}", c.leaf.type) for i, c in enumerate(r.carries)]
        binding = {r.index: index, **{c.leaf: new for c, new in zip(r.carries, carried, strict=True)}}
        elements: dict[Node, Node] = {}  # sequence -> its leaf
        values: dict[Node, Node] = {}  # value around -> its leaf
        for node in self._step():
            if node in binding:
                continue
            if node in self.given or node not in self.inside:
                around = self.given.get(node, node)
                binding[node] = values.setdefault(around, leaf("input", f"v{len(values)}", node.type))
            elif (sequence := self._sequence(node)) is not None:
                binding[node] = elements.setdefault(sequence, leaf("input", f"x{len(elements)}", node.type))
        results = rebuild(r.roots, lambda node, _: binding.get(node))
        count = len(r.carries)
        names = [f"c{i}" for i in range(count)] + [f"y{i}" for i in range(len(r.emits))]
        body = Graph(
            "body", (index, *carried, *elements.values(), *values.values()), dict(zip(names, results, strict=True))
        )
        return make(
            "scan", *(c.start for c in r.carries), *elements, *values, body=body, length=r.length, reverse=r.reverse,
            carries=count, sequences=len(elements), recompute=r.recompute,
        )  # fmt: skip

    def _step(self) -> list[Node]:
        """The nodes of the step, and below them the first ones that are not; inputs before users."""
        order: list[Node] = []
        wanted = dict.fromkeys(self.recurrence.roots)
        for node in reversed(self.order):
            if node not in wanted:
                continue
            order.append(node)
            if node in self.inside and node not in self.given and self._sequence(node) is None:
                wanted.update(dict.fromkeys(node.inputs))
        return order[::-1]

    def _sequence(self, node: Node) -> Node | None:
        """The sequence whose element t the node is: a leaf's, or x[t] along an axis of the recurrence's length."""
        if node in self.sequences:
            return self.sequences[node]
        if node.op != "gather" or node.inputs[1] is not self.recurrence.index:
            return None
        table, axis = node.inputs[0], node.attr("axis")
        around = self.given.get(table, table)
        if (table in self.inside and table not in self.given) or table.shape[axis] != self.recurrence.length:
            return None
        perm = (axis, *(i for i in range(len(table.shape)) if i != axis))
        return around if axis == 0 else make("transpose", around, perm=perm)
