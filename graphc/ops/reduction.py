"""Reductions: axes folded away by sum, product, extrema, and, or; and the index of an extremum."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from graphc.ir.dims import Dim
from graphc.ir.node import Node, constant, make
from graphc.ir.types import BOOL, F64, I32, DType, TensorType
from graphc.ops.build import cast, compare, reduce, spread, where
from graphc.ops.op import Array, Composite, Cotangents, Reduction, Sample, expect, register
from graphc.ops.rules import NUMERIC, check_axes, check_axis, check_kind, without


class Fold(Reduction):
    """The type rule and samples of every reduction; `accepts` lists the kinds of its elements."""

    accepts: ClassVar[str] = NUMERIC
    distinct: ClassVar[bool] = False
    domain: ClassVar[tuple[float, float]] = (-2.0, 2.0)

    def infer(self, x: TensorType, *, axes: tuple[int, ...]) -> TensorType:
        check_kind(self.name, x, self.accepts)
        check_axes(self.name, x.rank, axes)
        return x.with_shape(without(x.shape, axes))

    def samples(self, size: int) -> Iterator[Sample]:
        dtypes = {NUMERIC: (F64, I32), "b": (BOOL,)}[self.accepts]
        cases: list[tuple[tuple[Dim, ...], tuple[int, ...]]] = [
            ((size,), (0,)),
            ((3, size), (1,)),
            ((size, 3), (0,)),
            ((2, size, 2), (0, 2)),
            ((2, size), (0, 1)),
        ]
        for dtype in dtypes:
            for shape, axes in cases:
                yield Sample((TensorType(dtype, shape),), {"axes": axes}, self.domain, distinct=self.distinct)


@register
class ReduceSum(Fold):
    """The sum over the axes `axes`, 0 for no elements.  Integers wrap around."""

    name, combine = "reduce_sum", "add"

    def identity(self, dtype: DType) -> Any:
        return 0

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        return (spread(dy, node.inputs[0].shape, node.attr("axes")),)

    def evaluate(self, x: Array, *, axes: tuple[int, ...]) -> Array:
        return np.sum(x, axes, dtype=x.dtype)


@register
class ReduceProd(Fold):
    """The product over the axes `axes`, 1 for no elements.  Integers wrap around.

    The derivative is the product of the other elements, also where elements are 0: with z the number of zeros
    and p the product of the elements that are not 0, it is p / x if z = 0, p at the zero if z = 1, and 0 if z > 1.
    Second derivatives are exact where no element is 0.
    """

    name, combine = "reduce_prod", "mul"
    domain = (0.7, 1.4)

    def identity(self, dtype: DType) -> Any:
        return 1

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        (x,), axes = node.inputs, node.attr("axes")
        is_zero = compare("eq", x, 0.0)
        zero, others = cast(is_zero, x.dtype), where(is_zero, 1.0, x)
        zeros = spread(reduce("sum", zero, *axes), x.shape, axes)
        share = spread(dy * reduce("prod", others, *axes), x.shape, axes)
        return (where(compare("eq", zeros, zero), share / others, 0.0),)

    def evaluate(self, x: Array, *, axes: tuple[int, ...]) -> Array:
        return np.prod(x, axes, dtype=x.dtype)


class ReduceExtremum(Fold):
    """What reduce_max and reduce_min share: equal extrema share the derivative evenly."""

    distinct = True

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        (x,), axes = node.inputs, node.attr("axes")
        chosen = make("eq", x, spread(node, x.shape, axes))
        count = reduce("sum", cast(chosen, x.dtype), *axes)
        return (where(chosen, spread(dy / count, x.shape, axes), 0.0),)


@register
class ReduceMax(ReduceExtremum):
    """The greatest element over the axes `axes`; NaN if there is one.

    For no elements -inf, or the least integer.  Equal greatest elements share the derivative evenly.
    """

    name, combine = "reduce_max", "max"

    def identity(self, dtype: DType) -> Any:
        return -float("inf") if dtype.is_float else dtype.range()[0]

    def evaluate(self, x: Array, *, axes: tuple[int, ...]) -> Array:
        return np.max(x, axes, initial=_bound(x, 0))


@register
class ReduceMin(ReduceExtremum):
    """The least element over the axes `axes`; NaN if there is one.

    For no elements inf, or the greatest integer.  Equal least elements share the derivative evenly.
    """

    name, combine = "reduce_min", "min"

    def identity(self, dtype: DType) -> Any:
        return float("inf") if dtype.is_float else dtype.range()[1]

    def evaluate(self, x: Array, *, axes: tuple[int, ...]) -> Array:
        return np.min(x, axes, initial=_bound(x, 1))


def _bound(x: Array, end: int) -> Any:
    """The least (end 0) or greatest (end 1) value of an array's element type."""
    if x.dtype.kind == "f":
        return x.dtype.type((-np.inf, np.inf)[end])
    information = np.iinfo(x.dtype)
    return (information.min, information.max)[end]


@register
class ReduceAnd(Fold):
    """Whether all elements over the axes `axes` are true; true for no elements."""

    name, combine, accepts = "reduce_and", "and", "b"
    differentiable = False

    def identity(self, dtype: DType) -> Any:
        return True

    def evaluate(self, x: Array, *, axes: tuple[int, ...]) -> Array:
        return np.all(x, axes)


@register
class ReduceOr(Fold):
    """Whether any element over the axes `axes` is true; false for no elements."""

    name, combine, accepts = "reduce_or", "or", "b"
    differentiable = False

    def identity(self, dtype: DType) -> Any:
        return False

    def evaluate(self, x: Array, *, axes: tuple[int, ...]) -> Array:
        return np.any(x, axes)


class ArgExtremum(Composite):
    """What argmax and argmin share; `reduction` finds the extremum itself."""

    differentiable = False
    reduction: ClassVar[str] = ""
    find: ClassVar[Any] = None

    def infer(self, x: TensorType, *, axis: int) -> TensorType:
        check_kind(self.name, x, NUMERIC)
        check_axis(self.name, x.rank, axis)
        expect(x.shape[axis] != 0, f"{self.name}: no element along axis {axis} of {x}", 0)
        return TensorType(I32, without(x.shape, (axis,)))

    def decompose(self, node: Node) -> Node:
        """The least index whose element is the extremum or NaN: with a NaN nothing equals the extremum."""
        (x,), axis = node.inputs, node.attr("axis")
        found = make("eq", x, spread(reduce(self.reduction, x, axis), x.shape, (axis,)))
        if x.dtype.is_float:
            found = make("or", found, make("isnan", x))
        position = make("iota", dtype=I32, shape=x.shape, axis=axis)
        nowhere = constant(I32.range()[1], position.type)
        return reduce("min", where(found, position, nowhere), axis)

    def evaluate(self, x: Array, *, axis: int) -> Array:
        return type(self).find(x, axis).astype(np.int32)

    def samples(self, size: int) -> Iterator[Sample]:
        yield Sample((TensorType(F64, (size,)),), {"axis": 0})
        yield Sample((TensorType(F64, (3, size)),), {"axis": 1})
        yield Sample((TensorType(F64, (size, 4)),), {"axis": 0})
        yield Sample((TensorType(I32, (2, size, 3)),), {"axis": 1})  # few values, many ties


@register
class ArgMax(ArgExtremum):
    """The index of the greatest element along `axis` as i32: the first of equal ones; NaN counts as greatest."""

    name, reduction, find = "argmax", "max", np.argmax


@register
class ArgMin(ArgExtremum):
    """The index of the least element along `axis` as i32: the first of equal ones; NaN counts as least."""

    name, reduction, find = "argmin", "min", np.argmin
