"""`scan t in T:`, the recurrence at run time: its body is elaborated once, over leaves for the index and the carries.

The names that the body binds are its own. What comes out are the carries, with their last values, and the emits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TypeVar

from graphc.frontend import syntax as s
from graphc.frontend.arithmetic import Operand, as_type
from graphc.frontend.binding import bind, may_name
from graphc.frontend.block import run_body
from graphc.frontend.dimension import Declared, check_dim, declared, dim_of
from graphc.frontend.expression import operand
from graphc.frontend.scope import Binding, Carried, Emitted, Frame, Recurrence, Shared
from graphc.frontend.values import POISON, Instance, InstanceArray, Tensor, Value, tensor
from graphc.ir.node import Node, leaf, make
from graphc.ir.types import I32, TensorType
from graphc.ops.scan import build_scan
from graphc.source import Span

Item = TypeVar("Item")


def scan(shared: Shared, frame: Frame, one: s.Scan) -> None:
    """The whole statement: afterwards the frame has the carries' last values and what was emitted."""
    recompute = _recompute(shared, one)
    length = dim_of(shared, frame, one.axis)
    results = [inner for inner in _statements(one.body) if isinstance(inner, s.Carry | s.Emit)]
    if not results:
        help = "carry h: f32[...] = zeros() goes from step to step, emit hs: f32[..., T] = h collects a value of each"
        shared.error("GC0503", "a scan without `carry` and `emit` computes nothing", one.header, help=help)
    is_free = _is_free(shared, frame, one.index)
    if not results or length is None or not check_dim(shared, length, one.axis.span) or not is_free:
        poison(frame, one)
        return
    number = shared.loops.number(frame.path, one.header)
    index = leaf("index", f"{one.index.name}.{number}", TensorType(I32))
    shared.lengths[index] = length
    shared.spans.setdefault(index, one.index.span)
    emitted = tuple(inner.name.name for inner in results if isinstance(inner, s.Emit))
    recurrence = Recurrence(one, number, length, frame, emitted)
    inner = replace(
        frame,
        names={**frame.names, one.index.name: Binding(tensor(index), one.index.span)},
        dims=dict(frame.dims),
        scan=recurrence,
        indices=(*frame.indices, index),
    )
    shared.enter(one.header)
    run_body(shared, inner, one.body)
    shared.leave()
    frame.ended.update({name: bound.span for name, bound in inner.names.items() if name not in frame.names})
    _warn_constant(shared, recurrence)
    _finish(shared, inner, recurrence, index, recompute)


def _recompute(shared: Shared, one: s.Scan) -> bool:
    for annotation in one.annotations:
        if annotation.name.name != "recompute" or annotation.arguments:
            help = "a scan can be @recompute"
            title = f"unknown annotation `@{annotation.name.name}`"
            shared.error("GC0109", title, annotation.span, help=help)
    return bool(one.annotations)


def _statements(body: tuple[s.Statement, ...]) -> Iterator[s.Statement]:
    """The statements of a body, those below `for` and `when` included, but not those of scans inside."""
    for one in body:
        yield one
        if isinstance(one, s.For | s.When):
            yield from _statements(one.body)


def _is_free(shared: Shared, frame: Frame, name: s.Identifier) -> bool:
    """Whether the index has a name of its own."""
    if not may_name(shared, name):
        return False
    before = frame.names.get(name.name)
    if before is not None:
        also = [(before.span, "declared here")]
        shared.error("GC0103", f"`{name.name}` has a meaning already", name.span, also=also)
    return before is None


# Carries and emits ---------------------------------------------------------------------------------------------------


