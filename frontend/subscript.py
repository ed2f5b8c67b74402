"""`x[...]`: slices, single indices, new axes, and gathers by integers computed in the graph."""

from __future__ import annotations

from dataclasses import dataclass

from graphc.frontend import syntax as s
from graphc.frontend.arithmetic import Operand, build, to_tensor
from graphc.frontend.expression import evaluate, operand, real_of
from graphc.frontend.literal import _static
from graphc.frontend.scan_index import is_plain, on_axis
from graphc.frontend.scope import Frame, Shared
from graphc.frontend.values import POISON, InstanceArray, Literal, Poison, Size, Tensor, Value, describe
from graphc.ir.dims import Dim, bounds, is_at_least
from graphc.ir.node import Node
from graphc.program import Requirement
from graphc.source import Span


@dataclass(slots=True)
class _Plan:
    """What a subscript does to the axes of the operand, in order."""

    start: list[Dim]
    stop: list[Dim]
    step: list[int]
    drop: list[bool]  # a single index: the axis vanishes
    new: list[int]  # new axes: how many operand axes stand before each


def subscript(shared: Shared, frame: Frame, node: s.Subscript) -> Value:
    """The value of a subscript; error labels point at the item at fault."""
    base = operand(shared, frame, node.base)
    if isinstance(base.value, InstanceArray):
        return _instance_at(shared, frame, base.value, node)
    value = base.value
    if isinstance(value, Poison):
        return POISON
    made = to_tensor(shared, value, real_of(shared, frame), base.span)
    if isinstance(made, Poison):
        return POISON
    items = _full(shared, node, made)
    if items is None:
        return POISON
    gathers = [item for item in items if not isinstance(item, s.Slice | s.NoneLiteral)]
    indices = {id(item): evaluate(shared, frame, item) for item in gathers}
    if any(isinstance(index, Poison) for index in indices.values()):
        return POISON
    dynamic = [item for item in gathers if _rank(indices[id(item)])]
    if len(dynamic) > 1:
        return shared.error("GC0311", "one axis at a time can be indexed by a tensor", dynamic[1].span)
    return _apply(shared, frame, base, made, items, indices, node.span)


def _rank(index: Value) -> int:
    return index.rank if isinstance(index, Tensor) else 0


def _instance_at(shared: Shared, frame: Frame, array: InstanceArray, node: s.Subscript) -> Value:
    index = _static(evaluate(shared, frame, node.items[0])) if len(node.items) == 1 else None
    if not isinstance(index, int) or isinstance(index, bool) or not -len(array.items) <= index < len(array.items):
        return shared.error("GC0306", f"an index from 0 to {len(array.items) - 1} is needed here", node.span)
    return array.items[index]


def _full(shared: Shared, node: s.Subscript, base: Tensor) -> list[s.Expression] | None:
    """The items with `...` and missing axes written out as whole slices."""
    given = list(node.items)
    dots = [i for i, item in enumerate(given) if isinstance(item, s.EllipsisLiteral)]
    used = sum(1 for item in given if not isinstance(item, s.NoneLiteral | s.EllipsisLiteral))
    if len(dots) > 1:
        shared.error("GC0311", "`...` stands once in a subscript", given[dots[1]].span)
        return None
    if used > base.rank:
        shared.error("GC0306", f"{used} indices for {base}", node.span)
        return None
    whole: list[s.Expression] = [s.Slice(node.span, None, None, None) for _ in range(base.rank - used)]
    if dots:
        return [*given[: dots[0]], *whole, *given[dots[0] + 1 :]]
    return [*given, *whole]


def _apply(
    shared: Shared,
    frame: Frame,
    base: Operand,
    value: Tensor,
    items: list[s.Expression],
    indices: dict[int, Value],
    span: Span,
) -> Value:
    plan = _Plan([], [], [], [], [])
    gathers: dict[int, Tensor] = {}
    axis = 0
    for item in items:
        if isinstance(item, s.NoneLiteral):
            plan.new.append(axis)
            continue
        dim = value.shape[axis]
        index = indices.get(id(item))
        if isinstance(index, Tensor):
            place = _computed(shared, index, dim, item.span)
            if place is None:
                return POISON
            gathers[axis] = place
            _add(plan, 0, dim, 1, False)
        elif isinstance(item, s.Slice):
            if not _slice(shared, frame, plan, item, dim):
                return POISON
        elif not _single(shared, plan, item, index, dim):
            return POISON
        axis += 1
    return _build(shared, base, value, plan, gathers, span)


def _computed(shared: Shared, index: Tensor, dim: Dim, span: Span) -> Tensor | None:
    """An index computed in the graph; that of a scan stays on the axis, or it is an error."""
    if not index.dtype.is_integer:
        shared.error("GC0311", f"an index is an integer, not {index}", span)
        return None
    if is_plain(shared, index):
        return index if _within(shared, shared.lengths[index.node], dim, span) else None
    place = on_axis(shared, index, dim)
    if place is None:
        shared.error("GC0311", f"this reaches outside of the axis of {dim} at every step", span)
    return place


