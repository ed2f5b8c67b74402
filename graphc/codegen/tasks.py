"""What a schedule consists of: tasks in order, and the memory that they read and write."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

from graphc.codegen.kernel import Buffer, Kernel
from graphc.codegen.target import Target
from graphc.ir.dims import Dim, product
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.types import TensorType


@dataclass(eq=False)
class Memory:
    """Where a value lives: `kind` is arena, constant, leaf or output, in a loop also start, panels or next.

    `name` says which leaf, output or start. A start is what a carried value begins with; panels are made by a loop
    before its first step, of an operand that all steps share; next is what the next step needs, which this one only
    asks for.  A value that is a part of another lies `offset` bytes
    behind the beginning of `part_of`.
    """

    type: TensorType
    kind: str = "arena"
    name: str = ""
    leaf: Node | None = None
    part_of: Memory | None = None
    offset: Dim = 0

    @property
    def whole(self) -> Memory:
        """What has a place of its own."""
        return self.part_of or self


@dataclass(eq=False)
class Task:
    """One kernel with the values its buffers stand for; a loop's kernel has no statements, only the buffers."""

    kernel: Kernel
    reads: dict[Buffer, Memory]
    writes: dict[Buffer, Memory]
    loop: Loop | None = None


@dataclass(eq=False)
class Schedule:
    """Tasks in order, and the memory of every value that is read."""

    graph: Graph
    target: Target
    tasks: list[Task] = field(default_factory=list)
    memory: dict[Node, Memory] = field(default_factory=dict)
    in_place: dict[Node, Task] = field(default_factory=dict)  # leaf -> the task that overwrites it


Tenant = Memory | Buffer  # a value, or a task's scratch buffer


@dataclass(frozen=True)
class Region:
    """A part of the arena: `units` of `unit` bytes, a multiple of 64."""

    unit: Dim
    units: int


@dataclass(frozen=True)
class Extent:
    """Where a value lies: `count` units of a region, from unit `start` on."""

    region: int
    start: int
    count: int


@dataclass
class MemoryPlan:
    """Regions in order of address, and where each value or scratch buffer lies from its first task to its last."""

    regions: list[Region]
    extents: dict[Tenant, Extent]
    lifetimes: dict[Tenant, tuple[int, int]]

    @property
    def size(self) -> Dim:
        """Bytes of all regions."""
        return self.offset(Extent(len(self.regions), 0, 0))

    def offset(self, extent: Extent) -> Dim:
        """Bytes of the arena before an extent."""
        total: Dim = 0
        for region in self.regions[: extent.region]:
            total = total + region.unit * region.units
        return total + self.regions[extent.region].unit * extent.start if extent.start else total

    @cached_property
    def pieces(self) -> dict[Tenant, tuple[tuple[int, int], ...]]:
        """(region, number) of the pieces a value covers: a piece lies between two places where values begin or end."""
        ends: list[set[int]] = [set() for _ in self.regions]
        for extent in self.extents.values():
            ends[extent.region] |= {extent.start, extent.start + extent.count}
        number = [{end: n for n, end in enumerate(sorted(found))} for found in ends]
        return {
            tenant: tuple((e.region, n) for n in range(number[e.region][e.start], number[e.region][e.start + e.count]))
            for tenant, e in self.extents.items()
        }


@dataclass(frozen=True)
class Place:
    """A buffer of a loop's kernel, or the part of it along its first axis that a step sees.

    With `steps` it is part t + `ahead`, in the first turn all of the buffer `first` if there is one; of a ring of two
    it is part 0 in every other turn and then part 1, or the other way round if `ahead` is 1.
    """

    buffer: Buffer
    steps: bool = False
    ring: bool = False
    ahead: int = 0
    first: Buffer | None = field(default=None, compare=False)

    @property
    def is_part(self) -> bool:
        return self.steps or self.ring

    @property
    def stride(self) -> Dim:
        """Bytes from one part to the next."""
        return product(self.buffer.shape[1:]) * self.buffer.dtype.size

    def turned(self, reverse: bool) -> Place:
        """What the part seen here in one turn is in the next."""
        if self.ring:
            return replace(self, ahead=1 - self.ahead)
        return replace(self, ahead=self.ahead + (1 if reverse else -1)) if self.steps else self


@dataclass(eq=False)
class Loop:
    """A scan: the schedule of one step, run `length` times.

    `places` tells where every leaf of the step but t is, and by name every emitted value, every new carried value that
    does not overwrite the old one, and every start.  `scratch` are the regions of the step's memory, `starts` the tasks
    before the first step: they put the first carried values into place and make panels.
    """

    length: Dim
    reverse: bool
    step: Schedule
    memory: MemoryPlan
    places: dict[Node | str, Place]
    scratch: list[Buffer]
    starts: list[Task]
    panels: dict[Memory, Buffer]
    following: dict[Memory, Place] = field(default_factory=dict)

    @property
    def parts(self) -> list[Place]:
        """The places that are other memory in every turn."""
        return [place for place in (*self.places.values(), *self.following.values()) if place.is_part]

    def place(self, value: Memory) -> Place | None:
        """Where a value of a task lies, or what it is a part of; None in the step's own memory, for constants and t."""
        value = value.whole
        if value.kind == "arena":
            return None
        if value.kind == "panels":
            return Place(self.panels[value])
        if value.kind == "next":
            return self.following[value]
        if value.kind in ("output", "start"):
            return self.places[value.name]
        assert value.leaf is not None, "memory outside of the arena belongs to a leaf or a constant"
        return self.places.get(value.leaf)
