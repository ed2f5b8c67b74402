"""From an optimised graph to one native function `i64 NAME(ptr table, ptr dims, ptr arena)`.

The table holds the addresses of the graph's leaves, then of its outputs; `dims` the values of the program's run-time
symbols; the arena is scratch of `arena` bytes, aligned to 64.  Integers that index something are checked first: the
result is 0, or 1 + the number of the leaf that holds an index out of range, and then nothing was written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from graphc.codegen.index_bounds import IndexBound, out_of_range
from graphc.codegen.kernel import Buffer
from graphc.codegen.llvm import Function, Module, Value, const
from graphc.codegen.loop_code import emit_kernel
from graphc.codegen.memory import ALIGNMENT, plan_memory
from graphc.codegen.recurrence import call_task
from graphc.codegen.scalar_code import ScalarCode
from graphc.codegen.schedule import schedule
from graphc.codegen.target import Target
from graphc.codegen.tasks import Memory, MemoryPlan, Schedule, Slot
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

    def arena_bytes(self, sizes: Mapping[str, int]) -> int:
        """The arena's size at given run-time sizes."""
        return sum(
            -(-max(evaluate(size, sizes) for size in slot.sizes) // ALIGNMENT) * ALIGNMENT for slot in self.memory.slots
        )


def plan_entry(name: str, graph: Graph, target: Target, bounds: Sequence[IndexBound] = ()) -> EntryCode:
    """Schedules the graph's kernels and plans its memory; no code is written yet.

    `bounds` are those of the graph before it was decomposed (`index_bounds`).
    """
    plan = schedule(graph, target)
    return EntryCode(name, graph, plan, plan_memory(plan), tuple(bounds))


def emit_entry(code: EntryCode, module: Module, symbols: Sequence[Symbol]) -> None:
    """Adds the entry's function and its kernels to the module; `symbols` give the order of `dims`."""
    f = Function(module, code.name, [("ptr", "table"), ("ptr", "dims"), ("ptr", "arena")], "i64", internal=False)
    sizes = {s.name: f.load(f.offset(f["dims"], "i64", i), "i64") for i, s in enumerate(symbols)}
    scalars = ScalarCode(f, {}, sizes, 1)
    _Body(f, module, code, scalars).emit()
    f.ret(const("i64", 0))
    module.add(f)


class _Body:
    def __init__(self, f: Function, module: Module, code: EntryCode, scalars: ScalarCode) -> None:
        self.f, self.module, self.code, self.scalars = f, module, code, scalars
        self.leaves = {leaf: i for i, leaf in enumerate(code.graph.leaves)}
        self.outputs = {name: i for i, name in enumerate(code.graph.outputs, len(self.leaves))}
        self.slots = self._slots()

    def _table(self, position: int) -> Value:
        """An address of the table; loaded where it is needed, as thousands held in registers take LLVM minutes."""
        return self.f.load(self.f.offset(self.f["table"], "ptr", position), "ptr")

    def _slots(self) -> list[Value]:
        """The address of every arena slot."""
        places, total = [], self.f["arena"]
        for slot in self.code.memory.slots:
            places.append(total)
            total = self.f.offset(total, "i8", self._slot_size(slot))
        return places

    def _slot_size(self, slot: Slot) -> Value | int:
        f = self.f
        largest = self.scalars.dim(slot.sizes[0])
        for size in slot.sizes[1:]:
            other = self.scalars.dim(size)
            largest = f.select(f.icmp("sgt", other, largest), other, largest)
        return f.and_(f.add(largest, ALIGNMENT - 1), -ALIGNMENT)

    def emit(self) -> None:
        for bound in self.code.bounds:
            self._check(bound)
        for task in self.code.schedule.tasks:
            call_task(self.f, task, self.module, self._address, self.scalars.sizes)

    def _address(self, place: Memory | Buffer) -> Value:
        if isinstance(place, Buffer) or place.kind == "arena":
            return self.slots[self.code.memory.slot_of[place]]
        if place.kind == "output":
            return self._table(self.outputs[place.name])
        assert place.leaf is not None, "memory outside of the arena belongs to a leaf or a constant"
        if place.kind == "constant":
            return self.module.constant(place.leaf.attr("value").data)
        return self._table(self.leaves[place.leaf])

    def _check(self, bound: IndexBound) -> None:
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
