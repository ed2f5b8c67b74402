"""Which nodes share a kernel.

Nodes are visited in order and join a group when the rules allow it; groups keep a linear order in which they can run
(every group reads only what earlier ones made), so that no join can close a cycle.  A group is a loop nest over one
shape, possibly folding some of its axes, or a contraction with what is done to its result.  For every edge between
groups the reason is kept: `explain fusion` shows it.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from dataclasses import dataclass, field

from graphc.ir.dims import Dim
from graphc.ir.graph import Graph
from graphc.ir.node import ConstArray, Node
from graphc.ops.contraction import may_split, part_of
from graphc.ops.movement import is_joined
from graphc.ops.op import IndexMap, Pointwise, Reduction, Structured
from graphc.ops.pooling import GREATEST
from graphc.passes.cost import weight

FRESH = frozenset({"pad", "concat", "gather", "bf16_pairs"})
LARGEST = 256  # nodes of a group: compile time stays linear in the graph, registers are not exhausted
EPILOGUE = 64  # instructions of an epilogue: it stands between the products
MOST_PARTS = 6  # of a product that are in one register tile
MOST_STORED = (
    4  # results that follow such a tile: it stores a line of each at a time, rows apart, which memory is slow at
)
HEAVIEST = 640  # instructions of a group's innermost loop: LLVM's time grows faster than linearly with them


def is_free(node: Node) -> bool:
    """A splat, a position or an index mapping: part of whatever kernel reads it, never stored for it."""
    if node.op == "const":
        return not isinstance(node.attr("value"), ConstArray)
    return node.op in ("iota", "dim") or isinstance(node.definition, IndexMap)


def is_memory(node: Node) -> bool:
    """In memory before any kernel runs."""
    return node.is_leaf or (node.op == "const" and not is_free(node))


def is_elementwise(node: Node) -> bool:
    """Computes an element from the operands' elements of the same place; a reshape only renames memory."""
    known = is_free(node) or node.op in FRESH or node.op in ("const", "reshape")
    return isinstance(node.definition, Pointwise) and not known


def has_epilogue(node: Node) -> bool:
    """Whether the node is a kernel of its own that can do more to its result's elements before it stores them."""
    definition = node.definition
    return isinstance(definition, Structured) and definition.kernel in ("contraction", "convolution", "window")


@dataclass(eq=False)
class Group:
    """Nodes of one kernel; `place` orders the groups; `readers` read from it, it reads from `sources`."""

    kind: str  # loop, contraction, or other (what cannot be joined)
    shape: tuple[Dim, ...]
    place: float
    folded: tuple[int, ...] = ()
    members: dict[Node, None] = field(default_factory=dict)
    readers: dict[Group, None] = field(default_factory=dict)
    sources: dict[Group, None] = field(default_factory=dict)
    weight: int = 0
    parts: Node | None = None  # the product whose equal parts, of this shape, the members follow

    @property
    def kept(self) -> tuple[int, ...]:
        return tuple(axis for axis in range(len(self.shape)) if axis not in self.folded)

    @property
    def kept_shape(self) -> tuple[Dim, ...]:
        return tuple(self.shape[axis] for axis in self.kept)


def _heaviest(group: Group) -> int:
    """How many instructions an element of the group may cost."""
    return EPILOGUE if group.kind == "contraction" and group.parts is None else HEAVIEST


@dataclass
class Grouping:
    """The groups of a graph in an order in which they can run, and why neighbours did not become one."""

    groups: list[Group]
    group_of: dict[Node, Group]
    reasons: list[tuple[Node, Node, str]]


def group_nodes(graph: Graph) -> Grouping:
    """Groups every node that computes something."""
    builder = _Builder(graph)
    for node in graph.nodes():
        if is_free(node):
            builder.sources(node)  # remembers them, so that a long chain needs no recursion
        elif not is_memory(node):
            builder.add(node)
    order = sorted(builder.groups, key=lambda g: g.place)
    return Grouping(order, builder.group_of, builder.reasons)


