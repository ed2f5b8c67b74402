"""Recurrences that run over the same values run once, and do only what is needed.

Autodiff makes a second scan out of every one it differentiates, which emits what the derivative reads; both become
one again here.
"""

from __future__ import annotations

from collections.abc import Mapping

from graphc.ir.graph import Graph, rebuild
from graphc.ir.node import Node, make, postorder
from graphc.ops.build import broadcast
from graphc.ops.scan import Carry, Recurrence, inner_leaf, open_scan
from graphc.passes.bodies import replace, scans
from graphc.passes.pipeline import graph_pass


@graph_pass("tidy-scans")
def tidy_scans(graph: Graph) -> Graph:
    """Runs equal recurrences once, and drops what nobody reads from their steps."""
    while values := _merged(graph):
        graph = replace(graph, values)
    for scan in reversed(scans(graph)):
        graph = trimmed(graph, scan)
    return graph


def opened(scan: Node) -> Recurrence:
    """The scan taken apart, with the values that every step reads in the place of their leaves."""
    r = open_scan(scan)
    around = dict(r.values)
    roots = rebuild(r.roots, lambda node, _: around.get(node))
    carries = [Carry(c.leaf, c.start, new) for c, new in zip(r.carries, roots, strict=False)]
    return Recurrence(r.length, r.reverse, r.index, carries, roots[len(carries) :], r.elements, [], r.recompute)


# ---- equal recurrences -----------------------------------------------------------------------------------------------


class _Shared:
    """Leaves that recurrences have in common, so that equal steps are equal nodes."""

    def __init__(self) -> None:
        self.leaves: dict[object, Node] = {}

    def leaf(self, key: object, like: Node) -> Node:
        return self.leaves.setdefault(key, inner_leaf(str(like.attr("role")), like.type))

    def open(self, scan: Node) -> Recurrence:
        r = opened(scan)
        binding = {r.index: self.leaf("index", r.index)}
        binding.update({c.leaf: self.leaf((i, c.start), c.leaf) for i, c in enumerate(r.carries)})
        binding.update({x: self.leaf(around, x) for x, around in r.elements})
        roots = rebuild(r.roots, lambda node, _: binding.get(node))
        carries = [Carry(binding[c.leaf], c.start, new) for c, new in zip(r.carries, roots, strict=False)]
        elements = [(binding[x], around) for x, around in r.elements]
        emits = roots[len(carries) :]
        return Recurrence(r.length, r.reverse, binding[r.index], carries, emits, elements, [], r.recompute)


def _merged(graph: Graph) -> dict[Node, Node]:
    """The results of the first scans that can be one, as its results; nothing if there are none."""
    found = scans(graph)
    if len(found) < 2:
        return {}
    shared = _Shared()
    groups: dict[object, list[tuple[Node, Recurrence]]] = {}
    for scan in found:
        r = shared.open(scan)
        key = (r.length, r.reverse, r.recompute, *((c.leaf, c.start, c.new) for c in r.carries))
        group = groups.setdefault(key, [])
        if not any(node in _below(scan) for node, _ in group):
            group.append((scan, r))
    return next((_as_one(group) for group in groups.values() if len(group) > 1), {})


def _below(scan: Node) -> dict[Node, None]:
    return dict.fromkeys(postorder(scan.inputs))


def _as_one(group: list[tuple[Node, Recurrence]]) -> dict[Node, Node]:
    """Every result of the scans as one of a single scan that emits what any of them does."""
    first = group[0][1]
    emits = list(dict.fromkeys(x for _, r in group for x in r.emits))
    elements = list(dict.fromkeys(pair for _, r in group for pair in r.elements))
    union = Recurrence(
        first.length, first.reverse, first.index, first.carries, emits, elements, [], first.recompute
    ).close()
    place = {x: len(first.carries) + i for i, x in enumerate(emits)}
    values = {}
    for scan, r in group:
        numbers = [*range(len(r.carries)), *(place[x] for x in r.emits)]
        for i, number in enumerate(numbers):
            values[make("item", scan, index=i)] = make("item", union, index=number)
    return values


# ---- what is needed --------------------------------------------------------------------------------------------------


def trimmed(graph: Graph, scan: Node) -> Graph:
    """The graph with the scan reduced to what is read from it."""
    used = [n for n in graph.nodes() if n.op == "item" and n.inputs[0] is scan]
    return replace(graph, reduced(opened(scan), {x.attr("index"): x for x in used}))


def reduced(r: Recurrence, used: Mapping[int, Node]) -> dict[Node, Node]:
    """The used results of a recurrence, by number, as those of the smallest one that has them."""
    r = _without_constants(r)
    sequences = dict(r.elements)
    needed = _needed_carries(r, used)
    varying = _varying(r)
    emits: dict[Node, None] = {}
    values: dict[Node, Node] = {}
    for number, item in used.items():
        if number < len(r.carries):
            continue
        x = r.emits[number - len(r.carries)]
        if x in sequences:
            values[item] = sequences[x]
        elif x not in varying:
            values[item] = broadcast(x, item.shape, tuple(range(1, len(item.shape))))
        else:
            emits[x] = None
    kept = [c for c in r.carries if c.leaf in needed]
    smaller = Recurrence(r.length, r.reverse, r.index, kept, list(emits), r.elements, r.values, r.recompute)
    if not smaller.roots:
        return {**values, **_starts(r, used)}
    finals, stacked = smaller.results()
    last = dict(zip((c.leaf for c in kept), finals, strict=True))
    place = dict(zip(emits, stacked, strict=True))
    for number, item in used.items():
        if number < len(r.carries):
            c = r.carries[number]
            values[item] = last.get(c.leaf, c.start)
        elif item not in values:
            values[item] = place[r.emits[number - len(r.carries)]]
    return values


def _starts(r: Recurrence, used: Mapping[int, Node]) -> dict[Node, Node]:
    return {item: r.carries[number].start for number, item in used.items() if number < len(r.carries)}


def _without_constants(r: Recurrence) -> Recurrence:
    """The recurrence with carried values that no step changes in the place of their leaves; they stay in the list."""
    constant = {c.leaf: c.start for c in r.carries if c.new is c.leaf}
    if not constant:
        return r
    roots = rebuild(r.roots, lambda node, _: constant.get(node))
    carries = [Carry(c.leaf, c.start, new) for c, new in zip(r.carries, roots, strict=False)]
    return Recurrence(r.length, r.reverse, r.index, carries, roots[len(carries) :], r.elements, r.values, r.recompute)


def _needed_carries(r: Recurrence, used: Mapping[int, Node]) -> dict[Node, None]:
    """The leaves of the carried values that the used results depend on."""
    by_leaf = {c.leaf: c for c in r.carries}
    needed: dict[Node, None] = {}
    roots = [r.emits[n - len(r.carries)] for n in used if n >= len(r.carries)]
    pending = [c for n, c in enumerate(r.carries) if n in used and c.new is not c.start]
    while roots or pending:
        for c in pending:
            needed[c.leaf] = None
            roots.append(c.new)
        below, roots = postorder(roots), []
        pending = [by_leaf[x] for x in below if x in by_leaf and x not in needed]
    return needed


def _varying(r: Recurrence) -> dict[Node, None]:
    """The nodes of the step that depend on a leaf of it."""
    varying = dict.fromkeys(r.leaves)
    for node in postorder(r.roots):
        if any(x in varying for x in node.inputs):
            varying[node] = None
    return varying
