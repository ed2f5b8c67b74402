"""The code of a program's steps: calls of kernels and of loops, on one thread or on each thread of a team.

A loop is a function of its own, with the addresses of its buffers and the sizes it depends on as parameters. If it is
shared, all threads call it and run its turns side by side: it takes `TEAM` besides. The number of the turn, which the
kernels of a step may read, lies on the stack of each thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from graphc.codegen.kernel import Buffer
from graphc.codegen.llvm import Function, Index, Module, Value, const
from graphc.codegen.loop_code import Compiled, emit_kernel
from graphc.codegen.scalar_code import ScalarCode
from graphc.codegen.spmd import WORTH_SHARING, Step, Turns
from graphc.codegen.tasks import Loop, Memory, Place, Tenant
from graphc.codegen.team import emit_barrier
from graphc.ir.dims import Dim, Symbol, bounds, symbols

TEAM = (("ptr", "pool"), ("i64", "index"), ("i64", "count"), ("i64", "patience"), ("ptr", "own"))


@dataclass(frozen=True)
class Thread:
    """The thread that runs a function: its number, of how many, and its own memory, which the first has none of."""

    index: Value
    count: Value
    own: Value
    is_first: Value


class StepsCode:
    """Writes steps into a function, for one thread or for each of a team; then the function has `pool` and `patience`.

    `address` tells where a value is, `private` the places of private scratch in a thread's own memory.
    """

    def __init__(
        self,
        f: Function,
        module: Module,
        scalars: ScalarCode,
        address: Callable[[Tenant], Value],
        thread: Thread | None = None,
        private: Mapping[Buffer, Dim] | None = None,
    ) -> None:
        self.f, self.module, self.scalars = f, module, scalars
        self.address, self.thread, self.private = address, thread, private or {}

    def run(self, steps: Sequence[Step]) -> None:
        for dim in dims_of(steps, self.private):
            self.scalars.dim(dim)  # before it is needed in places that are not always reached
        for step in steps:
            if step.meet:
                emit_barrier(self.f, self.module)
            if self.thread is None:
                self._call(step)
            elif step.is_shared:
                self._share(step, self.thread)
            else:
                with self.f.when(self.thread.is_first):
                    self._call(step)

    def _share(self, step: Step, thread: Thread) -> None:
        """All threads do their part of it, if it is worth it at the sizes of this call; else the first does all."""
        f = self.f
        if not step.worth:
            self._call(step, (thread.index, thread.count))
            return
        costs = [self.scalars.dim(cost) for cost in step.worth]
        worth = f.icmp("sge", _value(costs[0]), WORTH_SHARING)
        for cost in costs[1:]:
            worth = f.or_(worth, f.icmp("sge", _value(cost), WORTH_SHARING))
        parts = f.select(worth, thread.count, 1)
        with f.when(f.icmp("slt", thread.index, parts)):
            self._call(step, (thread.index, parts))

    def _call(self, step: Step, part: tuple[Value, ...] = ()) -> None:
        """Calls the step's function; `part` is which part of how many, if it is shared."""
        task, kernel, f = step.task, step.phase.kernel, self.f
        compiled = _compiled(step, self.private, self.module)
        pointers = []
        for buffer in kernel.buffers:
            pointer = self._address(task.writes.get(buffer) or task.reads.get(buffer) or buffer)
            pointers.append(self._own(buffer, pointer) if buffer in step.phase.private else pointer)
        if part and step.turns is not None:
            assert self.thread is not None, "a part is for a thread"
            part = (f["pool"], *part, f["patience"], self.thread.own)
        f.call(compiled.function, "void", *pointers, *(self.scalars.sizes[s.name] for s in compiled.sizes), *part)

    def _address(self, value: Tenant) -> Value:
        if not isinstance(value, Memory) or value.part_of is None:
            return self.address(value)
        return self.f.offset(self.address(value.part_of), "i8", self.scalars.dim(value.offset))

    def _own(self, buffer: Buffer, address: Value) -> Value:
        """Where this thread has its copy of a private buffer: the first thread in the arena's slot."""
        assert self.thread is not None, "only what is shared has private memory"
        own = self.f.offset(self.thread.own, "i8", self.scalars.dim(self.private[buffer]))
        return self.f.select(self.thread.is_first, address, own)


def dims_of(steps: Sequence[Step], private: Mapping[Buffer, Dim]) -> list[Dim]:
    """What the code of the steps itself computes with: what is worth it, where private scratch and parts lie."""
    found: dict[Dim, None] = {}
    for step in steps:
        found.update(dict.fromkeys(step.worth if step.is_shared else ()))
        found.update(dict.fromkeys(private[buffer] for buffer in step.phase.private))
        found.update(dict.fromkeys(memory.offset for memory in step.task.reads.values()))
    return [*found]