class _Builder:
    def __init__(self, graph: Graph) -> None:
        self.users, self.roots = graph.users(), dict.fromkeys(graph.roots)
        self.groups: dict[Group, None] = {}
        self.group_of: dict[Node, Group] = {}
        self.reasons: list[tuple[Node, Node, str]] = []
        self._sources: dict[Node, tuple[Node, ...]] = {}
        self._places: list[float] = [0.0]

    def sources(self, node: Node) -> tuple[Node, ...]:
        """What a node reads from memory: itself, or for an index mapping what is below it; leaves not counted."""
        if is_memory(node):
            return ()
        if not is_free(node):
            return (node,)
        found = self._sources.get(node)
        if found is None:
            found = tuple(dict.fromkeys(s for x in node.inputs for s in self.sources(x)))
            self._sources[node] = found
        return found

    def add(self, node: Node) -> None:
        """Puts the node into the latest group that it reads from, or into a new one right behind it."""
        if node.op == "item":  # a name of a result, not another kernel
            self.group_of[node] = self.group_of[node.inputs[0]]
            return
        if (twin := self._same_windows(node)) is not None:
            self._put(node, twin, dict.fromkeys(self.group_of[s] for s in self.sources(node.inputs[0])))
            return
        read = dict.fromkeys(s for x in node.inputs for s in self.sources(x))
        groups = dict.fromkeys(self.group_of[s] for s in read)
        latest = max(groups, key=lambda g: g.place, default=None)
        if latest is not None:
            reason = self.obstacle(node, latest)
            if reason is None:
                self._join(node, latest, groups)
                return
            self.reasons += [(s, node, reason) for s in read if self.group_of[s] is latest][:1]
            sibling = self._sibling(node, latest, groups)
            if sibling is not None:
                self._put(node, sibling, groups)
                return
        self._new(node, latest, groups)

    def _sibling(self, node: Node, latest: Group, groups: dict[Group, None]) -> Group | None:
        """A group that folds what the reduction reads over the same axes: one sweep does for both."""
        if not isinstance(node.definition, Reduction):
            return None
        for group in latest.readers:
            follows = all(other.place < group.place for other in groups)
            if follows and group.folded == tuple(node.attr("axes")) and self.obstacle(node, group) is None:
                return group
        return None

    def _same_windows(self, node: Node) -> Group | None:
        """The group that looks for the greatest elements of the same windows, if the node does that."""
        if node.op not in GREATEST:
            return None
        twins = (x for x in self.users[node.inputs[0]] if x.op in GREATEST and x.attrs == node.attrs)
        return next((self.group_of[x] for x in twins if x in self.group_of), None)

    def _new(self, node: Node, after: Group | None, groups: dict[Group, None]) -> None:
        place = self._place_after(after.place if after is not None else 0.0)
        if has_epilogue(node):
            part = self._part(node)
            group = Group("contraction", node.shape if part is None else part.shape, place)
            group.parts = node if part is not None else None
        elif isinstance(node.definition, Reduction):
            group = Group("loop", node.inputs[0].shape, place, tuple(node.attr("axes")))
        elif is_elementwise(node) or node.op in FRESH:
            group = Group("loop", node.shape, place)
        else:
            group = Group("other", (), place)
        self.groups[group] = None
        self._put(node, group, groups)
        if is_elementwise(node):  # what it reads may run here as well, behind the scalars that kept it from joining
            for other in list(groups):
                if self._may_merge(other, group):
                    self._merge(other, group)

    def _part(self, node: Node) -> Node | None:
        """A part of a product that is read by nothing but its equal parts."""
        slices = self.users[node]
        if node in self.roots or len(slices) < 2 or not may_split(node):
            return None
        numbers = dict.fromkeys(part_of(x, node) for x in slices)
        if None in numbers or len(numbers) > MOST_PARTS or not slices[0].shape:
            return None
        whole = len(numbers) * slices[0].shape[-1] == node.shape[-1]
        return slices[0] if whole and self._stored_behind(slices) <= MOST_STORED else None

    def _stored_behind(self, slices: list[Node]) -> int:
        """How many values would be stored if all that is elementwise behind the parts were one kernel."""
        inside, pending = dict.fromkeys(slices), [*slices]
        while pending:
            for user in self.users[pending.pop()]:
                if user not in inside and is_elementwise(user) and user.shape == slices[0].shape:
                    inside[user] = None
                    pending.append(user)
        return sum(x in self.roots or any(user not in inside for user in self.users[x]) for x in inside)

    def _place_after(self, place: float) -> float:
        """A place behind `place` and before the next one."""
        position = bisect_right(self._places, place)
        following = self._places[position] if position < len(self._places) else place + 2.0
        between = (place + following) / 2
        if not place < between < following:  # the gap is used up: spread all places evenly
            number = {old: float(i) for i, old in enumerate(self._places)}
            for group in self.groups:
                group.place = number[group.place]
            self._places = list(number.values())
            return self._place_after(number[place])
        insort(self._places, between)
        return between

    def _put(self, node: Node, group: Group, groups: dict[Group, None]) -> None:
        group.members[node] = None
        group.weight += weight(node)
        self.group_of[node] = group
        for other in groups:
            if other is not group:
                other.readers[group] = group.sources[other] = None

    def _join(self, node: Node, group: Group, groups: dict[Group, None]) -> None:
        if isinstance(node.definition, Reduction):
            group.folded = tuple(node.attr("axes"))
        self._put(node, group, groups)
        for other in list(groups):
            if other is not group and self._may_merge(other, group):
                self._merge(other, group)

    def _may_merge(self, other: Group, group: Group) -> bool:
        """Whether an earlier group may run as part of a later one: same loops, and nobody in between needs it."""
        if other.kind != "loop" or group.kind != "loop" or other.shape != group.shape:
            return False
        if other.folded != group.folded and other.folded and group.folded:
            return False
        if len(other.members) + len(group.members) > LARGEST or other.weight + group.weight > HEAVIEST:
            return False
        if any(reader is not group and reader.place < group.place for reader in other.readers):
            return False
        return not self._moved_between(other, group)

    def _moved_between(self, other: Group, group: Group) -> bool:
        """Whether a member of the group reads elements of the other one at other places than it computes."""
        for node in group.members:
            for x in node.inputs:
                fresh = node.op in FRESH and not is_joined(node, group.shape)
                moved = fresh or (is_free(x) and not self._spreads_row(x, other))
                if moved and any(s in other.members for s in self.sources(x)):
                    return True
        return False

    def _merge(self, other: Group, group: Group) -> None:
        group.folded = group.folded or other.folded
        group.members = {**other.members, **group.members}
        group.weight += other.weight
        for node in other.members:
            self.group_of[node] = group
        for earlier in other.sources:
            del earlier.readers[other]
            earlier.readers[group] = group.sources[earlier] = None
        for later in other.readers:
            del later.sources[other]
            if later is not group:
                group.readers[later] = later.sources[group] = None
        del self.groups[other]

    # ---- the rules ---------------------------------------------------------------------------------------------------

    def obstacle(self, node: Node, group: Group) -> str | None:
        """Why the node cannot join the group; None if it can."""
        if group.kind == "other":
            return f"{next(iter(group.members)).op} is a kernel of its own"
        if has_epilogue(node):
            return f"{node.op} reads its operands from memory"
        if len(group.members) >= LARGEST:
            return f"the group has {LARGEST} nodes"
        if group.weight + weight(node) > (limit := _heaviest(group)):
            return f"the group's loop would have more than {limit} instructions"
        if isinstance(node.definition, Reduction):
            return self._reduction_obstacle(node, group)
        if group.kind == "loop" and is_joined(node, group.shape):
            return self._operand_obstacle(node, group)
        if not is_elementwise(node):
            return f"{node.op} reads other elements than it writes"
        if node.shape != group.shape and not (group.folded and node.shape == group.kept_shape):
            return f"the shapes differ: {list(node.shape)} and {list(group.shape)}"
        return self._operand_obstacle(node, group)

    def _reduction_obstacle(self, node: Node, group: Group) -> str | None:
        x, axes = node.inputs[0], tuple(node.attr("axes"))
        if group.kind != "loop":
            return "a reduction does not run in the epilogue of a contraction"
        if x.shape != group.shape:
            return f"the shapes differ: {list(x.shape)} and {list(group.shape)}"
        if group.folded and group.folded != axes:
            return f"one folds axes {list(group.folded)}, the other {list(axes)}"
        if not group.folded and any(is_free(y) for m in group.members for y in m.inputs if self._reads(y, group)):
            return "an element is read at another place"
        return self._operand_obstacle(node, group)

    def _operand_obstacle(self, node: Node, group: Group) -> str | None:
        for x in node.inputs:
            if group.parts is not None and part_of(x, group.parts) is not None:
                continue
            if is_free(x) and self._reads(x, group) and not self._spreads_row(x, group):
                return f"{x.op} reads elements of other places"
        return None

    def _reads(self, x: Node, group: Group) -> bool:
        return any(self.group_of.get(s) is group for s in self.sources(x))

    def _spreads_row(self, x: Node, group: Group) -> bool:
        """Whether x is a result of the group's folds, put back along the folded axes."""
        if x.op != "broadcast" or not group.folded or x.shape != group.shape:
            return False
        inner = x.inputs[0]
        return inner.shape == group.kept_shape and x.attr("axes") == group.kept and not is_free(inner)
