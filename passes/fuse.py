"""Fusion: groups of nodes become `fused` nodes, one kernel each.

Three passes share one mechanism: which nodes may join and which groups are legal is in graphc.passes.grouping;
this file decides what a group stores, and rebuilds the graph.  A pass keeps the groups of its own kind and leaves the
nodes of the others as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from graphc.ir.graph import Graph
from graphc.ir.node import Node, leaf, make
from graphc.ops.op import Pointwise, Reduction, Structured
from graphc.ops.view import VIEWS, view_of
from graphc.passes.cost import element_cost
from graphc.passes.grouping import Group, Grouping, group_nodes, is_free, is_memory
from graphc.passes.match import splat_value
from graphc.passes.pipeline import graph_pass

RECOMPUTE_COST = 3  # instructions an element: no dearer than the load and the store that they replace


@graph_pass("fuse-epilogue")
def fuse_epilogue(graph: Graph) -> Graph:
    """Puts what is done to a contraction's result (bias, activation, optimiser) into its kernel."""
    return _fuse(graph, lambda group: group.kind == "contraction")


@graph_pass("fuse-reduction")
def fuse_reduction(graph: Graph) -> Graph:
    """Makes reductions over the same axes, and the elementwise ops around them, one kernel."""
    return _fuse(graph, lambda group: group.kind == "loop" and bool(group.folded))


@graph_pass("fuse-elementwise")
def fuse_elementwise(graph: Graph) -> Graph:
    """Makes neighbouring elementwise ops of one shape one kernel."""
    return _fuse(graph, lambda group: group.kind == "loop")


def _fuse(graph: Graph, wanted: Callable[[Group], bool]) -> Graph:
    grouping = group_nodes(graph)
    stored = _Stored(graph, grouping, wanted)
    return graph.with_roots(_Rebuild(grouping, wanted, stored).roots(graph.roots))


class _Stored:
    """Which nodes must lie in memory: those read outside of their group, less what is cheaper computed again."""

    def __init__(self, graph: Graph, grouping: Grouping, wanted: Callable[[Group], bool]) -> None:
        self.grouping, self.wanted = grouping, wanted
        self.readers: dict[Node, dict[Node, None]] = {}  # node -> who reads it, through index mappings
        nodes = graph.nodes()
        for node in nodes:
            for x in node.inputs:
                self.readers.setdefault(x, {})[node] = None
        roots = dict.fromkeys(graph.roots)
        for node in reversed(nodes):
            if is_free(node):
                users = self.readers.get(node, {})
                for x in node.inputs:
                    through = self.readers[x]
                    through.pop(node, None)
                    through.update(users)
                    if node in roots:
                        roots[x] = None
        self.nodes: dict[Node, None] = {}
        for node in nodes:
            group = grouping.group_of.get(node)
            if group is not None and (node in roots or self._read_outside(node, group)):
                self.nodes[node] = None
        for node in self._shared_sources(roots):
            self.nodes[node] = None
        self.recomputed: dict[Node, None] = {}
        for node in nodes:
            if node in self.nodes and node not in roots:
                again, rows = self._again(node)
                if again:
                    self.recomputed.update(again)
                    self.nodes.update(rows)
                    del self.nodes[node]

    def _read_outside(self, node: Node, group: Group) -> bool:
        return any(self.grouping.group_of.get(r) is not group for r in self.readers.get(node, {}))

    def _shared_sources(self, roots: Mapping[Node, None]) -> list[Node]:
        """Nodes of which two or more stored ones are cheap functions: one store then takes the place of several."""
        derived: dict[Node, int] = {}
        for node in self.nodes:
            readers = self.readers.get(node, {})
            if node not in roots and all(_computes(r) for r in readers):
                for source in self._cheap_sources(node):
                    derived[source] = derived.get(source, 0) + 1
        return [node for node, count in derived.items() if count > 1 and node not in self.nodes]

    def _cheap_sources(self, node: Node) -> Iterator[Node]:
        """The nodes of its group, of its shape, from which the node follows by a few ops that read nothing else."""
        group, cost, x = self.grouping.group_of[node], 0, node
        while (cost := cost + element_cost(x)) <= RECOMPUTE_COST:
            read = [y for y in x.inputs if splat_value(y) is None]
            if len(read) != 1 or read[0].shape != node.shape or self.grouping.group_of.get(read[0]) is not group:
                return
            x = read[0]
            yield x

    def _again(self, node: Node) -> tuple[dict[Node, None], dict[Node, None]]:
        """The nodes to compute again in every reader instead of storing this one; none if storing it is cheaper.

        A few cheap ops on one tensor that lies in memory anyway (and on rows or scalars): its readers load that one.
        Tensors that all its readers load anyway come on top.  Or on none, but on positions: a mask that compares them
        is never stored.  Also the rows that must be stored for that: what the node's own group folded.
        """
        group = self.grouping.group_of[node]
        outside = [r for r in self.readers[node] if self.grouping.group_of.get(r) is not group]
        if group.kind == "other" or node.shape == () or not all(_computes(r) for r in outside):
            return {}, {}
        inner: dict[Node, None] = {}
        rows: dict[Node, None] = {}
        loaded: dict[Node, None] = {}
        stack, cost, positions, more = [node], 0, False, 0
        while stack:
            x = stack.pop()
            if x in inner or x in loaded:
                continue
            if is_free(x):
                positions = positions or x.op == "iota"
                stack.extend(x.inputs)
            elif x is not node and (is_memory(x) or x in self.nodes):
                if x.shape == node.shape:
                    loaded[x] = None
                    more += not all(self._loads(self.grouping.group_of.get(r), x, node) for r in outside)
            elif self._is_row(x, node, group):
                rows[x] = None
            else:
                cost += element_cost(x)
                inner[x] = None
                stack.extend(x.inputs)
            if cost > RECOMPUTE_COST or more > 1:
                return {}, {}
        return (inner, rows) if loaded or positions else ({}, {})

    def _is_row(self, x: Node, node: Node, group: Group) -> bool:
        """Whether x is computed by the node's group from its folds, an element for every row."""
        own = self.grouping.group_of.get(x) is group and bool(group.folded)
        return own and x.shape == group.kept_shape and node.shape == group.shape

    def _loads(self, group: Group | None, x: Node, node: Node) -> bool:
        """Whether a group reads the elements of x where it computes, apart from those behind `node`."""
        return group is not None and any(x in m.inputs for m in group.members if m is not node)


