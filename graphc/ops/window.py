"""slice and pad: a window into a value, and a value inside a larger one; each is the derivative of the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphc.ir.dims import Dim, bounds
from graphc.ir.node import Node, make
from graphc.ir.types import BOOL, F64, I32, I64, TensorType
from graphc.ops.op import Array, Cotangents, Index, IndexMap, Lowering, Pointwise, Sample, Scalar, expect, register
from graphc.ops.rules import is_dim

Dims = tuple[Dim, ...]


def _is_negative(dim: Dim) -> bool:
    """Whether a dimension is below 0 at every size."""
    high = bounds(dim)[1]
    return high is not None and high < 0


def _check_lengths(op: str, x: TensorType, **attrs: Any) -> None:
    for name, value in attrs.items():
        fits = isinstance(value, tuple) and len(value) == x.rank and all(map(is_dim, value))
        expect(fits, f"{op}: {name} must have a number for each axis of {x}, got {value!r}", 0)


@register
class Slice(IndexMap):
    """slice(x, start, stop, step): along each axis the indices start, start + step, ... below stop.

    0 <= start <= stop <= the axis; what cannot be decided for a size known at the call must be required there.
    """

    name = "slice"
    keeps_all = False

    def infer(self, x: TensorType, *, start: Dims, stop: Dims, step: tuple[int, ...]) -> TensorType:
        _check_lengths("slice", x, start=start, stop=stop, step=step)
        shape: list[Dim] = []
        for axis, (dim, low, high, by) in enumerate(zip(x.shape, start, stop, step, strict=True)):
            expect(isinstance(by, int) and by > 0, f"slice: the step {by} along axis {axis} is not positive", 0)
            outside = _is_negative(low) or _is_negative(high - low) or _is_negative(dim - high)
            expect(not outside, f"slice: {low}:{high} is not within axis {axis} (0:{dim}) of {x}", 0)
            shape.append((high - low + (by - 1)) // by)
        return x.with_shape(tuple(shape))

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        start, step, (x,) = node.attr("start"), node.attr("step"), node.inputs
        # With no element there is nothing to space out, and what lies behind the last one is all the rest.
        interior = tuple(0 if n == 0 else by - 1 for n, by in zip(node.shape, step, strict=True))
        spans = [0 if n == 0 else (n - 1) * by + 1 for n, by in zip(node.shape, step, strict=True)]
        high = tuple(d - low - span for d, low, span in zip(x.shape, start, spans, strict=True))
        return (make("pad", dy, low=start, high=high, interior=interior, value=0.0),)

    def evaluate(self, x: Array, *, start: tuple[int, ...], stop: tuple[int, ...], step: tuple[int, ...]) -> Array:
        for dim, low, high in zip(x.shape, start, stop, strict=True):
            if not 0 <= low <= high <= dim:
                raise IndexError(f"slice {low}:{high} of an axis of {dim}")
        return x[tuple(slice(*bound) for bound in zip(start, stop, step, strict=True))]

    def lower(self, b: Lowering, node: Node, at: tuple[Index, ...]) -> Scalar:
        start, step = node.attr("start"), node.attr("step")
        index = tuple(i * by + low for i, low, by in zip(at, start, step, strict=True))
        return b.read(node.inputs[0], index)

    def samples(self, size: int) -> Iterator[Sample]:
        yield Sample((TensorType(F64, (size,)),), {"start": (0,), "stop": (size,), "step": (2,)})
        yield Sample((TensorType(F64, (3, size)),), {"start": (1, size // 2), "stop": (3, size), "step": (1, 3)})
        yield Sample((TensorType(I32, (size, 4)),), {"start": (0, 1), "stop": (size, 3), "step": (1, 1)})
        yield Sample((TensorType(F64, (size, 3)),), {"start": (0, 2), "stop": (size, 2), "step": (1, 2)})


@register
class Pad(Pointwise):
    """pad(x, low, high, interior, value): `value` before, behind and between the elements along each axis.

    low, high and interior count the new elements, none is negative; an axis of n elements becomes one of
    low + n + (n - 1) * interior + high.
    """

    name = "pad"
    cost = 2

    def infer(self, x: TensorType, *, low: Dims, high: Dims, interior: tuple[int, ...], value: Any) -> TensorType:
        _check_lengths("pad", x, low=low, high=high, interior=interior)
        fits = type(value) is {"f": float, "b": bool}.get(x.dtype.kind, int)
        expect(fits, f"pad: {value!r} is not a value of {x.dtype}", 0)
        if x.dtype.is_integer:
            expect(x.dtype.range()[0] <= value <= x.dtype.range()[1], f"pad: {value} is outside of {x.dtype}", 0)
        shape: list[Dim] = []
        for dim, before, behind, gap in zip(x.shape, low, high, interior, strict=True):
            count = isinstance(gap, int) and gap >= 0 and not _is_negative(before) and not _is_negative(behind)
            expect(count, f"pad: {before}, {behind} and {gap} must not be negative", 0)
            total = before + behind + dim + (dim - 1) * gap
            expect(not _is_negative(total), f"pad: an empty axis of {x} has no room for {gap} between elements", 0)
            shape.append(total)
        return x.with_shape(tuple(shape))

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        (x,), step = node.inputs, tuple(gap + 1 for gap in node.attr("interior"))
        low = tuple(0 if d == 0 else first for d, first in zip(x.shape, node.attr("low"), strict=True))
        spans = [0 if d == 0 else (d - 1) * by + 1 for d, by in zip(x.shape, step, strict=True)]
        stop = tuple(first + span for first, span in zip(low, spans, strict=True))
        return (make("slice", dy, start=low, stop=stop, step=step),)

    def evaluate(
        self, x: Array, *, low: tuple[int, ...], high: tuple[int, ...], interior: tuple[int, ...], value: Any
    ) -> Array:
        spans = [n + (n - 1) * gap for n, gap in zip(x.shape, interior, strict=True)]
        result = np.full([a + n + b for a, n, b in zip(low, spans, high, strict=True)], value, x.dtype)
        if x.size:
            within = zip(low, spans, interior, strict=True)
            result[tuple(slice(first, first + span, gap + 1) for first, span, gap in within)] = x
        return result

    def lower(self, b: Lowering, node: Node, at: tuple[Index, ...]) -> Scalar:
        (x,) = node.inputs
        source: list[Any] = []
        conditions: list[Any] = []
        for i, dim, first, gap in zip(at, x.shape, node.attr("low"), node.attr("interior"), strict=True):
            span = dim + (dim - 1) * gap
            if first != 0 or node.shape[len(source)] != span:
                conditions.append(b.between(first, i, first + span))
            if gap == 0:
                source.append(i - first)
                continue
            position, by = b.position(i - first, I64), b.constant(gap + 1, I64)
            conditions.append(b.call("eq", b.call("mod", position, by), b.constant(0, I64)))
            source.append(b.index_of(b.call("floordiv", position, by), dim))
        if not conditions:
            return b.read(x, tuple(source))
        inside = conditions[0]
        for condition in conditions[1:]:
            inside = b.call("and", inside, condition)
        return b.read_if(inside, x, tuple(source), b.constant(node.attr("value"), x.dtype))

    def samples(self, size: int) -> Iterator[Sample]:
        yield Sample((TensorType(F64, (size,)),), {"low": (1,), "high": (2,), "interior": (0,), "value": 0.5})
        yield Sample((TensorType(F64, (2, size)),), {"low": (0, 2), "high": (1, 0), "interior": (1, 2), "value": 0.0})
        yield Sample((TensorType(I32, (size, 2)),), {"low": (1, 1), "high": (0, 0), "interior": (0, 1), "value": -1})
        yield Sample((TensorType(BOOL, (size,)),), {"low": (1,), "high": (1,), "interior": (0,), "value": True})
