"""A schedule as the program that every thread of a team runs: its steps, and before which of them the threads meet.

A step is a phase of a task (graphc.codegen.parallel). What is worth it is shared out, the rest is for thread 0.
The threads meet before a step only if it writes what one since the last meeting reads or writes, or reads what one
writes, be it a value, a leaf that is updated in place or a slot of the arena that changes its tenant; and not if
thread 0 runs both.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace

from graphc.codegen.cost import cost_of
from graphc.codegen.kernel import Buffer
from graphc.codegen.memory import ALIGNMENT, size_of
from graphc.codegen.parallel import Phase, phases
from graphc.codegen.tasks import Memory, MemoryPlan, Schedule, Task
from graphc.ir.dims import Dim, bounds, floordiv

WORTH_SHARING = 1_500_000  # picoseconds of a phase: a meeting takes about a tenth of it
WORTH_A_FORK = 20_000_000  # picoseconds of all that is shared


@dataclass(frozen=True, eq=False)
class Step:
    """A phase of a task. `worth` says from which value of its cost on it is shared; `meet` before it starts."""

    task: Task
    phase: Phase
    meet: bool = False

    @property
    def is_shared(self) -> bool:
        """Whether several threads run it, at some sizes at least."""
        return self.phase.split is not None

    @property
    def is_always_worth_it(self) -> bool:
        return bounds(self.phase.cost)[0] >= WORTH_SHARING


@dataclass(frozen=True, eq=False)
class Program:
    """The steps in order; `private` maps a step's private scratch to its place in a thread's own memory."""

    steps: tuple[Step, ...]
    private: dict[Buffer, Dim] = field(default_factory=dict)
    private_sizes: tuple[Dim, ...] = ()  # a thread's own memory must hold each of these (bytes)

    @property
    def shared_cost(self) -> Dim:
        """Picoseconds of what can be shared."""
        total: Dim = 0
        for step in self.steps:
            if step.is_shared:
                total = total + step.phase.cost
        return total

    @property
    def is_parallel(self) -> bool:
        """Whether several threads are worth it at any size."""
        most = bounds(self.shared_cost)[1]
        return most is None or most >= WORTH_A_FORK


def plan_threads(schedule: Schedule, memory: MemoryPlan) -> Program:
    """The steps of a schedule."""
    steps = [step for task in schedule.tasks for step in _steps(task, schedule)]
    private: dict[Buffer, Dim] = {}
    sizes: dict[Dim, None] = {}
    for step in steps:
        place: Dim = 0
        for buffer in step.phase.private:
            private[buffer] = place
            place = place + floordiv(size_of(buffer) + (ALIGNMENT - 1), ALIGNMENT) * ALIGNMENT
        if place != 0:
            sizes[place] = None
    return Program(_with_meetings(steps, memory), private, tuple(sizes))


def _steps(task: Task, schedule: Schedule) -> list[Step]:
    """A task's phases; what is not worth sharing at any size is one kernel again."""
    found = [_worth_it(phase) for phase in phases(task.kernel, schedule.target)]
    if any(phase.split for phase in found):
        return [Step(task, phase) for phase in found]
    return [Step(task, Phase(task.kernel, None, (), cost_of(task.kernel.body, schedule.target)))]


def _worth_it(phase: Phase) -> Phase:
    most = bounds(phase.cost)[1]
    return phase if most is None or most >= WORTH_SHARING else replace(phase, split=None, private=())


def _with_meetings(steps: Sequence[Step], memory: MemoryPlan) -> tuple[Step, ...]:
    found: list[Step] = []
    since: list[tuple[Step, dict[Hashable, None], dict[Hashable, None]]] = []
    for step in steps:
        reads, writes = _places(step, memory)
        meet = any(
            (step.is_shared or other.is_shared)
            and (any(p in other_writes for p in (*reads, *writes)) or any(p in other_reads for p in writes))
            for other, other_reads, other_writes in since
        )
        if meet:
            since.clear()
        since.append((step, reads, writes))
        found.append(replace(step, meet=meet))
    return tuple(found)


def _places(step: Step, memory: MemoryPlan) -> tuple[dict[Hashable, None], dict[Hashable, None]]:
    """Where a step reads and where it writes: slots, leaves, outputs."""
    reads, writes = step.phase.touched()
    if step.task.loop is not None:
        reads = [*step.task.reads]
        writes = [buffer for buffer in step.task.kernel.buffers if buffer.role != "in"]
    return {p: None for b in reads for p in _place(b, step.task, memory)}, {
        p: None for b in writes for p in _place(b, step.task, memory)
    }


def _place(buffer: Buffer, task: Task, memory: MemoryPlan) -> list[Hashable]:
    home: Memory | Buffer = task.writes.get(buffer) or task.reads.get(buffer) or buffer
    if isinstance(home, Buffer) or home.kind == "arena":
        return [("slot", memory.slot_of[home])]
    if home.kind == "constant":
        return []
    return [(home.kind, home.leaf if home.kind == "leaf" else home.name)]
