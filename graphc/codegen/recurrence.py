"""A scan as one native loop: the step has a schedule and a memory plan of its own.

The carried values live in the scan's results and are overwritten by every step (in place where the step reads an
element only to write the same one); what a step emits is written at its place of the stacked result.  The step's own
memory is scratch of the loop, used again by every step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from graphc.codegen.kernel import Buffer, Kernel
from graphc.codegen.llvm import Function, Module, Value
from graphc.codegen.loop_code import Compiled, emit_kernel
from graphc.codegen.lower import lower
from graphc.codegen.memory import ALIGNMENT, plan_memory
from graphc.codegen.prepacking import prepack
from graphc.codegen.scalar_code import ScalarCode
from graphc.codegen.target import Target
from graphc.codegen.tasks import Loop, Memory, Schedule, Slot, Task
from graphc.ir.dims import Dim, Symbol, bounds, floordiv, product, symbols
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.types import U8, TensorType

Address = Callable[[Memory | Buffer], Value]


def plan_loop(
    scan: Node,
    name: str,
    results: list[Buffer],
    inputs: dict[Node, Buffer],
    target: Target,
    schedule: Callable[[Graph, Target], Schedule],
) -> tuple[Kernel, Loop]:
    """The loop of a scan whose results and inputs have these buffers, and the kernel that stands for it."""
    body: Graph = scan.attr("body")
    carries, cut = scan.attr("carries"), scan.attr("carries") + scan.attr("sequences")
    leaves = body.leaves[1:]  # without t
    outputs = dict(zip(list(body.outputs)[carries:], list(body.outputs.values())[carries:], strict=True))
    updates = dict(zip(leaves[:carries], list(body.outputs.values())[:carries], strict=True))
    step = schedule(Graph("step", body.leaves, outputs, updates), target)
    places: dict[Node | str, Buffer] = dict(zip(leaves[:carries], results[:carries], strict=True))
    places.update(zip(leaves[carries:], (inputs[x] for x in scan.inputs[carries:]), strict=True))
    places.update(zip(outputs, results[carries:], strict=True))
    starts = []
    for x, result in zip(scan.inputs[:carries], results[:carries], strict=True):
        source, to = Buffer("x0", x.dtype, x.shape), Buffer("y0", x.dtype, x.shape, "out")
        starts.append((lower("start", {x: to}, {x: source}, target), inputs[x], result))
    panels: dict[Memory, Buffer] = {}
    for task in step.tasks:
        _prepack(task, {step.memory[x]: places[x] for x in leaves[cut:] if x in step.memory}, target, starts, panels)
    memory = plan_memory(step)
    scratch = [Buffer(f"w{i}", U8, (_bytes(slot),), "scratch") for i, slot in enumerate(memory.slots)]
    stepping: tuple[Node | str, ...] = (*leaves[carries:cut], *outputs)
    loop = Loop(scan.attr("length"), scan.attr("reverse"), step, memory, places, stepping, scratch, starts, panels)
    order = "down from" if loop.reverse else "up to"
    buffers = (*results, *inputs.values(), *scratch, *panels.values())
    return Kernel(name, buffers, (), f"scan {order} {loop.length}"), loop


def _prepack(
    task: Task,
    shared: dict[Memory, Buffer],
    target: Target,
    starts: list[tuple[Kernel, Buffer, Buffer]],
    panels: dict[Memory, Buffer],
) -> None:
    """Lets the task read panels made before the loop, if it multiplies by what all steps share."""
    found = prepack(task.kernel, target) if task.loop is None else None
    if found is None or (source := shared.get(task.reads[found.source])) is None:
        return
    memory = Memory(TensorType(found.panels.dtype, found.panels.shape), "panels")
    panels[memory] = Buffer(f"p{len(panels)}", found.panels.dtype, found.panels.shape, "scratch")
    starts.append((found.pack, source, panels[memory]))
    task.kernel = found.kernel
    task.reads = {b: m for b, m in task.reads.items() if b in found.kernel.buffers} | {found.panels: memory}


def _bytes(slot: Slot) -> Dim:
    """A size that holds every tenant: sizes that nobody can compare are added."""
    total: Dim = 0
    for size in slot.sizes:
        total = total + floordiv(size + (ALIGNMENT - 1), ALIGNMENT) * ALIGNMENT
    return total


def emit_task(task: Task, module: Module) -> Compiled:
    """Adds the function of a task's kernel, or of its loop, to the module."""
    return emit_kernel(task.kernel, module) if task.loop is None else _emit_loop(task, task.loop, module)


