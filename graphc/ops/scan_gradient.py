"""The derivative of a scan: another scan, over the same steps in the other order.

A step of the derivative is the chain rule over one step of the recurrence.  It carries the cotangents of the carried
values and sums those of the values that every step reads; the cotangents of the sequences are what it emits.  What it
needs of the forward step is emitted there and read as a sequence (the residuals): the carried values as each step found
them, and the results that are dear to compute; cheap ones are computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from graphc.ir.graph import rebuild
from graphc.ir.node import Node, postorder
from graphc.ops.build import zeros
from graphc.ops.op import DEAR, Composite, Cotangents, Reduction, Structured, instructions
from graphc.ops.scan import Carry, Recurrence, inner_leaf, open_scan

ChainRule = Callable[[Mapping[Node, Node], list[Node]], dict[Node, Node]]
"""(cotangents of results, what to differentiate by) -> cotangents of what they depend on."""

_READ_AGAIN = ("gather", "stop_gradient", "custom_vjp")  # another value's elements: keeping them would store them twice


def scan_vjp(scan: Node, cotangents: Mapping[int, Node], chain_rule: ChainRule) -> Cotangents:
    """The cotangent of each input from those of the results, by number; a missing one is zero."""
    r = open_scan(scan)
    backward = _Backward(r, cotangents)
    targets = [x for x in (*(c.leaf for c in r.carries), *(x for x, _ in (*r.elements, *r.values))) if x.dtype.is_float]
    found = chain_rule(backward.seeds, targets)
    return backward.close(found)


class _Backward:
    """The recurrence that runs back over the steps of `r`."""

    def __init__(self, r: Recurrence, cotangents: Mapping[int, Node]) -> None:
        self.r, self.cotangents = r, cotangents
        self.carried = [c for c in r.carries if c.leaf.dtype.is_float]
        self.leaves = [inner_leaf("carry", c.leaf.type) for c in self.carried]
        self.elements = list(r.elements)
        self.seeds: dict[Node, Node] = {}
        for c, d in zip(self.carried, self.leaves, strict=True):
            self._seed(c.new, d)
        for number, value in enumerate(r.emits, len(r.carries)):
            if number in cotangents and value.dtype.is_float:
                d = inner_leaf("input", value.type)
                self.elements.append((d, cotangents[number]))
                self._seed(value, d)

    def _seed(self, value: Node, d: Node) -> None:
        self.seeds[value] = self.seeds[value] + d if value in self.seeds else d

    def close(self, found: Mapping[Node, Node]) -> Cotangents:
        """The cotangents of the scan's inputs from those of the step's leaves."""
        r = self.r
        carries: list[tuple[Node, Node, Node]] = []
        for c, d in zip(self.carried, self.leaves, strict=True):
            start = self.cotangents.get(r.carries.index(c), zeros(c.leaf.type))
            carries.append((d, start, found.get(c.leaf, zeros(c.leaf.type))))
        summed = [(x, around) for x, around in r.values if x in found]
        for x, _ in summed:
            total = inner_leaf("carry", x.type)
            carries.append((total, zeros(x.type), total + found[x]))
        sequences = [x for x, _ in r.elements if x in found]
        emits = [found[x] for x in sequences]
        finals, stacked = self._run(carries, emits)
        of: dict[Node, Node] = dict(zip((c.leaf for c in self.carried), finals, strict=False))
        of.update(zip((x for x, _ in summed), finals[len(self.carried) :], strict=True))
        of.update(zip(sequences, stacked, strict=True))
        inputs = [c.leaf for c in r.carries] + [x for x, _ in (*r.elements, *r.values)]
        return tuple(of.get(x) for x in inputs)

    def _run(self, carries: list[tuple[Node, Node, Node]], emits: list[Node]) -> tuple[list[Node], list[Node]]:
        r = self.r
        roots = [new for _, _, new in carries] + emits
        residuals = self._residuals(roots)
        forward = Recurrence(
            r.length, r.reverse, r.index, r.carries, [*r.emits, *residuals], r.elements, r.values, r.recompute
        )
        _, stacked = forward.results()
        binding = {}
        for node, sequence in zip(residuals, stacked[len(r.emits) :], strict=True):
            binding[node] = inner_leaf("input", node.type)
            self.elements.append((binding[node], sequence))
        roots = rebuild(roots, lambda node, _: binding.get(node))
        news = [Carry(leaf, start, new) for (leaf, start, _), new in zip(carries, roots[: len(carries)], strict=True)]
        back = Recurrence(
            r.length, not r.reverse, r.index, news, roots[len(carries) :], self.elements, r.values, r.recompute
        )
        return back.results() if back.roots else ([], [])

    def _residuals(self, roots: list[Node]) -> list[Node]:
        """The forward step's nodes that the derivative reads as they were, in the order of the step."""
        forward = postorder(self.r.roots)
        is_forward, carried = dict.fromkeys(forward), dict.fromkeys(c.leaf for c in self.r.carries)
        kept: dict[Node, None] = {}
        seen: dict[Node, None] = {}
        stack = list(roots)
        while stack:
            node = stack.pop()
            if node in seen:
                continue
            seen[node] = None
            if node in carried or (node in is_forward and not self.r.recompute and _is_dear(node)):
                kept[node] = None
            else:
                stack.extend(node.inputs)
        order = [*carried, *(x for x in forward if x not in carried)]
        return [x for x in order if x in kept]


def _is_dear(node: Node) -> bool:
    """Whether the result is kept for the derivative instead of computed again from what is kept."""
    kind = node.definition
    if isinstance(kind, Structured):
        return kind.kernel not in ("buffer", "alias", "loop")
    return node.op not in _READ_AGAIN and (instructions(node.op) >= DEAR or isinstance(kind, (Reduction, Composite)))
