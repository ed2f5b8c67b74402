"""A schedule as the program that every thread of a team runs: its steps, and before which of them the threads meet.

A step is a phase of a task (graphc.codegen.parallel), or a whole loop. What is worth it is shared out, the rest is for
thread 0. A loop is shared if something in its turn is: then all threads run it, and what it consists of are steps
again. Where threads meet is told by graphc.codegen.meetings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from graphc.codegen.cost import cost_of
from graphc.codegen.kernel import Buffer
from graphc.codegen.meetings import SinceMeeting, Where, outside, places_of, touches_of
from graphc.codegen.memory import aligned, enough_for, size_of
from graphc.codegen.parallel import Phase, phases
from graphc.codegen.row_parts import by_rows
from graphc.codegen.target import Target
from graphc.codegen.tasks import Loop, MemoryPlan, Place, Schedule, Task
from graphc.ir.dims import Dim, bounds

WORTH_SHARING = 1_500_000  # picoseconds of a phase: a meeting takes about a tenth of it
WORTH_A_FORK = 20_000_000  # picoseconds of all that is shared


@dataclass(frozen=True, eq=False)
class Turns:
    """What a loop does: its starts once, after which threads meet if there are any, then a turn's steps every time."""

    loop: Loop
    starts: tuple[Step, ...]
    turn: tuple[Step, ...]


@dataclass(frozen=True, eq=False)
class Step:
    """A phase of a task; with `turns`, a whole loop. The threads `meet` before it starts."""

    task: Task
    phase: Phase
    turns: Turns | None = None
    meet: bool = False

    @property
    def is_shared(self) -> bool:
        """Whether several threads run it, at some sizes at least."""
        if self.turns is not None:
            return any(step.is_shared for step in self.turns.turn)
        return self.phase.split is not None

    @property
    def worth(self) -> tuple[Dim, ...]:
        """Costs of which one must reach `WORTH_SHARING` at the sizes of the call; none if that is so at all sizes."""
        if self.phase.split is not None and self.phase.split.rows is not None:
            return ()  # its rows stay with their threads
        found = shared_costs([self] if self.turns is None else self.turns.turn)
        return () if any(bounds(cost)[0] >= WORTH_SHARING for cost in found) else tuple(found)


def shared_costs(steps: Sequence[Step]) -> dict[Dim, Dim]:
    """Picoseconds of a phase that can be shared -> how often phases of this cost are run."""
    found: dict[Dim, Dim] = {}

    def note(steps: Sequence[Step], times: Dim) -> None:
        for step in steps:
            if step.turns is not None:
                note(step.turns.starts, times)
                note(step.turns.turn, times * step.turns.loop.length)
            elif step.is_shared:
                found[step.phase.cost] = found.get(step.phase.cost, 0) + times

    note(steps, 1)
    return found


@dataclass(frozen=True, eq=False)
class Program:
    """The steps in order; `private` maps a step's private scratch to its place in a thread's own memory."""

    steps: tuple[Step, ...]
    private: dict[Buffer, Dim] = field(default_factory=dict)
    private_size: Dim = 0  # bytes of a thread's own memory

    @property
    def is_parallel(self) -> bool:
        """Whether several threads are worth it at any size."""
        total: Dim = 0
        for cost, times in shared_costs(self.steps).items():
            total = total + cost * times
        most = bounds(total)[1]
        return most is None or most >= WORTH_A_FORK


def plan_threads(schedule: Schedule, memory: MemoryPlan) -> Program:
    """The steps of a schedule."""
    steps = [step for task in schedule.tasks for step in _steps(task, schedule.target)]
    private: dict[Buffer, Dim] = {}
    sizes: list[Dim] = []
    for step in _every(steps):
        place: Dim = 0
        for buffer in step.phase.private:
            private[buffer] = place
            place = place + aligned(size_of(buffer))
        sizes.append(place)
    met = _with_meetings(steps, SinceMeeting(), places_of(memory, outside))
    return Program(met, private, enough_for(sizes))


def plan_alone(tasks: Sequence[Task]) -> tuple[Step, ...]:
    """The steps of tasks on one thread: each as it is."""
    return tuple(_alone(task) for task in tasks)


def _alone(task: Task) -> Step:
    loop = task.loop
    turns = None if loop is None else Turns(loop, plan_alone(loop.starts), plan_alone(loop.step.tasks))
    return Step(task, Phase(task.kernel, None, (), 0), turns)


def _every(steps: Sequence[Step]) -> Iterator[Step]:
    for step in steps:
        yield step
        if step.turns is not None:
            yield from _every((*step.turns.starts, *step.turns.turn))


def _steps(task: Task, target: Target) -> list[Step]:
    """A task's phases; what is not worth sharing at any size is one kernel again."""
    if task.loop is not None:
        shared = Step(task, Phase(task.kernel, None, (), 0), _turns(task.loop, target))
        return [shared if shared.is_shared else _alone(task)]
    found = [_worth_it(phase) for phase in phases(task.kernel, target)]
    if any(phase.split for phase in found):
        return [Step(task, phase) for phase in found]
    return [Step(task, Phase(task.kernel, None, (), cost_of(task.kernel.body, target)))]


def _turns(loop: Loop, target: Target) -> Turns:
    """Two turns are looked at: what the first still leaves to be met for is met for in the second, and in all."""
    starts = [step for task in loop.starts for step in _steps(task, target)]
    turn = [step for task in loop.step.tasks for step in _steps(task, target)]
    if any(step.is_shared for step in turn) and all(task.loop is None for task in loop.step.tasks):
        tasks = loop.step.tasks
        split = by_rows([phases(task.kernel, target) for task in tasks], target)
        if split is not None:
            turn = [Step(task, phase) for task, found in zip(tasks, split, strict=True) for phase in found]
    where = places_of(loop.memory, loop.place)
    before = _with_meetings(starts, SinceMeeting(), where)
    since = SinceMeeting()
    first = _with_meetings(turn, since, where)
    since.turn(lambda place: place.turned(loop.reverse) if isinstance(place, Place) else place)
    return Turns(loop, before, _with_meetings(first, since, where))


def _worth_it(phase: Phase) -> Phase:
    most = bounds(phase.cost)[1]
    return phase if most is None or most >= WORTH_SHARING else replace(phase, split=None, private=())


def _with_meetings(steps: Sequence[Step], since: SinceMeeting, where: Where) -> tuple[Step, ...]:
    """The steps with the meetings they have, and those they need besides."""
    found: list[Step] = []
    for step in steps:
        reads, writes = step.phase.touched()
        if step.turns is not None:
            reads, writes = [*step.task.reads], [b for b in step.task.kernel.buffers if b.role != "in"]
        touches = touches_of(step.task, step.phase, reads, writes, step.is_shared, where)
        meet = step.meet or since.collides(touches)
        if meet:
            since.meet()
        since.note(touches)
        found.append(replace(step, meet=meet))
    return tuple(found)
