"""bfloat16: the upper half of an f32, as the operands of products have it under `precision compute = bf16`.

Rounding is to the nearest, ties to even, whatever the machine's mode; numbers below 2^-126 become zeros of their sign,
NaN stays NaN.  A product reads its operands as pairs: two neighbours along the summed axis in one i32, the first in
the lower half, which is what instructions that add the products of a pair want.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphc.ir.dims import Dim, floordiv
from graphc.ir.node import Node
from graphc.ir.types import F32, I32, TensorType, TypeMismatch
from graphc.ops.op import Array, Elementwise, Index, Lowering, Pointwise, Sample, Scalar, Structured, expect, register
from graphc.ops.rules import check_axis, check_same


def rounded_bits(x: Array) -> Array:
    """The 16 bits of the nearest bfloat16 of f32 elements, as u32."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    nearest = (bits + (0x7FFF + (bits >> 16 & 1))) >> 16
    quiet = bits >> 16 | 0x40
    size = bits & 0x7FFFFFFF
    nearest = np.where(size < 0x00800000, bits >> 16 & 0x8000, np.where(size > 0x7F800000, quiet, nearest))
    return nearest.astype(np.uint32).reshape(np.shape(x))


def rounded(x: Array) -> Array:
    """The nearest bfloat16 numbers of f32 elements, as f32."""
    return (rounded_bits(x) << np.uint32(16)).view(np.float32)


def halves(pairs: Array) -> tuple[Array, Array]:
    """(first, second) numbers of pairs, as f32."""
    bits = np.ascontiguousarray(pairs, np.int32).view(np.uint32)
    return (bits << np.uint32(16)).view(np.float32), (bits & np.uint32(0xFFFF0000)).view(np.float32)


ELEMENTS = {"bf16": F32, "bf16_pairs": I32}
"""What an op may take the elements of its operands for, and their type in memory then."""


class Products(Structured):
    """Sums of products of the elements of two float operands, which may be rounded first.

    With the attribute elements="bf16" the operands are f32 and rounded to bfloat16; products and sums are f32.  With
    elements="bf16_pairs" they are i32 and hold two neighbours along one summed axis each, as `bf16_pairs` makes.
    An op says its type (`type_of`) and its meaning (`sums`) for operands that are taken as they are.
    """

    def infer(self, a: TensorType, b: TensorType, *, elements: str | None = None, **attrs: Any) -> TensorType:
        if elements is not None:
            expect(elements in ELEMENTS, f"{self.name}: elements are bf16 or bf16_pairs, not {elements!r}")
            for position, x in enumerate((a, b)):
                expect(x.dtype == ELEMENTS[elements], f"{self.name} of {elements} cannot take {x}", position)
            a, b = a.with_dtype(F32), b.with_dtype(F32)
        return self.type_of(a, b, **attrs)

    def evaluate(self, a: Array, b: Array, *, elements: str | None = None, **attrs: Any) -> Array:
        if elements == "bf16_pairs":
            return sum(self.sums(x, y, **attrs) for x, y in zip(halves(a), halves(b), strict=True))
        return self.sums(*((a, b) if elements is None else (rounded(a), rounded(b))), **attrs)

    def type_of(self, a: TensorType, b: TensorType, **attrs: Any) -> TensorType:
        raise TypeMismatch(f"{self.name} has no type rule")

    def sums(self, a: Array, b: Array, **attrs: Any) -> Array:
        raise TypeMismatch(f"{self.name} has no reference")


def elements_of(node: Node) -> str | None:
    """What the elements of an op's operands are taken for: "bf16", "bf16_pairs", or None for what they are."""
    found: str | None = node.attrs_dict.get("elements")
    return found


def elements_attr(node: Node) -> dict[str, str]:
    """The attribute for another op that takes its operands as `node` does."""
    elements = elements_of(node)
    return {} if elements is None else {"elements": elements}


def _check(op: str, x: TensorType, position: int = 0) -> None:
    expect(x.dtype == F32, f"{op} rounds f32, not {x}", position, hint="use cast")


@register
class Bf16(Elementwise):
    """bf16(x): the nearest bfloat16 as an f32."""

    name = "bf16"
    cost = 2
    differentiable = False

    def infer(self, x: TensorType) -> TensorType:
        _check("bf16", x)
        return x

    def evaluate(self, x: Array) -> Array:
        return rounded(x)

    def samples(self, size: int) -> Iterator[Sample]:
        yield Sample((TensorType(F32, (size,)),))
        yield Sample((TensorType(F32, (size, 3)),), domain=(-1e9, 1e9))


@register
class Bf16Pair(Elementwise):
    """bf16_pair(x, y): the nearest bfloat16 of x in the lower half of an i32, that of y in the upper half."""

    name = "bf16_pair"
    cost = 4
    differentiable = False

    def infer(self, x: TensorType, y: TensorType) -> TensorType:
        for position, one in enumerate((x, y)):
            _check("bf16_pair", one, position)
        check_same("bf16_pair", x, y)
        return x.with_dtype(I32)

    def evaluate(self, x: Array, y: Array) -> Array:
        return (rounded_bits(x) | rounded_bits(y) << np.uint32(16)).view(np.int32)

    def samples(self, size: int) -> Iterator[Sample]:
        for shape in ((size,), (2, size)):
            yield Sample((TensorType(F32, shape),) * 2)


def half_of(extent: Dim) -> Dim:
    """The number of pairs along an axis; the last one of an odd number has a zero."""
    return floordiv(extent + 1, 2)


@register
class Bf16Pairs(Pointwise):
    """bf16_pairs(x, axis): neighbours along an axis as pairs of bfloat16; the last of an odd number with a zero."""

    name = "bf16_pairs"
    differentiable = False

    def infer(self, x: TensorType, *, axis: int) -> TensorType:
        _check("bf16_pairs", x)
        check_axis("bf16_pairs", x.rank, axis)
        return TensorType(I32, (*x.shape[:axis], half_of(x.shape[axis]), *x.shape[axis + 1 :]))

    def evaluate(self, x: Array, *, axis: int) -> Array:
        extra = [(0, int(i == axis) * (x.shape[axis] % 2)) for i in range(x.ndim)]
        even = np.pad(x, extra)
        first, second = (np.take(even, range(half, even.shape[axis], 2), axis) for half in (0, 1))
        return Bf16Pair().evaluate(first, second)

    def lower(self, b: Lowering, node: Node, at: tuple[Index, ...]) -> Scalar:
        (x,), axis = node.inputs, node.attr("axis")
        extent, first = x.shape[axis], at[axis] * 2
        low, high = ((*at[:axis], first + half, *at[axis + 1 :]) for half in (0, 1))
        if isinstance(extent, int) and extent % 2 == 0:
            return b.call("bf16_pair", b.read(x, low), b.read(x, high))
        inside = b.between(0, first + 1, extent)
        return b.call("bf16_pair", b.read(x, low), b.read_if(inside, x, high, b.constant(0.0, F32)))

    def samples(self, size: int) -> Iterator[Sample]:
        yield Sample((TensorType(F32, (size,)),), {"axis": 0})
        yield Sample((TensorType(F32, (3, size)),), {"axis": 1})
        yield Sample((TensorType(F32, (size, 33)),), {"axis": 0})
        yield Sample((TensorType(F32, (2, 6, size)),), {"axis": 1})
