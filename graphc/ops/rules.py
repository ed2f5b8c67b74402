"""Checks that the type rules of several families share; each raises TypeMismatch naming the operands at fault."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from graphc.ir.dims import Dim, SymDim
from graphc.ir.types import DType, TensorType, TypeMismatch
from graphc.ops.op import expect

NUMERIC = "fiu"
KINDS = {"f": "float", "i": "integer", "u": "integer", "b": "bool"}


def check_kind(op: str, x: TensorType, kinds: str, position: int = 0, hint: str | None = None) -> None:
    """The operand's element type must be of one of the kinds f, i, u, b."""
    if x.dtype.kind not in kinds:
        wanted = " or ".join(dict.fromkeys(KINDS[k] for k in kinds))
        if hint is None and "f" in kinds and x.dtype.kind in "iub":
            hint = "convert it with cast"
        raise TypeMismatch(f"{op} works on {wanted} elements, not on {x}", (position,), hint)


def check_same(op: str, a: TensorType, b: TensorType, first: int = 0, second: int = 1) -> None:
    """Two operands must have one dtype and one shape."""
    if a.dtype != b.dtype:
        message = f"{op} needs one element type, got {a} and {b}"
        raise TypeMismatch(message, (first, second), "convert one of them with cast")
    if a.shape != b.shape:
        raise TypeMismatch(f"{op} needs equal shapes, got {a} and {b}", (first, second))


def check_axis(op: str, rank: int, axis: Any, position: int = 0) -> None:
    """An axis is an int counted from 0."""
    if type(axis) is not int or not 0 <= axis < rank:
        raise TypeMismatch(f"{op}: axis {axis} is not an axis of a value of rank {rank}", (position,))


def check_axes(op: str, rank: int, axes: Any, position: int = 0) -> None:
    """Axes are a tuple of distinct ints in ascending order."""
    expect(isinstance(axes, tuple), f"{op}: axes must be a tuple, not {axes!r}", position)
    for axis in axes:
        check_axis(op, rank, axis, position)
    ascending = all(a < b for a, b in pairwise(axes))
    expect(ascending, f"{op}: axes {axes} must be distinct and ascending", position)


def check_shape(op: str, shape: Any) -> None:
    """A shape is a tuple of dimensions; known ones are not negative."""
    expect(isinstance(shape, tuple), f"{op}: shape must be a tuple, not {shape!r}")
    for dim in shape:
        valid = is_dim(dim) and (isinstance(dim, SymDim) or dim >= 0)
        expect(valid, f"{op}: {dim!r} is not a dimension")


def is_dim(value: Any) -> bool:
    """Whether a value is a dimension: an int of any sign, or symbolic."""
    return isinstance(value, SymDim) or type(value) is int


def check_dtype(op: str, dtype: Any) -> None:
    expect(isinstance(dtype, DType), f"{op}: {dtype!r} is not an element type")


def without(shape: tuple[Dim, ...], axes: tuple[int, ...]) -> tuple[Dim, ...]:
    """The shape with some axes removed."""
    return tuple(d for i, d in enumerate(shape) if i not in axes)


def text(shape: tuple[Dim, ...]) -> str:
    """A shape as messages show it."""
    return f"[{', '.join(map(str, shape))}]"
