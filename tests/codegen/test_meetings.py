"""Between two meetings no thread touches what another writes: the program of an entry, its loops unrolled."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace

import pytest

from graphc.codegen.entry import EntryCode, plan_entry
from graphc.codegen.kernel import Buffer
from graphc.codegen.memory import size_of
from graphc.codegen.spmd import Step, Turns, shared_costs
from graphc.codegen.target import host
from graphc.codegen.tasks import Memory, MemoryPlan
from graphc.frontend.build import elaborate
from graphc.ir.dims import evaluate
from graphc.passes import levels
from graphc.source import Source

LSTM = """
use std.nn: lstm_cell, dense
dim B, T, E = 128, H = 128
model seq(x: f32[B, T, E]) -> (y: f32[B, T, H], z: f32[B, T, H]):
    param forth = lstm_cell[H=H], back = lstm_cell[H=H]
    scan t in T:
        carry h: f32[B, H] = zeros(), c: f32[B, H] = zeros()
        h, c = forth(x[:, t], h, c)
        emit y: f32[B, T, H] = h
    scan t in reverse T:
        carry h: f32[B, H] = zeros(), c: f32[B, H] = zeros()
        h, c = back(y[:, t], h, c)
        emit z: f32[B, T, H] = h
train seq:
    input p: f32[B, T, H]
    loss = mse(z, p)
    optimizer = adam(lr = 0.1)
"""
NESTED = """
dim B, T, S, H = 256
model m(x: f32[B, T, H], y: f32[B, S, H]) -> (out: f32[B, T, H], last: f32[B, H]):
    param w: f32[H, H] = orthogonal(), v: f32[H, H] = orthogonal()
    scan t in T:
        carry h: f32[B, H] = zeros()
        scan s in reverse S:
            carry g: f32[B, H] = h
            g = tanh(g @ v + y[:, s])
        h = tanh(h @ w + g * x[:, t])
        emit out: f32[B, T, H] = softmax(h, axis=-1)
    last = h
train m:
    input p: f32[B, T, H]
    loss = mse(out, p) + mean(last)
    optimizer = sgd(lr = 0.1)
"""
ROWS = LSTM.replace("dim B,", "dim B = 32,")
MODELS = {"lstm": LSTM, "nested": NESTED, "rows": ROWS}
TURNS = 3
SIZES = {"B": 33, "T": 5, "S": 3}
Spot = tuple[Hashable, int, int]  # what it is a part of, and from which byte to which


@dataclass(frozen=True)
class Around:
    """What is around a step: nothing, or the loop of `step` at turn `turn`, which is in `outer`."""

    memory: MemoryPlan
    outer: Around | None = None
    step: Step | None = None
    turn: int = 0

    def bytes_of(self, tenant: Memory | Buffer) -> Spot | None:
        """Where a value of the plan around is; None if it lies elsewhere."""
        extent = self.memory.extents.get(tenant)
        if extent is None:
            return None
        begin = evaluate(self.memory.offset(extent), SIZES)
        return "arena", begin, begin + evaluate(size_of(tenant), SIZES)

    def root(self, step: Step, buffer: Buffer) -> Spot | None:
        """The memory of the entry that a buffer of the step's kernel is; None for what never changes."""
        place = step.task.writes.get(buffer) or step.task.reads.get(buffer) or buffer
        place = place.whole if isinstance(place, Memory) else place
        if self.outer is None or self.step is None:
            if isinstance(place, Buffer) or place.kind == "arena":
                return self.bytes_of(place)
            return None if place.kind == "constant" else ((place.kind, place.name), 0, 1)
        turns = self.step.turns
        assert turns is not None
        loop = turns.loop
        if (extent := loop.memory.extents.get(place)) is not None:
            around = self.outer.root(self.step, loop.scratch[extent.region])
            begin = evaluate(loop.memory.regions[extent.region].unit * extent.start, SIZES)
            assert around is not None and around[1] + begin + evaluate(size_of(place), SIZES) <= around[2]
            return around[0], around[1] + begin, around[1] + begin + evaluate(size_of(place), SIZES)
        assert isinstance(place, Memory)
        home = loop.place(place)
        if home is None:
            return None
        if home.first is not None and self.turn == 0:
            return self.outer.root(self.step, home.first)
        around = self.outer.root(self.step, home.buffer)
        if around is None or not home.is_part:
            return around
        turn = -self.turn if loop.reverse else self.turn
        part = (self.turn + home.ahead) % 2 if home.ring else turn + home.ahead
        return (around, part), 0, 1


Event = tuple[Step, Around] | None  # None: a meeting that belongs to no step


def events(steps: Sequence[Step], around: Around) -> Iterator[Event]:
    """Every step that runs, in order; a loop is one itself (it may have a meeting before it), then its turns."""
    for step in steps:
        yield step, around
        if isinstance(step.turns, Turns) and step.is_shared:
            yield from events(step.turns.starts, Around(around.memory, around, step, 0))
            if step.turns.starts:
                yield None
            for turn in range(TURNS):
                yield from events(step.turns.turn, Around(around.memory, around, step, turn))


