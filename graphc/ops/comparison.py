"""Comparisons, logic, choice and conversion."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from graphc.ir.node import Node
from graphc.ir.types import BOOL, DTYPES, F32, F64, I32, TensorType
from graphc.ir.types import DType as ElementType
from graphc.ops.build import cast, where
from graphc.ops.elementwise import Binary, Unary
from graphc.ops.op import Array, Cotangents, Elementwise, Lowering, Sample, Scalar, register
from graphc.ops.rules import check_dtype, check_kind, check_same


class Comparison(Binary):
    """Two operands of one type; a bool, without derivative."""

    result = BOOL
    differentiable = False
    compute: ClassVar[Any] = None

    def evaluate(self, a: Array, b: Array) -> Array:
        return type(self).compute(a, b)


@register
class Eq(Comparison):
    """a == b; NaN equals nothing."""

    name, compute, accepts = "eq", np.equal, "fiub"


@register
class Ne(Comparison):
    """a != b; true if one of them is NaN."""

    name, compute, accepts = "ne", np.not_equal, "fiub"


@register
class Lt(Comparison):
    """a < b; false if one of them is NaN."""

    name, compute = "lt", np.less


@register
class Le(Comparison):
    """a <= b; false if one of them is NaN."""

    name, compute = "le", np.less_equal


@register
class Gt(Comparison):
    """a > b; false if one of them is NaN."""

    name, compute = "gt", np.greater


@register
class Ge(Comparison):
    """a >= b; false if one of them is NaN."""

    name, compute = "ge", np.greater_equal


@register
class And(Comparison):
    """Both of two bools."""

    name, compute, accepts = "and", np.logical_and, "b"


@register
class Or(Comparison):
    """At least one of two bools."""

    name, compute, accepts = "or", np.logical_or, "b"


@register
class Not(Unary):
    """The opposite of a bool."""

    name, accepts, result = "not", "b", BOOL
    differentiable = False

    def evaluate(self, x: Array) -> Array:
        return np.logical_not(x)


@register
class IsNan(Unary):
    """Whether a float is NaN."""

    name, result = "isnan", BOOL
    differentiable = False

    def evaluate(self, x: Array) -> Array:
        return np.isnan(x)


@register
class IsInf(Unary):
    """Whether a float is +inf or -inf."""

    name, result = "isinf", BOOL
    differentiable = False

    def evaluate(self, x: Array) -> Array:
        return np.isinf(x)


@register
class Where(Elementwise):
    """where(condition, a, b): a where the condition holds, elsewhere b.

    The operand that is not chosen gets the derivative 0, whatever its value.
    """

    name = "where"

    def infer(self, condition: TensorType, a: TensorType, b: TensorType) -> TensorType:
        check_kind("where", condition, "b", 0, "compare something to get a bool")
        check_same("where", a, b, 1, 2)
        check_same("where", condition, a.with_dtype(BOOL), 0, 1)
        return a

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        condition = node.inputs[0]
        return None, where(condition, dy, 0.0), where(condition, 0.0, dy)

    def evaluate(self, condition: Array, a: Array, b: Array) -> Array:
        return np.where(condition, a, b)

    def lower(self, b: Lowering, node: Node, at: tuple[Any, ...]) -> Scalar:
        condition, yes, no = (b.read(x, at) for x in node.inputs)
        return b.select(condition, yes, no)

    def samples(self, size: int) -> Iterator[Sample]:
        for dtype in (F64, I32, BOOL):
            yield Sample((TensorType(BOOL, (size,)), TensorType(dtype, (size,)), TensorType(dtype, (size,))))


@register
class Cast(Elementwise):
    """cast(x, dtype): the same numbers in another element type.

    Float to integer drops the fraction; what does not fit becomes the nearest end of the range, NaN becomes 0.
    Integer to integer wraps around.  To bool: whether x differs from 0 (NaN does).  A bool is 0 or 1.
    """

    name = "cast"

    def infer(self, x: TensorType, *, dtype: ElementType) -> TensorType:
        check_dtype("cast", dtype)
        return x.with_dtype(dtype)

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        (x,) = node.inputs
        return (cast(dy, x.dtype) if node.dtype.is_float and x.dtype.is_float else None,)

    def evaluate(self, x: Array, *, dtype: ElementType) -> Array:
        if x.dtype.kind == "f" and dtype.is_integer:
            return _to_integer(x, dtype)
        return x.astype(dtype.numpy)

    def lower(self, b: Lowering, node: Node, at: tuple[Any, ...]) -> Scalar:
        return b.cast(b.read(node.inputs[0], at), node.dtype)

    def samples(self, size: int) -> Iterator[Sample]:
        # A derivative through f32 would need wider differences than the contract allows, hence f64 to f64 only.
        yield Sample((TensorType(F64, (size,)),), {"dtype": F64})
        pairs = [(a, b) for a in DTYPES.values() for b in DTYPES.values() if a != b and F32 not in (a, b)]
        for a, b in [*pairs, (I32, F32)]:
            x, high = TensorType(a, (size,)), 300 if a.size > 1 else 100
            yield Sample((x,), {"dtype": b}, away_from=(-2.0, -1.0, 0.0, 1.0, 2.0), integers=(0, high))


def _to_integer(x: Array, dtype: ElementType) -> Array:
    """Truncation that saturates; the bounds low and high + 1 are powers of two, exact in every float."""
    low, high = dtype.range()
    over, under = x >= float(high + 1), x <= float(low)
    inside = np.where(over | under | np.isnan(x), 0, x).astype(dtype.numpy)
    return np.where(over, high, np.where(under, low, inside)).astype(dtype.numpy)
