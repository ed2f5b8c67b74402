"""A scan as one native loop: the step has a schedule and a memory plan of its own.

The carried values live in the scan's results and are overwritten by every step (in place where the step reads an
element only to write the same one); what a step emits is written at its place of the stacked result.  The step's own
memory is scratch of the loop, used again by every step.
"""

from __future__ import annotations

from collections.abc import Callable

from graphc.codegen.kernel import Buffer, Kernel
from graphc.codegen.lower import lower
from graphc.codegen.memory import ALIGNMENT, plan_memory
from graphc.codegen.prepacking import prepack
from graphc.codegen.target import Target
from graphc.codegen.tasks import Loop, Memory, Schedule, Slot, Task
from graphc.ir.dims import Dim, floordiv
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.types import U8, TensorType


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
    starts = [_start(x, step.memory[leaf], target) for x, leaf in zip(scan.inputs[:carries], leaves, strict=False)]
    places.update(
        (m.name, inputs[x]) for x, task in zip(scan.inputs, starts, strict=False) for m in task.reads.values()
    )
    panels: dict[Memory, Buffer] = {}
    shared = [step.memory[x] for x in leaves[cut:] if x in step.memory]
    for task in step.tasks:
        _prepack(task, shared, target, starts, panels)
    memory = plan_memory(step)
    scratch = [Buffer(f"w{i}", U8, (_bytes(slot),), "scratch") for i, slot in enumerate(memory.slots)]
    stepping: tuple[Node | str, ...] = (*leaves[carries:cut], *outputs)
    loop = Loop(scan.attr("length"), scan.attr("reverse"), step, memory, places, stepping, scratch, starts, panels)
    order = "down from" if loop.reverse else "up to"
    buffers = (*results, *inputs.values(), *scratch, *panels.values())
    return Kernel(name, buffers, (), f"scan {order} {loop.length}"), loop


def _start(value: Node, carried: Memory, target: Target) -> Task:
    """Copies what a carried value begins with into its place."""
    source, to = Buffer("x0", value.dtype, value.shape), Buffer("y0", value.dtype, value.shape, "out")
    kernel = lower("start", {value: to}, {value: source}, target)
    return Task(kernel, {source: Memory(value.type, "start", f"start of {carried.name}")}, {to: carried})


def _prepack(
    task: Task, shared: list[Memory], target: Target, starts: list[Task], panels: dict[Memory, Buffer]
) -> None:
    """Lets the task read panels made before the loop, if it multiplies by what all steps share."""
    found = prepack(task.kernel, target) if task.loop is None else None
    if found is None or (source := task.reads[found.source]) not in shared:
        return
    memory = Memory(TensorType(found.panels.dtype, found.panels.shape), "panels")
    panels[memory] = Buffer(f"p{len(panels)}", found.panels.dtype, found.panels.shape, "scratch")
    to, whole = found.pack.buffers
    starts.append(Task(found.pack, {whole: source}, {to: memory}))
    task.kernel = found.kernel
    task.reads = {b: m for b, m in task.reads.items() if b in found.kernel.buffers} | {found.panels: memory}


def _bytes(slot: Slot) -> Dim:
    """A size that holds every tenant: sizes that nobody can compare are added."""
    total: Dim = 0
    for size in slot.sizes:
        total = total + floordiv(size + (ALIGNMENT - 1), ALIGNMENT) * ALIGNMENT
    return total
