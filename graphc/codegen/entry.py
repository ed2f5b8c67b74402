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
from graphc.codegen.kernel import Buffer
from graphc.codegen.llvm import Function, Index, Module, Value, const
from graphc.codegen.loop_code import emit_kernel
from graphc.codegen.memory import plan_memory
from graphc.codegen.scalar_code import ScalarCode
from graphc.codegen.schedule import schedule
from graphc.codegen.spmd import WORTH_A_FORK, WORTH_SHARING, Program, plan_alone, plan_threads, shared_costs
from graphc.codegen.steps import StepsCode, Thread
from graphc.codegen.target import Target
from graphc.codegen.tasks import Extent, MemoryPlan, Schedule, Tenant
from graphc.codegen.team import BODY, NULL, emit_run, emit_team
from graphc.ir.dims import Symbol, bounds, evaluate
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

    def arena_bytes(self, sizes: Mapping[str, int], threads: int = 1) -> int:
        """The arena's size at given run-time sizes, for so many threads."""
        return evaluate(self.memory.size, sizes) + (threads - 1) * evaluate(self.program.private_size, sizes)


def plan_entry(name: str, graph: Graph, target: Target, bounds: Sequence[IndexBound] = ()) -> EntryCode:
    """Schedules the graph's kernels, plans its memory and what threads do; no code is written yet.

    `bounds` are those of the graph before it was decomposed (`index_bounds`).
    """
    plan = schedule(graph, target)
    memory = plan_memory(plan)
    return EntryCode(name, graph, plan, memory, tuple(bounds), plan_threads(plan, memory))


def emit_entry(
    code: EntryCode,
    module: Module,
    symbols: Sequence[Symbol],
    number: int = 0,
    clock: Callable[[Function, int], None] | None = None,
) -> None:
    """Adds the entry's function and its kernels to the module; `symbols` give the order of `dims`.

    `number` is that of its account in the team.

    With a `clock` it runs on one thread, and what the clock writes stands before the first kernel (0) and behind each.
    """
    params = [("ptr", name) for name in ("table", "dims", "arena", "team")]
    is_shared = code.program.is_parallel and clock is None
    f = Function(module, code.name, params, "i64", internal=False, plain=is_shared)  # there is work beside its own
    scalars = _sizes(f, symbols)
    memory = _Memory(f, module, code, scalars)
    for bound in code.bounds:
        memory.check(bound)
    if is_shared:
        _run(f, module, code, scalars, _body(module, code, symbols), number)
    else:
        _alone(code, StepsCode(f, module, scalars, memory.address), clock or (lambda f, number: None))
    f.ret(const("i64", 0))
    module.add(f)


def _alone(code: EntryCode, steps: StepsCode, clock: Callable[[Function, int], None]) -> None:
    """All tasks, on one thread."""
    clock(steps.f, 0)
    for number, step in enumerate(plan_alone(code.schedule.tasks), 1):
        steps.run([step])
        clock(steps.f, number)


def _sizes(f: Function, symbols: Sequence[Symbol]) -> ScalarCode:
    sizes = {s.name: f.load(f.offset(f["dims"], "i64", i), "i64") for i, s in enumerate(symbols)}
    return ScalarCode(f, {}, sizes, 1)


def _body(module: Module, code: EntryCode, symbols: Sequence[Symbol]) -> str:
    """The function that all threads run; returns its name."""
    f = Function(module, f"{code.name}.body", BODY, plain=True)
    scalars = _sizes(f, symbols)
    memory = _Memory(f, module, code, scalars)
    thread = Thread(f["index"], f["count"], memory.own(f["index"]), f.icmp("eq", f["index"], 0))
    StepsCode(f, module, scalars, memory.address, thread, code.program.private).run(code.program.steps)
    f.ret()
    return module.add(f)


def _run(f: Function, module: Module, code: EntryCode, scalars: ScalarCode, body: str, number: int) -> None:
    """Runs the body on the team's threads if the work may be worth it, else on this thread alone."""
    emit_team(module)
    given = f["table"], f["dims"], f["arena"]
    total: Index = 0
    for cost, times in shared_costs(code.program.steps).items():
        if bounds(cost)[0] >= WORTH_SHARING:
            total = f.add(total, scalars.dim(cost * times))
        else:
            worth = f.icmp("sge", _value(scalars.dim(cost)), WORTH_SHARING)
            total = f.add(total, f.select(worth, scalars.dim(cost * times), 0))
    team = f.select(f.icmp("sge", _value(total), WORTH_A_FORK), f["team"], NULL)
    emit_run(f, module, team, body, given, number, _value(total))


def _value(index: Index) -> Value:
    return const("i64", index) if isinstance(index, int) else index


class _Memory:
    """Where the values of an entry are, in a function that has `table` and `arena`."""

    def __init__(self, f: Function, module: Module, code: EntryCode, scalars: ScalarCode) -> None:
        self.f, self.module, self.code, self.scalars = f, module, code, scalars
        self.leaves = {leaf: i for i, leaf in enumerate(code.graph.leaves)}
        self.outputs = {name: i for i, name in enumerate(code.graph.outputs, len(self.leaves))}
        self.regions = [(self._offset(n), scalars.dim(r.unit)) for n, r in enumerate(code.memory.regions)]

    def _table(self, position: int) -> Value:
        """An address of the table; loaded where it is needed, as thousands held in registers take LLVM minutes."""
        return self.f.load(self.f.offset(self.f["table"], "ptr", position), "ptr")

    def _offset(self, region: int) -> Value:
        """The address of a region."""
        offset = self.code.memory.offset(Extent(region, 0, 0))
        return self.f.offset(self.f["arena"], "i8", self.scalars.dim(offset))

    def own(self, index: Value) -> Value:
        """Thread `index`'s own memory; the first has none, its private scratch is in the arena."""
        end, size = self._offset(len(self.regions)), self.scalars.dim(self.code.program.private_size)
        return self.f.offset(end, "i8", self.f.mul(size, self.f.sub(index, 1)))

    def address(self, place: Tenant) -> Value:
        """Where a value begins that is no part of another."""
        if isinstance(place, Buffer) or place.kind == "arena":
            extent = self.code.memory.extents[place]
            address, unit = self.regions[extent.region]
            return self.f.offset(address, "i8", self.f.mul(unit, extent.start))
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
