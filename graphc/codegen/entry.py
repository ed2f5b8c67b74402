"""From an optimised graph to one native function `i64 NAME(ptr table, ptr dims, ptr arena, ptr team)`.

The table holds the addresses of the graph's leaves, then of its outputs; `dims` the values of the program's run-time
symbols; the arena is scratch of `arena` bytes, aligned to 64, with `private` bytes more for each thread but the first;
the team is null for one thread, or as graphc.codegen.team says.  Integers that index something are checked first: the
result is 0, or 1 + the number of the leaf that holds an index out of range, and then nothing was written.

What several threads are worth it for is a function of its own, `NAME.body`, that all of them run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from graphc.codegen.index_bounds import IndexBound, out_of_range
from graphc.codegen.kernel import Buffer, Kernel
from graphc.codegen.llvm import Function, Index, Module, Value, const
from graphc.codegen.loop_code import emit_kernel
from graphc.codegen.memory import ALIGNMENT, plan_memory
from graphc.codegen.parallel import Split
from graphc.codegen.recurrence import call_task
from graphc.codegen.scalar_code import ScalarCode
from graphc.codegen.schedule import schedule
from graphc.codegen.spmd import WORTH_A_FORK, WORTH_SHARING, Program, Step, plan_threads
from graphc.codegen.target import Target
from graphc.codegen.tasks import Memory, MemoryPlan, Schedule, Slot, Task
from graphc.codegen.team import BODY, emit_barrier, emit_fork, emit_team
from graphc.ir.dims import Symbol, evaluate
from graphc.ir.graph import Graph


@dataclass(frozen=True)
class EntryCode:
    """An entry as it was scheduled and planned; its function is in the module."""

    name: str
    graph: Graph
    schedule: Schedule
    memory: MemoryPlan
    bounds: tuple[IndexBound, ...]
    program: Program

    @property
    def private_slots(self) -> list[Slot]:
        """What each thread but the first needs besides the arena."""
        return [Slot([*self.program.private_sizes])] if self.program.private_sizes else []

    def arena_bytes(self, sizes: Mapping[str, int], threads: int = 1) -> int:
        """The arena's size at given run-time sizes, for so many threads."""
        return sum(
            -(-max(evaluate(size, sizes) for size in slot.sizes) // ALIGNMENT) * ALIGNMENT
            for slot in [*self.memory.slots, *self.private_slots * (threads - 1)]
        )


def plan_entry(name: str, graph: Graph, target: Target, bounds: Sequence[IndexBound] = ()) -> EntryCode:
    """Schedules the graph's kernels, plans its memory and what threads do; no code is written yet.

    `bounds` are those of the graph before it was decomposed (`index_bounds`).
    """
    plan = schedule(graph, target)
    memory = plan_memory(plan)
    return EntryCode(name, graph, plan, memory, tuple(bounds), plan_threads(plan, memory))


def emit_entry(
    code: EntryCode, module: Module, symbols: Sequence[Symbol], clock: Callable[[Function, int], None] | None = None
) -> None:
    """Adds the entry's function and its kernels to the module; `symbols` give the order of `dims`.

    With a `clock` it runs on one thread, and what the clock writes stands before the first kernel (0) and behind each.
    """
    params = [("ptr", name) for name in ("table", "dims", "arena", "team")]
    f = Function(module, code.name, params, "i64", internal=False)
    scalars = _sizes(f, symbols)
    tasks = _Tasks(f, module, code, scalars)
    for bound in code.bounds:
        tasks.check(bound)
    if code.program.is_parallel and clock is None:
        _fork(f, module, code, scalars, _body(module, code, symbols))
    else:
        tasks.alone(clock or (lambda f, number: None))
    f.ret(const("i64", 0))
    module.add(f)


def _sizes(f: Function, symbols: Sequence[Symbol]) -> ScalarCode:
    sizes = {s.name: f.load(f.offset(f["dims"], "i64", i), "i64") for i, s in enumerate(symbols)}
    return ScalarCode(f, {}, sizes, 1)


def _body(module: Module, code: EntryCode, symbols: Sequence[Symbol]) -> str:
    """The function that all threads run; returns its name."""
    f = Function(module, f"{code.name}.body", BODY)
    _Tasks(f, module, code, _sizes(f, symbols)).shared(f["index"], f["count"])
    f.ret()
    return module.add(f)


def _fork(f: Function, module: Module, code: EntryCode, scalars: ScalarCode, body: str) -> None:
    """Runs the body on the team's threads if the work is worth it and they are free, else on this thread alone."""
    emit_team(module)
    given = f["table"], f["dims"], f["arena"]
    worth = f.icmp("sge", _value(scalars.dim(code.program.shared_cost)), WORTH_A_FORK)
    team = f.select(worth, f["team"], Value("null", "ptr"))
    done = emit_fork(f, module, team, body, given)
    with f.when(f.xor(done, 1)):
        one = const("i64", 0), const("i64", 1), const("i64", 0)
        f.call(body, "void", *given, Value("null", "ptr"), *one)


def _value(index: Index) -> Value:
    return const("i64", index) if isinstance(index, int) else index


class _Tasks:
    """The tasks of a schedule, written into a function that has `table` and `arena`."""

    def __init__(self, f: Function, module: Module, code: EntryCode, scalars: ScalarCode) -> None:
        self.f, self.module, self.code, self.scalars = f, module, code, scalars
        self.leaves = {leaf: i for i, leaf in enumerate(code.graph.leaves)}
        self.outputs = {name: i for i, name in enumerate(code.graph.outputs, len(self.leaves))}
        self.own: Value | None = None  # this thread's own memory, if it is not the first
        self.is_first: Value | None = None
        self.slots, self.end = self._slots()

    def _table(self, position: int) -> Value:
        """An address of the table; loaded where it is needed, as thousands held in registers take LLVM minutes."""
        return self.f.load(self.f.offset(self.f["table"], "ptr", position), "ptr")

    def _slots(self) -> tuple[list[Value], Value]:
        """The address of every arena slot, and that behind the last."""
        places, total = [], self.f["arena"]
        for slot in self.code.memory.slots:
            places.append(total)
            total = self.f.offset(total, "i8", self._slot_size(slot))
        return places, total

    def _slot_size(self, slot: Slot) -> Value | int:
        f = self.f
        largest = self.scalars.dim(slot.sizes[0])
        for size in slot.sizes[1:]:
            other = self.scalars.dim(size)
            largest = f.select(f.icmp("sgt", _value(other), largest), other, largest)
        return f.and_(f.add(largest, ALIGNMENT - 1), -ALIGNMENT)

    def alone(self, clock: Callable[[Function, int], None]) -> None:
        """All tasks, on one thread."""
        clock(self.f, 0)
        for number, task in enumerate(self.code.schedule.tasks, 1):
            call_task(self.f, task, self.module, self._address, self.scalars.sizes)
            clock(self.f, number)

    def shared(self, index: Value, count: Value) -> None:
        """What thread `index` of `count` does of all tasks."""
        f, program = self.f, self.code.program
        self.is_first = f.icmp("eq", index, 0)
        for slot in self.code.private_slots:
            size = self._slot_size(slot)
            self.own = f.offset(self.end, "i8", f.mul(size, f.sub(index, 1)))
        for place in program.private.values():
            self.scalars.dim(place)  # before any branch: what is computed once must be seen by all that ask again
        for step in program.steps:
            if step.meet:
                emit_barrier(f, self.module)
            if not step.is_shared:
                with f.when(self.is_first):
                    self._whole(step)
            elif step.is_always_worth_it:
                self._part(step, index, count)
            else:
                worth = f.icmp("sge", _value(self.scalars.dim(step.phase.cost)), WORTH_SHARING)
                parts = f.select(worth, count, 1)
                with f.when(f.icmp("slt", index, parts)):
                    self._part(step, index, parts)

    def _whole(self, step: Step) -> None:
        if step.task.loop is not None:
            call_task(self.f, step.task, self.module, self._address, self.scalars.sizes)
        else:
            self._call(step.task, step.phase.kernel, None, ())

    def _part(self, step: Step, index: Value, parts: Value) -> None:
        phase = step.phase
        self._call(step.task, phase.kernel, phase.split, (index, parts), phase.private)

    def _call(
        self, task: Task, kernel: Kernel, split: Split | None, part: Sequence[Value], private: Sequence[Buffer] = ()
    ) -> None:
        compiled = emit_kernel(kernel, self.module, split)
        pointers = []
        for buffer in kernel.buffers:
            address = self._address(task.writes.get(buffer) or task.reads.get(buffer) or buffer)
            pointers.append(self._own_address(buffer, address) if buffer in private else address)
        given = [self.scalars.sizes[s.name] for s in compiled.sizes]
        self.f.call(compiled.function, "void", *pointers, *given, *part)

    def _own_address(self, buffer: Buffer, address: Value) -> Value:
        """Where this thread has its copy of a private buffer: the first thread in the arena's slot."""
        assert self.own is not None and self.is_first is not None, "private memory is planned"
        own = self.f.offset(self.own, "i8", self.scalars.dim(self.code.program.private[buffer]))
        return self.f.select(self.is_first, address, own)

    def _address(self, place: Memory | Buffer) -> Value:
        if isinstance(place, Buffer) or place.kind == "arena":
            return self.slots[self.code.memory.slot_of[place]]
        if place.kind == "output":
            return self._table(self.outputs[place.name])
        assert place.leaf is not None, "memory outside of the arena belongs to a leaf or a constant"
        if place.kind == "constant":
            return self.module.constant(place.leaf.attr("value").data)
        return self._table(self.leaves[place.leaf])

    def check(self, bound: IndexBound) -> None:
        """Returns 1 + the leaf's number if one of its elements is out of range."""
        f = self.f
        compiled = emit_kernel(out_of_range(bound), self.module)
        flag = f.assign("ptr", "alloca i8")
        given = [self.scalars.sizes[s.name] for s in compiled.sizes]
        number = self.leaves[bound.leaf]
        f.call(compiled.function, "void", flag, self._table(number), *given)
        with f.when(f.icmp("ne", f.load(flag, "i8"), 0), cold=True):
            f.ret(const("i64", 1 + number))
            f.begin(f.fresh("dead"))
