"""A scan as one native loop: the step has a schedule and a memory plan of its own.

What a step emits is written at its place of the stacked result.  A carried value is handed on without a copy:
- where a step reads an element of it only to write the same one, it is overwritten in place;
- where the steps emit what they make of it, each reads what the one before emitted, the first one the start;
- where they emit what they found, all its values are kept one behind the other, the start first: a step reads one part
  and writes its neighbour, and what is emitted are parts of the whole;
- any other has two places, which change their roles with every turn.
The step's own memory is scratch of the loop, used again by every step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from graphc.codegen.fetching import ask_for_next
from graphc.codegen.kernel import Buffer, Kernel
from graphc.codegen.lower import lower
from graphc.codegen.memory import plan_memory
from graphc.codegen.prepacking import prepack
from graphc.codegen.target import Target
from graphc.codegen.tasks import Loop, Memory, Place, Schedule, Task
from graphc.ir.dims import Dim, bounds, floordiv
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.types import U8, TensorType, TupleType


@dataclass(frozen=True)
class Result:
    """Where a result of a scan is: in a buffer of the loop's kernel, so many bytes behind its beginning."""

    buffer: Buffer
    offset: Dim = 0


def plan_loop(
    scan: Node,
    name: str,
    inputs: dict[Node, Buffer],
    target: Target,
    schedule: Callable[[Graph, Target], Schedule],
) -> tuple[Kernel, Loop, list[Result]]:
    """The kernel that stands for the loop of a scan whose inputs have these buffers, the loop, and its results."""
    body: Graph = scan.attr("body")
    carries, cut = scan.attr("carries"), scan.attr("carries") + scan.attr("sequences")
    leaves = body.leaves[1:]  # without t
    results = _Results(scan)
    step = schedule(results.step(), target)
    if copied := [i for i in range(carries) if _is_copied(step, leaves[i])]:
        results.alternate(copied)
        step = schedule(results.step(), target)
    places = results.places()
    for i, (leaf, value) in enumerate(zip(leaves[carries:], scan.inputs[carries:], strict=True), carries):
        places[leaf] = Place(inputs[value], steps=i < cut)
    starts = [_start(x, step.memory[leaf], target) for x, leaf in zip(scan.inputs[:carries], leaves, strict=False)]
    for value, task in zip(scan.inputs, starts, strict=False):
        places.update((memory.name, Place(inputs[value])) for memory in task.reads.values())
    panels: dict[Memory, Buffer] = {}
    shared = [step.memory[x] for x in leaves[cut:] if x in step.memory]
    for task in step.tasks:
        _prepack(task, shared, target, starts, panels)
    memory = plan_memory(step)
    scratch = [Buffer(f"w{i}", U8, (r.unit * r.units,), "scratch") for i, r in enumerate(memory.regions)]
    loop = Loop(scan.attr("length"), scan.attr("reverse"), step, memory, places, scratch, starts, panels)
    ask_for_next(loop)
    order = "down from" if loop.reverse else "up to"
    buffers = (*results.buffers(), *inputs.values(), *scratch, *panels.values())
    return Kernel(name, buffers, (), f"scan {order} {loop.length}"), loop, results.of


def _is_copied(step: Schedule, leaf: Node) -> bool:
    """Whether the new value of a leaf is computed elsewhere and copied to it."""
    task = step.in_place.get(leaf)
    return task is not None and step.memory[leaf] in task.writes.values()


