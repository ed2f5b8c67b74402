"""Every stage of a compilation as text or as a graph: what `graphc show` and `model.text` print."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from graphc.codegen.entry import EntryCode
from graphc.codegen.kernel import Buffer
from graphc.codegen.kernel_text import print_kernel
from graphc.codegen.memory import live_at_once, size_of
from graphc.codegen.tasks import Memory, MemoryPlan, Schedule, Task, Tenant
from graphc.compilation import Compilation
from graphc.frontend.parser import parse
from graphc.ir.dims import Dim
from graphc.ir.graph import Graph
from graphc.ir.text import print_graph
from graphc.ir.view import to_dot
from graphc.non_finite import describe
from graphc.passes.fuse import fuse_elementwise, fuse_epilogue, fuse_reduction
from graphc.passes.grouping import group_nodes
from graphc.passes.pipeline import PassTrace
from graphc.runtime.errors import OptionError, counted
from graphc.source import Source, Span

STAGES = ("ast", "graph", "backward", "optimised", "passes", "kernels", "llvm", "asm", "memory", "fusion")
GRAPHS = ("graph", "backward", "optimised")


class Inspection:
    """The stages of one compilation; made once, kept by the model that was compiled."""

    def __init__(self, compilation: Compilation, source: Source) -> None:
        self.compilation, self.source = compilation, source

    @property
    def main_entry(self) -> str:
        """The entry that is shown where a stage has several: the training step if there is one."""
        return "step" if "step" in self.compilation.program.entries else "forward"

    def text(self, stage: str, entry: str | None = None) -> str:
        """The stage as text; OptionError for an unknown stage or entry.

        `passes` lists what each pass did; `before:NAME` and `after:NAME` are the graph around a pass.
        """
        match stage:
            case "ast":
                return "\n".join(_tree(parse(self.source)[0]))
            case "graph" | "backward" | "optimised":
                return print_graph(self.graph(stage, entry))
            case "kernels":
                return self._kernels(entry or self.main_entry)
            case "llvm":
                return self.compilation.llvm
            case "asm":
                return self.compilation.assembly
            case "memory":
                return "\n\n".join(self._memory(name) for name in ([entry] if entry else self.compilation.entries))
            case "fusion":
                return self._fusion(entry or self.main_entry)
            case "passes":
                return "\n".join(str(trace) for trace in self._traces(entry or self.main_entry))
        if stage.startswith(("before:", "after:")):
            return "\n\n".join(self._around(stage, entry or self.main_entry))
        raise OptionError(f"there is no stage `{stage}`; the stages are {', '.join(STAGES)}")

    def graph(self, stage: str, entry: str | None = None) -> Graph:
        """A stage that is a graph: `graph` (as written), `backward` (with symbolic gradients) or `optimised`."""
        if stage == "graph":
            return self._of(self.compilation.program.entries, entry or "forward")
        if stage == "backward":
            return self._of(self.compilation.program.entries, entry or "gradients")
        if stage == "optimised":
            return self._of(self.compilation.optimised, entry or self.main_entry)
        raise OptionError(f"the stage `{stage}` is no graph; {', '.join(GRAPHS)} are")

    def _of(self, graphs: Mapping[str, Graph], entry: str) -> Graph:
        if entry not in graphs:
            raise OptionError(f"this model has no entry `{entry}`; it has {', '.join(graphs)}")
        return graphs[entry]

    def explain(self, topic: str) -> str:
        """`fusion`: what was fused and why not more; `passes`: what each pass did."""
        if topic == "fusion":
            return self._fusion(self.main_entry)
        if topic == "passes":
            return self.text("passes")
        raise OptionError(f"there is nothing to explain about `{topic}`; topics are fusion, passes")

    def memory(self) -> str:
        return self.text("memory")

    def to_dot(self, stage: str) -> str:
        return to_dot(self.graph(stage))

    def explain_non_finite(self, entry: str, values: Mapping[str, Any], sizes: Mapping[str, int]) -> str | None:
        """Op, index and line of the first value of an entry that is not finite; None if the reference finds none."""
        return describe(self.compilation.program, entry, values, sizes)

    def _entry(self, name: str) -> EntryCode:
        if name not in self.compilation.entries:
            raise OptionError(f"this model has no entry `{name}`; it has {', '.join(self.compilation.entries)}")
        return self.compilation.entries[name]

    def _kernels(self, entry: str) -> str:
        code = self._entry(entry)
        lines = [f"# entry {entry}: {counted(len(code.schedule.tasks), 'kernel')}, in this order"]
        return "\n".join([*lines, *_tasks(code.schedule, code.memory)])

    def _memory(self, entry: str) -> str:
        """Where values lie and when, and how far the arena's size is from what no plan can do without."""
        code = self._entry(entry)
        lines = [f"entry {entry}: arena of {_digits(code.memory.size)} bytes"]
        lines += [*_extents(code.memory), *_loops(code.schedule)]
        symbols = self.compilation.program.symbols
        for batch in (1, 32, 1024) if symbols else (1,):
            sizes_at = {s.name: max(s.low, min(batch, s.high or batch)) for s in symbols}
            where = ", ".join(f"{k} = {v}" for k, v in sizes_at.items()) or "always"
            total = code.arena_bytes(sizes_at)
            own = code.arena_bytes(sizes_at, threads=2) - total
            further = f", and {own:,} for each further thread" if own else ""
            lines.append(f"  total {total:,} bytes at {where}{further}")
            least, time = live_at_once(code.memory, sizes_at)
            if least:
                lines.append(f"    {total / least:.2f} times the {least:,} that live at once in kernel {time}")
        updated = ", ".join(str(leaf.attr("name")) for leaf in code.schedule.in_place) or "none"
        lines.append(f"  written in place: {updated}")
        return "\n".join(lines)

    def _traces(self, entry: str) -> list[PassTrace]:
        """What each pass of the pipeline does to an entry; the passes are run again for it."""
        traces: list[PassTrace] = []
        graph = self._of(self.compilation.program.entries, entry)
        self.compilation.pipeline.run(graph, verify=False, trace=traces.append)
        return traces

    def _around(self, stage: str, entry: str) -> list[str]:
        """The graph before or after every run of a pass."""
        when, _, name = stage.partition(":")
        traces = self._traces(entry)
        found = [t.before if when == "before" else t.after for t in traces if t.name == name]
        if not found:
            known = ", ".join(dict.fromkeys(t.name for t in traces))
            raise OptionError(f"the pass `{name}` was not run; those that were: {known}")
        return [print_graph(graph) for graph in found]

    def _fusion(self, entry: str) -> str:
        """The groups of the optimised entry, then for every edge that was not fused the reason."""
        traces = self._traces(entry)
        result = self.compilation.optimised[entry]
        groups = [n for n in result.nodes() if n.op == "fused"]
        kernels = counted(len(self._entry(entry).schedule.tasks), "kernel")
        lines = [f"entry {entry}: {len(groups)} fused of {kernels}"]
        for number, node in enumerate(groups):
            ops = [n.op for n in node.attr("body").nodes() if not n.is_leaf and n.op != "const"]
            lines.append(f"  group {number}: {node.type}  {' '.join(ops)}")
        fusions = (fuse_epilogue.name, fuse_reduction.name, fuse_elementwise.name)
        first = next((t.before for t in traces if t.name in fusions), None)
        lines.append("not fused:" if first is not None else "no fusion pass was run")
        if first is not None:
            for producer, consumer, reason in group_nodes(first).reasons:
                lines.append(f"  {producer.op} -> {consumer.op} {consumer.type}: {reason}")
        return "\n".join(lines)


