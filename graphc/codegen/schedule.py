"""The order of an entry's kernels and where every value lives.

Every computed node is a task.  Values live in a leaf's or an output's own buffer, in a constant, or in the arena;
reshapes and items are other names of a value.  The new value of a leaf is written in place when its kernel reads the
leaf only at the element it writes, and when all other readers can run before; otherwise it is computed aside and
copied at the end.
"""

from __future__ import annotations

import heapq
from dataclasses import replace

from graphc.codegen.kernel import (
    Affine,
    Buffer,
    Contract,
    For,
    Load,
    Routine,
    Stmt,
    Store,
    closure,
    scalars_of,
    statements,
    stores_of,
)
from graphc.codegen.lower import lower
from graphc.codegen.recurrence import plan_loop
from graphc.codegen.target import Target
from graphc.codegen.tasks import Memory, Schedule, Task
from graphc.ir.graph import Graph
from graphc.ir.node import ConstArray, Node, make
from graphc.ir.types import TensorType


def is_stored(value: Node) -> bool:
    """True for values that lie in memory without a task: leaves and array constants."""
    return value.is_leaf or (value.op == "const" and isinstance(value.attr("value"), ConstArray))


def base(value: Node) -> Node:
    """The value whose memory `value` names: reshapes are free."""
    while value.op == "reshape":
        value = value.inputs[0]
    return value


def schedule(graph: Graph, target: Target) -> Schedule:
    """Tasks for every computed node, in an order in which updates can be written in place."""
    plan = Schedule(graph, target)
    for node in [*graph.leaves, *graph.nodes()]:
        if node.is_leaf:
            plan.memory[node] = Memory(node.type, "leaf", str(node.attr("name")), node)
        elif is_stored(node):
            plan.memory[node] = Memory(node.type, "constant", leaf=node)
        elif node.op not in ("reshape", "item"):
            plan.tasks.append(_task(node, plan))
    _place_outputs(plan)
    _place_updates(plan)
    while (stuck := _order(plan)) is not None:
        _write_aside(plan, stuck)
    for task in plan.tasks:
        _leave_in_place(task)
    return plan


def _task(node: Node, plan: Schedule) -> Task:
    """The kernel of one node; its results get memory in the arena."""
    if node.op == "scan":
        return _loop(node, plan)
    inputs = list(node.inputs)
    if node.op == "fused":
        body: Graph = node.attr("body")
        results, inner = list(body.outputs.values()), list(body.leaves)
        single = isinstance(node.type, TensorType)
        values = [node] if single else [make("item", node, index=i) for i in range(len(results))]
    else:
        results, values, inner = [node], [node], inputs
    buffers = {x: Buffer(f"x{i}", x.dtype, x.shape) for i, x in enumerate(dict.fromkeys(inputs))}
    sources = {leaf: buffers[x] for leaf, x in zip(inner, inputs, strict=True)}
    targets = {r: Buffer(f"y{i}", r.dtype, r.shape, "out") for i, r in enumerate(results)}
    kernel = lower(f"k{len(plan.tasks)}", targets, sources, plan.target)
    for value in values:
        plan.memory[value] = Memory(value.type)
    writes = {targets[r]: plan.memory[v] for r, v in zip(results, values, strict=True)}
    return Task(kernel, {buffer: plan.memory[base(x)] for x, buffer in buffers.items()}, writes)


def _loop(node: Node, plan: Schedule) -> Task:
    """The native loop of a scan."""
    inputs = {x: Buffer(f"x{i}", x.dtype, x.shape) for i, x in enumerate(dict.fromkeys(node.inputs))}
    kernel, loop, results = plan_loop(node, f"k{len(plan.tasks)}", inputs, plan.target, schedule)
    writes = {b: Memory(TensorType(b.dtype, b.shape)) for b in kernel.buffers if b.role == "out"}
    for i, result in enumerate(results):
        item = make("item", node, index=i)
        whole = writes[result.buffer]
        is_whole = item.shape == whole.type.shape
        plan.memory[item] = whole if is_whole else Memory(item.type, part_of=whole, offset=result.offset)
    return Task(kernel, {buffer: plan.memory[base(x)] for x, buffer in inputs.items()}, writes, loop)


def _copy(plan: Schedule, value: Node, to: Memory, memory: Memory | None = None) -> None:
    """Adds a task that copies a value."""
    source, target = Buffer("x0", value.dtype, value.shape), Buffer("y0", value.dtype, value.shape, "out")
    kernel = lower(f"k{len(plan.tasks)}", {value: target}, {value: source}, plan.target)
    plan.tasks.append(Task(kernel, {source: memory or plan.memory[base(value)]}, {target: to}))


def _place_outputs(plan: Schedule) -> None:
    """Each output is computed right into its buffer, or copied there when its value has another home."""
    for name, value in plan.graph.outputs.items():
        memory = plan.memory[base(value)]
        if memory.kind == "arena" and memory.part_of is None:
            memory.kind, memory.name = "output", name
        else:
            _copy(plan, value, Memory(value.type, "output", name))