def carry(shared: Shared, frame: Frame, one: s.Carry) -> None:
    """`carry h: f32[B, H] = zeros()`: the value before the first step is computed outside of the scan."""
    recurrence, name = frame.scan, one.name.name
    assert recurrence is not None
    wanted = declared(shared, recurrence.outer, one.type)
    given = _initial(shared, frame, recurrence, one)
    is_new = _is_new(shared, frame, recurrence, one)
    value: Value = POISON
    if wanted is not None:
        what = f"the carry `{name}`"
        value = as_type(shared, given, wanted.type, wanted.flexible, one.type.span, what)
    if not isinstance(value, Tensor) or wanted is None or not is_new:
        frame.names[name] = Binding(POISON, one.name.span)
        recurrence.is_wrong = True
        return
    node = leaf("carry", f"{name}.{recurrence.number}", wanted.type)
    shared.spans.setdefault(node, one.name.span)
    recurrence.carries[name] = Carried(one, node, value.node, wanted.flexible, wanted.axes)
    frame.names[name] = Binding(Tensor(node, wanted.flexible), one.name.span, one.type.span, wanted.axes)


def _initial(shared: Shared, frame: Frame, recurrence: Recurrence, one: s.Carry) -> Operand:
    """The value before the first step, of names that are bound outside; says so of those that only the body has."""
    stack: list[s.Expression] = [one.value]
    while stack:
        node = stack.pop()
        if isinstance(node, s.Name) and node.name in frame.names and node.name not in recurrence.outer.names:
            help = "a carry begins with a value computed before the first step"
            title = f"`{node.name}` has no value before the scan"
            return Operand(shared.error("GC0101", title, node.span, help=help), node.span)
        stack.extend(node.children())
    return operand(shared, recurrence.outer, one.value)


def _is_new(shared: Shared, frame: Frame, recurrence: Recurrence, one: s.Carry | s.Emit) -> bool:
    """Whether what comes out of the scan has one meaning, and may take it."""
    name = one.name.name
    if not may_name(shared, one.name):
        return False
    before = recurrence.carries.get(name) or recurrence.emits.get(name)
    inside, outside = frame.names.get(name), recurrence.outer.names.get(name)
    span = before.declaration.name.span if before is not None else None
    if span is None and outside is not None:
        is_fixed = name in frame.states or isinstance(outside.value, Instance | InstanceArray)
        span = outside.span if is_fixed else None
    if span is None and inside is not None and inside is not outside and isinstance(one, s.Carry):
        span = inside.span
    if span is not None:
        shared.error("GC0103", f"`{name}` has a meaning already", one.name.span, also=[(span, "declared here")])
    return span is None


def emit(shared: Shared, frame: Frame, one: s.Emit) -> None:
    """`emit hs: f32[B, T, H] = h`: the declared type is that of all steps, the value that of one."""
    recurrence = frame.scan
    assert recurrence is not None
    wanted = declared(shared, frame, one.type)
    given = operand(shared, frame, one.value)
    place = _place(shared, recurrence, one, wanted) if wanted is not None else None
    value: Value = POISON
    if wanted is not None and place is not None:
        type = TensorType(wanted.type.dtype, _without(wanted.type.shape, place))
        what = f"`{one.name.name}` without its axis {one.type.axes[place].span.text}"
        value = as_type(shared, given, type, _without(wanted.flexible, place), one.type.span, what)
    is_new = _is_new(shared, frame, recurrence, one)
    if not isinstance(value, Tensor) or wanted is None or place is None or not is_new:
        recurrence.is_wrong = True
        return
    recurrence.emits[one.name.name] = Emitted(one, value.node, place, wanted.flexible, wanted.axes)


def _without(items: tuple[Item, ...], place: int) -> tuple[Item, ...]:
    return (*items[:place], *items[place + 1 :])


def _place(shared: Shared, recurrence: Recurrence, one: s.Emit, wanted: Declared) -> int | None:
    """Which axis of an emit's type is the scan's: the one written as the scan's axis is, else the one of its size."""
    text = recurrence.statement.axis.span.text
    also = [(recurrence.statement.axis.span, "the axis of the scan")]
    places = [i for i, axis in enumerate(wanted.axes) if axis.replace(" ", "") == text.replace(" ", "")]
    sized = [i for i, dim in enumerate(wanted.type.shape) if dim == recurrence.length and not wanted.flexible[i]]
    places = places or sized
    if len(places) == 1:
        return places[0]
    if places:
        title = f"`{one.name.name}` has the axis {text} {len(places)} times"
        help = f"an emit collects along one axis: give the other a name of its own, as in dim S = {text}"
        shared.error("GC0502", title, one.type.axes[places[1]].span, help=help, also=also)
    else:
        help = f"its type is that of all steps together: put {text} among the axes"
        shared.error("GC0502", f"`{one.name.name}` has no axis {text}", one.type.span, help=help, also=also)
    return None