def _computes(reader: Node) -> bool:
    """Whether a node can compute its operand itself: not if it needs it as memory."""
    return isinstance(reader.definition, Pointwise | Reduction) and reader.op != "reshape"


def _viewed(x: Node) -> list[Node]:
    """The slices, transposes and reshapes through which a contraction can read its operand, outermost last.

    Without a slice there are none, for then there is nothing that would have to be copied.
    """
    chain: list[Node] = []
    below = x
    while below.op in VIEWS:
        chain.insert(0, below)
        below = below.inputs[0]
    is_cut = any(node.op == "slice" for node in chain)
    return chain if is_cut and not is_free(below) and view_of(x) is not None else []


class _Rebuild:
    """The graph with every wanted group as one node."""

    def __init__(self, grouping: Grouping, wanted: Callable[[Group], bool], stored: _Stored) -> None:
        self.grouping, self.stored = grouping, stored
        self.new: dict[Node, Node] = {}
        self.plans: dict[Group, tuple[list[Node], list[Node], list[Node]]] = {}
        for group in grouping.groups:
            if wanted(group):
                plan = self._plan(group)
                if len(plan[1]) > 1:
                    self.plans[group] = plan

    def _plan(self, group: Group) -> tuple[list[Node], list[Node], list[Node]]:
        """(outputs, nodes of the body in order, what the body reads)."""
        outputs = [n for n in group.members if n in self.stored.nodes]
        body: dict[Node, None] = {}
        structured = [n for n in group.members if isinstance(n.definition, Structured)]
        read: dict[Node, None] = {}
        for operand in (x for n in structured for x in n.inputs):  # they lie in memory
            seen = _viewed(operand) if structured[0].op == "contract" else []
            body.update(dict.fromkeys(seen))
            read[seen[0].inputs[0] if seen else operand] = None
        stack: list[tuple[Node, bool]] = [(n, False) for n in reversed(outputs)]
        while stack:
            node, done = stack.pop()
            if node in body or node in read:
                continue
            if done:
                body[node] = None
            elif self._is_inside(node, group):
                stack.append((node, True))
                stack.extend((x, False) for x in reversed(node.inputs))
            else:
                read[node] = None
        return outputs, list(body), list(read)

    def _is_inside(self, node: Node, group: Group) -> bool:
        if self.grouping.group_of.get(node) is group:
            return True
        return is_free(node) or node in self.stored.recomputed

    def roots(self, roots: list[Node]) -> list[Node]:
        """The new nodes for the roots; iterative, since graphs may be deep."""
        stack = list(reversed(roots))
        while stack:
            node = stack[-1]
            if node in self.new:
                stack.pop()
                continue
            group = self.grouping.group_of.get(node)
            plan = self.plans.get(group) if group is not None and node in self.stored.nodes else None
            needs = plan[2] if plan is not None else list(node.inputs)
            missing = [x for x in needs if x not in self.new]
            if missing:
                stack.extend(reversed(missing))
                continue
            stack.pop()
            if plan is None:
                self.new[node] = make(node.op, *(self.new[x] for x in node.inputs), **node.attrs_dict)
            else:
                self._build(plan)
        return [self.new[root] for root in roots]

    def _build(self, plan: tuple[list[Node], list[Node], list[Node]]) -> None:
        outputs, body, read = plan
        inner: dict[Node, Node] = {}
        leaves = []
        for i, node in enumerate(read):
            inner[node] = leaf("input", f"a{i}", node.type)
            leaves.append(inner[node])
        for node in body:
            inner[node] = make(node.op, *(inner[x] for x in node.inputs), **node.attrs_dict)
        results = {f"r{i}": inner[node] for i, node in enumerate(outputs)}
        fused = make("fused", *(self.new[x] for x in read), body=Graph("body", tuple(leaves), results))
        for i, node in enumerate(outputs):
            self.new[node] = fused if len(outputs) == 1 else make("item", fused, index=i)