def _add(plan: _Plan, start: Dim, stop: Dim, step: int, drop: bool) -> None:
    plan.start.append(start)
    plan.stop.append(stop)
    plan.step.append(step)
    plan.drop.append(drop)


def _single(shared: Shared, plan: _Plan, item: s.Expression, index: Value | None, dim: Dim) -> bool:
    place = _as_dim(index)
    if place is None:
        shared.error("GC0311", f"an index is an integer, not {describe(index or POISON)}", item.span)
        return False
    if isinstance(place, int) and isinstance(dim, int) and not -dim <= place < dim:
        title = f"the index {place} is outside of an axis of {dim}"
        shared.error("GC0311", title, item.span, help="the first element has the index 0, the last one -1")
        return False
    if isinstance(place, int) and place < 0:
        place = dim + place
    if not _within(shared, 0, place, item.span) or not _within(shared, place + 1, dim, item.span):
        return False
    _add(plan, place, place + 1, 1, True)
    return True


def _as_dim(value: Value | None) -> Dim | None:
    if isinstance(value, Size):
        return value.dim
    if isinstance(value, Literal) and isinstance(value.value, int) and not isinstance(value.value, bool):
        return value.value
    return None


def _slice(shared: Shared, frame: Frame, plan: _Plan, item: s.Slice, dim: Dim) -> bool:
    ends: list[Dim] = []
    for part, default in ((item.start, 0), (item.stop, dim)):
        place = default if part is None else _as_dim(evaluate(shared, frame, part))
        if place is None:
            assert part is not None
            shared.error("GC0311", "the ends of a slice are integers known before the call's values", part.span)
            return False
        ends.append(dim + place if isinstance(place, int) and place < 0 else place)
    step = 1 if item.step is None else _static(evaluate(shared, frame, item.step))
    if not isinstance(step, int) or isinstance(step, bool) or step < 1:
        assert item.step is not None
        shared.error(
            "GC0311", "the step of a slice is a positive integer", item.step.span, help="use reverse(x, axis=...)"
        )
        return False
    start, stop = ends
    fine = (
        _within(shared, 0, start, item.span)
        and _within(shared, start, stop, item.span)
        and _within(shared, stop, dim, item.span)
    )
    if fine:
        _add(plan, start, stop, step, False)
    return fine


def _within(shared: Shared, low: Dim, high: Dim, span: Span) -> bool:
    """low <= high, decided or recorded as a requirement of the call."""
    if is_at_least(high, low):
        return True
    most = bounds(high - low)[1]
    if most is not None and most < 0:
        shared.error("GC0311", f"this reaches outside of the axis: {low} <= {high} does not hold", span)
        return False
    if not shared.is_symbolic_check:
        message = f"the slice {span.text} at {span} needs {low} <= {high}"
        shared.requirements.setdefault(Requirement(low, "<=", high, message))
    return True


def _build(shared: Shared, base: Operand, value: Tensor, plan: _Plan, gathers: dict[int, Tensor], span: Span) -> Value:
    """slice, then reshape for dropped and new axes, then gather, from the last axis to the first."""
    node: Node = value.node
    whole = all(
        a == 0 and b == d and c == 1 for a, b, c, d in zip(plan.start, plan.stop, plan.step, node.shape, strict=True)
    )
    if not whole:
        made = build(
            shared,
            "slice",
            (base,),
            (node,),
            span,
            start=tuple(plan.start),
            stop=tuple(plan.stop),
            step=tuple(plan.step),
        )
        if not isinstance(made, Tensor):
            return POISON
        node = made.node
    shape: list[Dim] = []
    flexible: list[bool] = []
    places: list[tuple[int, Tensor]] = []
    for axis in range(len(plan.drop) + 1):
        for _ in range(plan.new.count(axis)):
            shape.append(1)
            flexible.append(True)
        if axis == len(plan.drop) or plan.drop[axis]:
            continue
        if axis in gathers:
            places.append((len(shape), gathers[axis]))
        shape.append(node.shape[axis])
        flexible.append(value.flexible[axis])
    if tuple(shape) != node.shape:
        made = build(shared, "reshape", (base,), (node,), span, shape=tuple(shape))
        if not isinstance(made, Tensor):
            return POISON
        node = made.node
    for place, index in reversed(places):
        made = build(shared, "gather", (base,), (node, index.node), span, axis=place)
        if not isinstance(made, Tensor):
            return POISON
        node = made.node
        flexible[place : place + 1] = index.flexible
    return Tensor(node, tuple(flexible))