# The end of the body -------------------------------------------------------------------------------------------------


def _warn_constant(shared: Shared, recurrence: Recurrence) -> None:
    """A carry that the body never assigns, in any mode, might be an ordinary value."""
    assigned: dict[str, None] = {}
    for one in _statements(recurrence.statement.body):
        if isinstance(one, s.Assign):
            assigned.update((target.name, None) for target in one.targets)
        elif isinstance(one, s.Scan):
            inside = [x for x in _statements(one.body) if isinstance(x, s.Carry | s.Emit)]
            assigned.update((x.name.name, None) for x in inside)
    for name, one_carry in recurrence.carries.items():
        if name not in assigned:
            help = f"assign it in the body, or write {name} = ... before the scan"
            span = one_carry.declaration.name.span
            shared.warn("GC0505", f"the carry `{name}` keeps its first value", span, help=help)


def _finish(shared: Shared, inner: Frame, recurrence: Recurrence, index: Node, recompute: bool) -> None:
    """The recurrence in the graph, and its results under their names in the frame around."""
    outer, one = recurrence.outer, recurrence.statement
    carries: list[tuple[Node, Node, Node]] = []
    for name, carried in recurrence.carries.items():
        last = inner.names[name].value
        if isinstance(last, Tensor):
            carries.append((carried.leaf, carried.initial, last.node))
    if recurrence.is_wrong or len(carries) < len(recurrence.carries):
        poison(outer, one)
        return
    if not carries and not recurrence.emits:  # all of them below `when training:`
        return
    emits = [emitted.node for emitted in recurrence.emits.values()]
    finals, stacked = build_scan(recurrence.length, one.reverse, index, carries, emits, recompute=recompute)
    _place_body(shared, [*(new for *_, new in carries), *emits], [*finals, *stacked][0].inputs[0], one.axis.span)
    for (name, carried), node in zip(recurrence.carries.items(), finals, strict=True):
        _bind(shared, outer, carried, name, Tensor(node, carried.flexible))
    for (name, emitted), node in zip(recurrence.emits.items(), stacked, strict=True):
        rank = len(node.shape)
        order = (*range(1, emitted.place + 1), 0, *range(emitted.place + 1, rank))
        moved = node if emitted.place == 0 else make("transpose", node, perm=order)
        _bind(shared, outer, emitted, name, Tensor(moved, emitted.flexible))


def _place_body(shared: Shared, written: list[Node], loop: Node, at: Span) -> None:
    """The places of the nodes that were written, for those that the loop's body has in their stead."""
    shared.spans.setdefault(loop, at)
    pairs = list(zip(written, loop.attr("body").outputs.values(), strict=True))
    done: dict[Node, None] = {}
    while pairs:
        old, new = pairs.pop()
        if new in done or old.op != new.op or len(old.inputs) != len(new.inputs):
            continue  # a leaf of the body stands for what is around it
        done[new] = None
        if old in shared.spans:
            shared.spans.setdefault(new, shared.spans[old])
        pairs += zip(old.inputs, new.inputs, strict=True)


def _bind(shared: Shared, outer: Frame, made: Carried | Emitted, name: str, value: Tensor) -> None:
    shared.spans.setdefault(value.node, made.declaration.span)
    bind(shared, outer, made.declaration.name, value, made.declaration.name.span, made.declaration.type.span, made.axes)


def poison(frame: Frame, one: s.Scan) -> None:
    """After an error: nothing that comes out of the scan is complained about."""
    for inner in _statements(one.body):
        if isinstance(inner, s.Carry | s.Emit):
            frame.names[inner.name.name] = Binding(POISON, inner.name.span)