def touched(step: Step, around: Around) -> list[tuple[Spot, bool, bool, Hashable]]:
    """(place, whether it is written, whether by all threads, by which rows: tests/codegen/test_row_parts.py)."""
    reads, writes = step.phase.touched()
    if step.turns is not None:
        buffers = step.task.kernel.buffers if not step.is_shared else ()  # if it is, its steps tell
        reads, writes = [b for b in buffers if b.role == "in"], [b for b in buffers if b.role != "in"]
    every = [(b, False) for b in reads] + [(b, True) for b in writes]
    phase = step.phase
    spots = [(around.root(step, b), w, step.is_shared and b not in phase.private, phase.rows_of(b)) for b, w in every]
    return [(spot, *rest) for spot, *rest in spots if spot is not None]


def races(code: EntryCode, without: Step | None = None) -> list[str]:
    """Steps that run between the same two meetings and must not; `without` takes one meeting away."""
    found: list[str] = []
    since: list[tuple[Spot, bool, bool, Hashable]] = []
    for event in events(code.program.steps, Around(code.memory)):
        if event is None or (event[0].meet and event[0] is not without):
            since = []
        if event is None:
            continue
        now = touched(*event)
        for place, writes, by_all, rows in now:
            for other, other_writes, other_by_all, other_rows in since:
                shares = place[0] == other[0] and place[1] < other[2] and other[1] < place[2]
                apart = rows is not None and rows == other_rows and place[1] == other[1]
                if shares and not apart and (writes or other_writes) and (by_all or other_by_all):
                    found.append(f"{event[0].task.kernel.name} at {place}")
        since += now
    return found


def entries(text: str) -> dict[str, EntryCode]:
    program, _ = elaborate(Source("m.gc", text), load=lambda path: Source(path, ""))
    assert program is not None
    pipeline = levels.pipeline("O2")
    return {name: plan_entry(name, pipeline.run(graph), host()) for name, graph in program.entries.items()}


def loops(steps: Sequence[Step]) -> Iterator[Step]:
    for step in steps:
        if step.turns is not None:
            yield step
            yield from loops(step.turns.turn)


@pytest.mark.parametrize("name", MODELS)
def test_threads_never_race(name: str) -> None:
    for code in entries(MODELS[name]).values():
        assert races(code) == []


def test_no_meeting_in_a_turn_is_for_nothing() -> None:
    """Behind a loop in a loop there may be one: nobody knows before the call whether threads meet in the inner one."""
    count = 0
    for code in entries(LSTM).values():
        for loop in loops(code.program.steps):
            assert loop.turns is not None
            for step in loop.turns.turn:
                if step.meet:
                    count += 1
                    assert races(code, without=step) != []
    assert count > 4


def test_both_loops_are_shared_and_count_as_often_as_they_run() -> None:
    code = entries(NESTED)["forward"]
    outer, inner = loops(code.program.steps)
    assert outer.is_shared and inner.is_shared
    assert inner.turns is not None
    (product,) = (s for s in inner.turns.turn if s.phase.split is not None and s.phase.split.loop is None)
    times = shared_costs(code.program.steps)[product.phase.cost]
    assert evaluate(times, {"B": 9, "S": 3, "T": 7}) == 3 * 7 + 7  # there is one like it in the outer loop
    assert code.program.is_parallel


def test_a_small_loop_is_for_one_thread() -> None:
    text = NESTED.replace("dim B, T, S, H = 256", "dim B = 2, T, S, H = 4")
    code = entries(text)["forward"]
    assert not any(step.is_shared for step in loops(code.program.steps))


def test_what_carries_over_the_turns_is_met_for() -> None:
    """A loop of two steps: the first overwrites what the second of the turn before reads."""
    code = entries(LSTM)["forward"]
    (first, *_) = loops(code.program.steps)
    assert first.turns is not None
    turns = replace(first.turns, turn=tuple(replace(s, meet=s.meet and n > 0) for n, s in enumerate(first.turns.turn)))
    steps = [replace(s, turns=turns) if s is first else s for s in code.program.steps]
    assert races(replace(code, program=replace(code.program, steps=tuple(steps)))) != []


def test_memory_kinds_have_homes() -> None:
    """Starts and panels are found in the loop's kernel; constants are not."""
    code = entries(LSTM)["forward"]
    loop = next(task.loop for task in code.schedule.tasks if task.loop is not None)
    for task in loop.starts:
        for memory in (*task.reads.values(), *task.writes.values()):
            assert memory.kind in ("start", "leaf", "panels")
            assert loop.place(memory) is not None
    some = next(iter(loop.step.memory.values()))
    assert loop.place(Memory(some.type, "constant", leaf=code.graph.leaves[0])) is None
