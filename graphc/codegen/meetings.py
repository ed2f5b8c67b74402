"""Where the threads of a team must meet: before a step that touches what another has touched since they last met.

A step touches places: a value, a leaf that is updated in place, pieces of the arena that change their tenant. Two of
them may follow each other without a meeting if both only read the place, or if only thread 0 comes there in both: as it
does in what is not shared out, and in its own copy of private scratch. The same holds if both are shared out by the
same rows, each of which has a block of the same size in values that begin at the same address.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from graphc.codegen.kernel import Buffer
from graphc.codegen.parallel import Phase
from graphc.codegen.tasks import Memory, MemoryPlan, Task, Tenant


class Spot(NamedTuple):
    """The places a value covers, none if it never changes; of those with the same places and `start` rows agree."""

    places: tuple[Hashable, ...]
    start: int = 0


Where = Callable[[Tenant], Spot]


@dataclass(frozen=True)
class Touch:
    """What a step does at a place, and whether other threads than the first come there.

    `rows`: which rows threads have there, the bytes of a row's block, where the first begins; None if they may come
    anywhere.
    """

    writes: bool
    by_all: bool
    rows: Hashable | None = None

    def __or__(self, other: Touch) -> Touch:
        rows = self.rows if self.rows == other.rows else None
        return Touch(self.writes or other.writes, self.by_all or other.by_all, rows)

    def collides(self, other: Touch) -> bool:
        apart = self.rows is not None and self.rows == other.rows
        return not apart and (self.writes or other.writes) and (self.by_all or other.by_all)


class SinceMeeting:
    """What has been touched since the threads last met."""

    def __init__(self) -> None:
        self._touched: dict[Hashable, Touch] = {}

    def collides(self, touches: dict[Hashable, Touch]) -> bool:
        """Whether the threads must meet before a step with these touches."""
        return any(place in self._touched and touch.collides(self._touched[place]) for place, touch in touches.items())

    def meet(self) -> None:
        self._touched.clear()

    def note(self, touches: dict[Hashable, Touch]) -> None:
        _add(self._touched, touches.items())

    def turn(self, turned: Callable[[Hashable], Hashable]) -> None:
        """The next turn of a loop begins, in which places have other names: it has its own part of some."""
        touched, self._touched = self._touched, {}
        _add(self._touched, ((turned(place), touch) for place, touch in touched.items()))


def touches_of(
    task: Task, phase: Phase, reads: Iterable[Buffer], writes: Iterable[Buffer], by_all: bool, where: Where
) -> dict[Hashable, Touch]:
    """place -> what is done there by a step of the task, a phase that reads and writes these of its buffers."""
    found: dict[Hashable, Touch] = {}
    for buffers, is_write in ((reads, False), (writes, True)):
        for buffer in buffers:
            value = task.writes.get(buffer) or task.reads.get(buffer) or buffer
            spot = where(value)
            rows = None if isinstance(value, Memory) and value.part_of is not None else phase.rows_of(buffer)
            touch = Touch(is_write, by_all and buffer not in phase.private, rows and (rows, spot.start))
            _add(found, ((place, touch) for place in spot.places))
    return found


def places_of(memory: MemoryPlan, elsewhere: Callable[[Memory], Hashable | None]) -> Where:
    """The places of values: pieces of the arena, or what `elsewhere` says of a value that is not there."""

    def where(tenant: Tenant) -> Spot:
        whole = tenant.whole if isinstance(tenant, Memory) else tenant
        if isinstance(whole, Memory) and whole.kind != "arena":
            place = elsewhere(whole)
            return Spot(() if place is None else (place,))
        return Spot(memory.pieces[whole], memory.extents[whole].start)

    return where


def outside(memory: Memory) -> Hashable | None:
    """The place of an entry's value that is not in its arena: a leaf or an output."""
    if memory.kind == "constant":
        return None
    return memory.kind, memory.leaf if memory.kind == "leaf" else memory.name


def _add(found: dict[Hashable, Touch], touches: Iterable[tuple[Hashable, Touch]]) -> None:
    for place, touch in touches:
        found[place] = found[place] | touch if place in found else touch