def _compiled(step: Step, private: Mapping[Buffer, Dim], module: Module) -> Compiled:
    """The function of a step."""
    if step.turns is None:
        return emit_kernel(step.phase.kernel, module, step.phase.split)
    found = module.kernels.get(step.turns)
    if not isinstance(found, Compiled):
        found = module.kernels[step.turns] = _emit_loop(step, step.turns, private, module)
    return found


def _emit_loop(step: Step, turns: Turns, private: Mapping[Buffer, Dim], module: Module) -> Compiled:
    sizes = _symbols(turns, private, module)
    buffers = {b: f"b{i}" for i, b in enumerate(step.task.kernel.buffers)}
    params = [*(("ptr", name) for name in buffers.values()), *(("i64", f"n{i}") for i in range(len(sizes)))]
    f = Function(module, "scan", [*params, *(TEAM if step.is_shared else ())])
    thread = None
    if step.is_shared:
        thread = Thread(f["index"], f["count"], f["own"], f.icmp("eq", f["index"], 0))
    scalars = ScalarCode(f, {}, {s.name: f[f"n{i}"] for i, s in enumerate(sizes)}, 1)
    places = _Places(f, module, scalars, turns.loop, {b: f[name] for b, name in buffers.items()})
    code = StepsCode(f, module, scalars, places.address, thread, private)
    for dim in dims_of(turns.turn, private):
        scalars.dim(dim)  # once, not in every turn
    loop = turns.loop
    length = scalars.dim(loop.length)
    strides = {place: scalars.dim(place.stride) for place in loop.parts}
    last = f.sub(length, 1)
    places.go(_value(last if loop.reverse else 0), const("i64", 0), strides)
    code.run(turns.starts)
    if turns.starts and step.is_shared:
        emit_barrier(f, module)  # once, so that no turn need meet for them
    with f.loop(0, length, may_be_empty=bounds(loop.length)[0] < 1) as run:
        places.go(f.sub(last, run.index) if loop.reverse else run.index, run.index, strides)
        code.run(turns.turn)
    f.ret()
    return Compiled(module.add(f), sizes)


def _symbols(turns: Turns, private: Mapping[Buffer, Dim], module: Module) -> tuple[Symbol, ...]:
    """The run-time sizes that the loop's function needs."""
    steps, loop = (*turns.starts, *turns.turn), turns.loop
    dims = [loop.length, *dims_of(steps, private), *(place.stride for place in loop.parts)]
    dims += [region.unit for region in loop.memory.regions]
    found = dict.fromkeys(s for dim in dims for s in symbols(dim))
    for step in steps:
        found.update(dict.fromkeys(_compiled(step, private, module).sizes))
    return tuple(found)


class _Places:
    """Where the values of a step are, in the function of its loop."""

    def __init__(
        self, f: Function, module: Module, scalars: ScalarCode, loop: Loop, pointers: dict[Buffer, Value]
    ) -> None:
        self.f, self.module, self.loop, self.pointers = f, module, loop, pointers
        self.index = f.assign("ptr", "alloca i32")
        self.units = [scalars.dim(region.unit) for region in loop.memory.regions]
        self.now: dict[Place, Value] = {}

    def go(self, t: Value, turn: Value, strides: Mapping[Place, Index]) -> None:
        """On to step t, the turn of that number."""
        f = self.f
        f.store(f.trunc(t, "i32"), self.index)
        self.now = {}
        for place, stride in strides.items():
            part = f.and_(f.add(turn, place.ahead), 1) if place.ring else f.add(t, place.ahead)
            pointer = f.offset(self.pointers[place.buffer], "i8", f.mul(part, stride))
            if place.first is not None:
                pointer = f.select(f.icmp("eq", turn, 0), self.pointers[place.first], pointer)
            self.now[place] = pointer

    def address(self, value: Tenant) -> Value:
        """Where a value begins that is no part of another."""
        if isinstance(value, Memory) and value.kind == "constant" and value.leaf is not None:
            return self.module.constant(value.leaf.attr("value").data)
        extent = self.loop.memory.extents.get(value)
        if extent is not None:
            offset = self.f.mul(self.units[extent.region], extent.start)
            return self.f.offset(self.pointers[self.loop.scratch[extent.region]], "i8", offset)
        assert isinstance(value, Memory), "scratch lies in the step's own memory"
        place = self.loop.place(value)
        if place is None:
            return self.index
        return self.now[place] if place.is_part else self.pointers[place.buffer]


def _value(index: Index) -> Value:
    return const("i64", index) if isinstance(index, int) else index
