"""Exact equations of reductions.  Sums of floats are never regrouped: only movement passes through them."""

from __future__ import annotations

from graphc.ir.dims import bounds, product
from graphc.ir.node import Node, make
from graphc.ir.rewrite import Rule, rule
from graphc.ops.build import remaining, size_of
from graphc.passes.match import splat

REDUCTIONS = ("reduce_sum", "reduce_prod", "reduce_max", "reduce_min", "reduce_and", "reduce_or")
SELECTING = ("reduce_max", "reduce_min", "reduce_and", "reduce_or")
"""Reductions whose result is one of the elements, so that repeating elements or regrouping changes nothing."""


@rule(*REDUCTIONS)
def reduce_nothing(node: Node) -> Node | None:
    """reduce over axes of size 1, or none -> reshape(x)"""
    (x,), axes = node.inputs, node.attr("axes")
    long = tuple(axis for axis in axes if x.shape[axis] != 1)
    if axes and len(long) == len(axes):
        return None
    reduced = make(node.op, x, axes=long) if long else x
    if not long and node.op == "reduce_sum" and node.dtype.is_float:
        reduced = x + 0.0  # a sum starts from 0.0, so that of -0.0 alone is 0.0
    return reduced if reduced.shape == node.shape else make("reshape", reduced, shape=node.shape)


@rule(*REDUCTIONS)
def reduce_reduce(node: Node) -> Node | None:
    """max(max(x)) -> max(x) over all axes together; likewise min, and, or, and sums and products of integers"""
    (x,) = node.inputs
    if x.op != node.op or (node.op not in SELECTING and node.dtype.is_float):
        return None
    outer = remaining(x.inputs[0].type.rank, x.attr("axes"))
    axes = (*x.attr("axes"), *(outer[axis] for axis in node.attr("axes")))
    return make(node.op, x.inputs[0], axes=tuple(sorted(axes)))


@rule(*REDUCTIONS)
def reduce_inserted(node: Node) -> Node | None:
    """reduce(reshape that inserts or removes unit axes) -> reshape(reduce)"""
    (x,) = node.inputs
    sources = x.definition.maps_axes(x) if x.op == "reshape" else None
    if sources is None:
        return None
    axes = tuple(i for i in (sources[axis] for axis in node.attr("axes")) if i is not None)
    if not axes:
        return None
    reduced = make(node.op, x.inputs[0], axes=axes)
    return reduced if reduced.shape == node.shape else make("reshape", reduced, shape=node.shape)


@rule(*SELECTING)
def select_broadcast(node: Node) -> Node | None:
    """max(broadcast(x)) over repeated axes -> x; likewise min, and, or"""
    (x,), axes = node.inputs, node.attr("axes")
    if x.op != "broadcast":
        return None
    repeated = [axis for axis in axes if axis not in x.attr("axes")]
    if not repeated or bounds(product(x.shape[axis] for axis in repeated))[0] < 1:
        return None
    return _without_repeats(node, repeated)


@rule("reduce_sum")
def sum_broadcast_integers(node: Node) -> Node | None:
    """sum(broadcast(x)) over n repetitions -> x * n, for integers"""
    return None if node.dtype.is_float else _sum_of_repeats(node)


@rule("reduce_sum", fast_math=True)
def sum_broadcast(node: Node) -> Node | None:
    """sum(broadcast(x)) over n repetitions -> x * n"""
    return _sum_of_repeats(node)


def _sum_of_repeats(node: Node) -> Node | None:
    (x,), axes = node.inputs, node.attr("axes")
    repeated = [axis for axis in axes if x.op == "broadcast" and axis not in x.attr("axes")]
    if not repeated:
        return None
    reduced, count = _without_repeats(node, repeated), product(x.shape[axis] for axis in repeated)
    if isinstance(count, int):
        low, high = node.dtype.range() if not node.dtype.is_float else (0, count)
        wrapped = (count - low) % (high - low + 1) + low
        return make("mul", reduced, splat(float(count) if node.dtype.is_float else wrapped, node.type))
    size = size_of(count, node.dtype)
    return make("mul", reduced, make("broadcast", size, shape=node.shape, axes=()) if node.shape else size)


def _without_repeats(node: Node, repeated: list[int]) -> Node:
    """The reduction without the repeated axes of the broadcast it reads."""
    (x,) = node.inputs
    kept = [axis for axis in range(x.type.rank) if axis not in repeated]
    axes = tuple(kept.index(axis) for axis in node.attr("axes") if axis not in repeated)
    shape = tuple(x.shape[axis] for axis in kept)
    placed = tuple(kept.index(axis) for axis in x.attr("axes"))
    inner = x.inputs[0] if x.inputs[0].shape == shape else make("broadcast", x.inputs[0], shape=shape, axes=placed)
    return make(node.op, inner, axes=axes) if axes else inner


REDUCTION_RULES: tuple[Rule, ...] = (
    reduce_nothing, reduce_reduce, reduce_inserted, select_broadcast, sum_broadcast_integers, sum_broadcast
)  # fmt: skip