def call_task(f: Function, task: Task, module: Module, address: Address, sizes: Mapping[str, Value]) -> None:
    """Calls a task with the addresses of its buffers; adds it to the module first."""
    compiled = emit_task(task, module)
    pointers = []
    for buffer in task.kernel.buffers:
        memory = task.writes.get(buffer) or task.reads.get(buffer)
        pointers.append(address(memory if memory is not None else buffer))
    f.call(compiled.function, "void", *pointers, *(sizes[s.name] for s in compiled.sizes))


def _emit_loop(task: Task, loop: Loop, module: Module) -> Compiled:
    sizes = _symbols(task, loop, module)
    buffers = {b: f"b{i}" for i, b in enumerate(task.kernel.buffers)}
    params = [*(("ptr", name) for name in buffers.values()), *(("i64", f"n{i}") for i in range(len(sizes)))]
    f = Function(module, "scan", params)
    values = {s.name: f[f"n{i}"] for i, s in enumerate(sizes)}
    pointers = {b: f[name] for b, name in buffers.items()}
    _LoopCode(f, module, loop, pointers, values).emit()
    f.ret()
    return Compiled(module.add(f), sizes)


def _symbols(task: Task, loop: Loop, module: Module) -> tuple[Symbol, ...]:
    """The run-time sizes that the loop's function needs."""
    found: dict[Symbol, None] = dict.fromkeys(symbols(loop.length))
    for inner in loop.step.tasks:
        found.update(dict.fromkeys(emit_task(inner, module).sizes))
    for kernel, _, _ in loop.starts:
        found.update(dict.fromkeys(emit_kernel(kernel, module).sizes))
    for place in loop.stepping:
        found.update(dict.fromkeys(s for dim in loop.places[place].shape[1:] for s in symbols(dim)))
    return tuple(found)


class _LoopCode:
    def __init__(
        self, f: Function, module: Module, loop: Loop, pointers: dict[Buffer, Value], sizes: dict[str, Value]
    ) -> None:
        self.f, self.module, self.loop, self.pointers, self.sizes = f, module, loop, pointers, sizes
        self.scalars = ScalarCode(f, {}, sizes, 1)
        self.index = f.assign("ptr", "alloca i32")

    def emit(self) -> None:
        f, loop = self.f, self.loop
        for kernel, source, to in loop.starts:
            compiled = emit_kernel(kernel, self.module)
            given = [self.sizes[s.name] for s in compiled.sizes]
            f.call(compiled.function, "void", self.pointers[to], self.pointers[source], *given)
        length = self.scalars.dim(loop.length)
        stepping = [(place, loop.places[place]) for place in loop.stepping]
        strides = {place: self.scalars.dim(product(b.shape[1:]) * b.dtype.size) for place, b in stepping}
        with f.loop(0, length, may_be_empty=bounds(loop.length)[0] < 1) as run:
            t = f.sub(f.sub(length, 1), run.index) if loop.reverse else run.index
            f.store(f.trunc(t, "i32"), self.index)
            now = {place: f.offset(self.pointers[b], "i8", f.mul(t, strides[place])) for place, b in stepping}
            for task in loop.step.tasks:
                call_task(f, task, self.module, lambda place: self._address(place, now), self.sizes)

    def _address(self, place: Memory | Buffer, now: dict[Node | str, Value]) -> Value:
        if isinstance(place, Buffer) or place.kind == "arena":
            return self.pointers[self.loop.scratch[self.loop.memory.slot_of[place]]]
        if place.kind == "panels":
            return self.pointers[self.loop.panels[place]]
        if place.kind == "output":
            return now[place.name]
        assert place.leaf is not None, "memory outside of the arena belongs to a leaf or a constant"
        if place.kind == "constant":
            return self.module.constant(place.leaf.attr("value").data)
        if place.leaf.attr("role") == "index":
            return self.index
        found = now.get(place.leaf)
        return self.pointers[self.loop.places[place.leaf]] if found is None else found