def _place_updates(plan: Schedule) -> None:
    """Each new value of a leaf is written over the old one where that is allowed, else copied at the end."""
    producer = {id(memory): task for task in plan.tasks for memory in task.writes.values()}
    for leaf, value in plan.graph.updates.items():
        if value is leaf:
            continue
        memory = plan.memory[base(value)]
        task = producer.get(id(memory))
        computed = task is not None and value is base(value) and memory.kind == "arena"
        if task is not None and computed and _reads_as_it_writes(task, leaf, memory, plan):
            memory.kind, memory.name, memory.leaf = "leaf", str(leaf.attr("name")), leaf
            plan.in_place[leaf] = task
            continue
        if is_stored(base(value)):  # it may be overwritten itself: keep it first
            aside = Memory(value.type)
            _copy(plan, value, aside)
            _copy(plan, value, plan.memory[leaf], aside)
        else:
            _copy(plan, value, plan.memory[leaf])
        plan.in_place[leaf] = plan.tasks[-1]


def _reads_as_it_writes(task: Task, leaf: Node, memory: Memory, plan: Schedule) -> bool:
    """Whether the task reads the leaf, if at all, only at the element that it writes in the same turn."""
    inputs = [b for b, m in task.reads.items() if m is plan.memory[leaf]]
    output = next(b for b, m in task.writes.items() if m is memory)
    if any(isinstance(s, Routine) and {*s.buffers} & {*inputs} for s in statements(task.kernel.body)):
        return False
    at = [_key(s.at) for s in stores_of(task.kernel.body) if s.buffer is output]
    if len(at) != 1 or any(isinstance(s, Contract) and {s.a, s.b} & {*inputs} for s in statements(task.kernel.body)):
        return not inputs
    loads = [s for s in closure(tuple(scalars_of(task.kernel.body))) if isinstance(s, Load) and s.buffer in inputs]
    return all(_key(s.at) == at[0] for s in loads)


def _leave_in_place(task: Task) -> None:
    """Takes out of a kernel a loop that copies a leaf onto itself, and what only that loop reads."""
    kept = tuple(stmt for stmt in task.kernel.body if not _copies_onto_itself(stmt, task))
    if len(kept) == len(task.kernel.body):
        return
    read = {s.buffer: None for s in closure(tuple(scalars_of(kept))) if isinstance(s, Load)}
    read |= {b: None for s in statements(kept) if isinstance(s, Routine) for b in s.buffers}
    task.reads = {buffer: memory for buffer, memory in task.reads.items() if buffer in read}
    buffers = tuple(b for b in task.kernel.buffers if b.role != "in" or b in read)
    task.kernel = replace(task.kernel, buffers=buffers, body=kept)


def _copies_onto_itself(stmt: Stmt, task: Task) -> bool:
    match stmt:
        case For(body=(Store(buffer, at, Load() as load, False),), folds=()) if load.guard is None:
            old, new = task.reads.get(load.buffer), task.writes.get(buffer)
            same = old is not None and new is not None and new.kind == "leaf" and old.leaf is new.leaf
            return same and _key(at) == _key(load.at)
    return False


def _key(at: Affine) -> object:
    return at.constant, dict(at.terms)


def _order(plan: Schedule) -> Node | None:
    """Sorts the tasks: after what they read, and the writer of a leaf after all readers of its old value.

    Among ready tasks those that leave nothing in the arena go first: what they read is still in the caches, and its
    memory is free again.  Else the first made goes first.  If the writers of leaves block each other, one such leaf is
    returned and nothing is sorted.
    """
    tasks = plan.tasks
    number = {task: n for n, task in enumerate(tasks)}
    old = {id(plan.memory[leaf]) for leaf in plan.in_place}
    producer = {id(m): task for task in tasks for m in task.writes.values() if id(m) not in old}
    before: dict[Task, dict[Task, None]] = {task: {} for task in tasks}
    for task in tasks:
        for memory in task.reads.values():
            if (source := producer.get(id(memory.whole))) is not None and source is not task:
                before[task][source] = None
    readers: dict[int, list[Task]] = {}
    for task in tasks:
        for memory in task.reads.values():
            readers.setdefault(id(memory), []).append(task)
    for leaf, writer in plan.in_place.items():
        for task in readers.get(id(plan.memory[leaf]), []):
            if task is not writer:
                before[writer][task] = None
    after: dict[Task, list[Task]] = {task: [] for task in tasks}
    for task, needs in before.items():
        for need in needs:
            after[need].append(task)
    missing = {task: len(needs) for task, needs in before.items()}
    rank = {task: (any(m.whole.kind == "arena" for m in task.writes.values()), number[task]) for task in tasks}
    ready = [rank[task] for task in tasks if not missing[task]]
    heapq.heapify(ready)
    order: list[Task] = []
    while ready:
        task = tasks[heapq.heappop(ready)[1]]
        order.append(task)
        for later in after[task]:
            missing[later] -= 1
            if not missing[later]:
                heapq.heappush(ready, rank[later])
    if len(order) == len(tasks):
        plan.tasks = order
        return None
    placed = dict.fromkeys(order)
    blocked = (leaf for leaf, task in plan.in_place.items() if task not in placed)
    return next(leaf for leaf in blocked if plan.memory[leaf] not in plan.in_place[leaf].writes.values())


def _write_aside(plan: Schedule, leaf: Node) -> None:
    """Gives up writing a leaf in place: its new value goes to the arena and is copied at the end."""
    task = plan.in_place[leaf]
    memory = next(m for m in task.writes.values() if m.leaf is leaf)
    memory.kind, memory.name, memory.leaf = "arena", "", None
    _copy(plan, plan.graph.updates[leaf], plan.memory[leaf], memory)
    plan.in_place[leaf] = plan.tasks[-1]