class _Results:
    """Where the results of a scan are, and the carried values of its steps; buffers have the results' numbers."""

    def __init__(self, scan: Node) -> None:
        assert isinstance(scan.type, TupleType), "a scan has several results"
        self.body: Graph = scan.attr("body")
        self.length: Dim = scan.attr("length")
        self.leaves = self.body.leaves[1 : 1 + scan.attr("carries")]
        self.names, self.values = [*self.body.outputs], [*self.body.outputs.values()]
        self.old, self.new = (1, 0) if scan.attr("reverse") else (0, 1)  # parts ahead of t, where all values are kept
        self.of = [Result(Buffer(f"y{i}", type.dtype, type.shape, "out")) for i, type in enumerate(scan.type.items)]
        self.kept: list[int] = []  # carried values of which all are kept
        self.rings: list[int] = []  # those with two places
        self.parts: list[int] = []  # what is emitted and is a part of what is kept
        self.starts: dict[int, Buffer] = {}  # kept value -> where the first step finds it, if it is no part
        for number in range(len(self.leaves)):
            self._keep(number)

    def _keep(self, number: int) -> None:
        """Keeps all values of a carried value if it is emitted; what is emitted are parts of them."""
        leaf, value = self.leaves[number], self.values[number]
        emitted = [i for i in range(len(self.leaves), len(self.values)) if i not in self.parts]
        ahead = {i: self.old for i in emitted if self.values[i] is leaf}
        ahead.update((i, self.new) for i in emitted if self.values[i] is value)
        if not ahead or value.is_leaf:
            return
        self.kept.append(number)
        self.parts += ahead
        if self.old not in ahead.values() and bounds(self.length)[0] > 0:
            self._keep_emitted(number, [*ahead])
            return
        whole = self._several(number, self.length + 1)
        stride = Place(whole).stride
        self.of[number] = Result(whole, stride * self.length * self.new)
        for i, parts in ahead.items():
            self.of[i] = Result(whole, stride * parts)

    def _keep_emitted(self, number: int, emitted: list[int]) -> None:
        """All values but the start are kept, as what is emitted."""
        whole = self.of[emitted[0]].buffer
        for i in emitted:
            self.of[i] = Result(whole)
        self.of[number] = Result(whole, Place(whole).stride * (self.length - 1) * self.new)
        self.starts[number] = replace(whole, name=f"s{number}", shape=whole.shape[1:], role="scratch")

    def alternate(self, numbers: list[int]) -> None:
        """Gives carried values two places."""
        for number in numbers:
            ring = self._several(number, 2)
            odd = self.length - floordiv(self.length, 2) * 2
            self.of[number] = Result(ring, Place(ring).stride * odd)
        self.rings += numbers

    def _several(self, number: int, count: Dim) -> Buffer:
        one = self.leaves[number].type
        return Buffer(f"y{number}", one.dtype, (count, *one.shape), "out")

    def step(self) -> Graph:
        """The graph of a step: what is written anew is an output, what is overwritten an update."""
        outputs, updates = {}, {}
        for i, (name, value) in enumerate(zip(self.names, self.values, strict=True)):
            if i >= len(self.leaves) or i in self.kept or i in self.rings:
                outputs.update({} if i in self.parts else {name: value})
            else:
                updates[self.leaves[i]] = value
        return Graph("step", self.body.leaves, outputs, updates)

    def places(self) -> dict[Node | str, Place]:
        """Where a step finds the carried values, and where it writes what it computes."""
        found: dict[Node | str, Place] = {}
        for i, (name, result) in enumerate(zip(self.names, self.of, strict=True)):
            buffer = result.buffer
            if i in self.rings:
                found[self.leaves[i]], found[name] = Place(buffer, ring=True), Place(buffer, ring=True, ahead=1)
            elif i in self.kept:
                first = self.starts.get(i)
                before = 1 if first is not None and self.new else 0  # no part is the start
                found[self.leaves[i]] = Place(buffer, steps=True, ahead=self.old - before, first=first)
                found[name] = Place(buffer, steps=True, ahead=self.new - before)
            elif i < len(self.leaves):
                found[self.leaves[i]] = Place(buffer)
            elif i not in self.parts:
                found[name] = Place(buffer, steps=True)
        return found

    def buffers(self) -> list[Buffer]:
        return [*dict.fromkeys(result.buffer for result in self.of), *self.starts.values()]


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