def _tasks(schedule: Schedule, plan: MemoryPlan) -> Iterator[str]:
    """The kernels in order, each with where its buffers lie; those of a loop's step are indented below it."""
    for task in schedule.tasks:
        yield ""
        yield from (f"#   {b} = {place}" for b, place in _bindings(task, plan))
        yield from print_kernel(task.kernel)
        if task.loop is not None:
            yield f"  # the step: {counted(len(task.loop.step.tasks), 'kernel')}, run {task.loop.length} times"
            yield from (f"  {line}".rstrip() for line in _tasks(task.loop.step, task.loop.memory))


def _extents(plan: MemoryPlan) -> Iterator[str]:
    """The values in order of address, then of time."""

    def order(tenant: Tenant) -> tuple[int, int, tuple[int, int]]:
        return plan.extents[tenant].region, plan.extents[tenant].start, plan.lifetimes[tenant]

    rows = []
    for tenant in sorted(plan.extents, key=order):
        first, last = plan.lifetimes[tenant]
        what = str(tenant.type) if isinstance(tenant, Memory) else f"scratch {tenant.dtype}{list(tenant.shape)}"
        begin, size = str(plan.offset(plan.extents[tenant])), str(size_of(tenant))
        rows.append((begin, size, f"{what}, kernels {first}..{last}"))
    widths = [max((len(row[i]) for row in rows), default=0) for i in (0, 1)]
    yield from (f"  from {a:>{widths[0]}}: {n:>{widths[1]}} bytes  {rest}" for a, n, rest in rows)


def _digits(size: Dim) -> str:
    return f"{size:,}" if isinstance(size, int) else str(size)


def _loops(schedule: Schedule) -> Iterator[str]:
    """The memory of a step of every loop; it lies in scratch of the schedule around it."""
    for number, task in enumerate(schedule.tasks):
        if (loop := task.loop) is not None:
            yield f"  kernel {number} is a loop of {loop.length} steps; each uses {_digits(loop.memory.size)} bytes"
            yield from ("  " + line for line in (*_extents(loop.memory), *_loops(loop.step)))


def _bindings(task: Task, plan: MemoryPlan) -> Iterator[tuple[str, str]]:
    for buffer in task.kernel.buffers:
        memory = task.writes.get(buffer) or task.reads.get(buffer)
        whole: Tenant = buffer if memory is None else memory.whole
        begin: Dim = 0 if memory is None else memory.offset
        if isinstance(whole, Buffer) or whole.kind == "arena":
            yield buffer.name, f"arena from byte {plan.offset(plan.extents[whole]) + begin}"
            continue
        where = whole.kind if whole.kind in ("constant", "panels") else f"{whole.kind} {whole.name}"
        yield buffer.name, where + (f" from byte {begin}" if begin != 0 else "")


def _tree(value: Any, label: str = "", pad: str = "") -> Iterator[str]:
    """A syntax tree as indented lines; spans are left out."""
    head = f"{pad}{label}: " if label else pad
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [f.name for f in dataclasses.fields(value) if f.name not in ("depth", "source")]
        fields = [(name, getattr(value, name)) for name in names if not isinstance(getattr(value, name), Span)]
        plain = [(n, v) for n, v in fields if not _is_tree(v)]
        shown = " ".join(f"{n}={v!r}" for n, v in plain if v not in (None, (), ""))
        yield f"{head}{type(value).__name__} {shown}".rstrip()
        for name, child in fields:
            if _is_tree(child):
                yield from _tree(child, name, pad + "  ")
    elif isinstance(value, (tuple, list)):
        for child in value:
            yield from _tree(child, label, pad)
    else:
        yield f"{head}{value!r}"


def _is_tree(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return any(_is_tree(item) for item in value)
    return dataclasses.is_dataclass(value) and hasattr(value, "span")
