"""What a schedule consists of: tasks in order, and the memory that they read and write."""

from __future__ import annotations

from dataclasses import dataclass, field

from graphc.codegen.kernel import Buffer, Kernel
from graphc.codegen.target import Target
from graphc.ir.dims import Dim
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.types import TensorType


@dataclass(eq=False)
class Memory:
    """Where a value lives: `kind` is arena, constant, leaf or output, in a loop also start or panels.

    `name` says which leaf, output or start. A start is what a carried value begins with; panels are made by a loop
    before its first step, of an operand that all steps share.
    """

    type: TensorType
    kind: str = "arena"
    name: str = ""
    leaf: Node | None = None


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


@dataclass
class Slot:
    """A part of the arena: it must hold each of `sizes` (bytes)."""

    sizes: list[Dim]
    tenants: list[Tenant] = field(default_factory=list)


@dataclass
class MemoryPlan:
    """slots in order of address; `slot_of` maps a value or scratch buffer to its slot's number."""

    slots: list[Slot]
    slot_of: dict[Tenant, int]
    lifetimes: dict[Tenant, tuple[int, int]]


@dataclass(eq=False)
class Loop:
    """A scan: the schedule of one step, run `length` times.

    `places` gives the buffer of the loop's kernel for every leaf of the step but t, and for every emitted value and
    every start by name; of those in `stepping` a step sees the part at its own place.  `scratch` are the slots of the
    step's memory, `starts` the tasks before the first step: they put the first carried values into place and make
    panels.
    """

    length: Dim
    reverse: bool
    step: Schedule
    memory: MemoryPlan
    places: dict[Node | str, Buffer]
    stepping: tuple[Node | str, ...]
    scratch: list[Buffer]
    starts: list[Task]
    panels: dict[Memory, Buffer]

    def home(self, place: Tenant) -> Buffer | None:
        """The buffer of the loop's kernel that a task's value lies in; None for constants and for t."""
        if isinstance(place, Buffer) or place.kind == "arena":
            return self.scratch[self.memory.slot_of[place]]
        if place.kind == "panels":
            return self.panels[place]
        if place.kind in ("output", "start"):
            return self.places[place.name]
        assert place.leaf is not None, "memory outside of the arena belongs to a leaf or a constant"
        return self.places.get(place.leaf)
