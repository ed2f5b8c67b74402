"""Values without operands: leaves, constants, counters and sizes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphc.ir.dims import Dim, SymDim
from graphc.ir.node import ConstArray, Node
from graphc.ir.types import BOOL, DTYPES, F64, I32, I64, DType, TensorType, TypeMismatch
from graphc.ops.op import Array, Lowering, Pointwise, Sample, Scalar, Structured, expect, register
from graphc.ops.rules import NUMERIC, check_axis, check_dtype, check_kind, check_shape

ROLES = ("input", "param", "state", "slot", "hyper", "step", "seed", "gradient", "carry", "index")


@register
class Leaf(Structured):
    """leaf(role, name, dtype, shape): a value from outside the graph.

    The role is input, param, state, slot, hyper, step, seed or gradient, in the step of a scan also carry or index;
    leaves of one role differ by name.
    """

    name = "leaf"
    kernel = "buffer"
    differentiable = False

    def infer(self, *, role: str, name: str, dtype: DType, shape: tuple[Dim, ...]) -> TensorType:
        check_dtype("leaf", dtype)
        check_shape("leaf", shape)
        expect(role in ROLES, f"leaf: {role!r} is not one of {', '.join(ROLES)}")
        expect(isinstance(name, str) and name != "", f"leaf: {name!r} is not a name")
        return TensorType(dtype, shape)

    def evaluate(self, *, role: str, name: str, dtype: DType, shape: tuple[int, ...]) -> Array:
        """A leaf has no value of its own: the interpreter binds it; alone it is zero."""
        return np.zeros(shape, dtype.numpy)

    def samples(self, size: int) -> Iterator[Sample]:
        yield Sample((), {"role": "input", "name": f"x{size}", "dtype": F64, "shape": (size, 2)})


@register
class Const(Pointwise):
    """const(value, dtype, shape): one number at every index, or the elements of an array."""

    name = "const"
    differentiable = False

    def infer(self, *, value: Any, dtype: DType, shape: tuple[Dim, ...]) -> TensorType:
        check_dtype("const", dtype)
        check_shape("const", shape)
        if isinstance(value, ConstArray):
            fits = (value.dtype, value.shape) == (dtype, shape)
            expect(fits, f"const: an array of {value.dtype}{list(value.shape)} is not {TensorType(dtype, shape)}")
            expect(len(value.data) == int(np.prod(value.shape, dtype=object)) * dtype.size, "const: wrong data length")
        else:
            self._check_number(value, dtype)
        return TensorType(dtype, shape)

    def _check_number(self, value: Any, dtype: DType) -> None:
        kind = {float: "f", int: "iu", bool: "b"}.get(type(value), "")
        expect(dtype.kind in kind or False, f"const: {value!r} is not a value of {dtype}")
        if dtype.is_integer:
            low, high = dtype.range()
            expect(low <= value <= high, f"const: {value} is outside of {dtype} ({low}..{high})")

    def evaluate(self, *, value: Any, dtype: DType, shape: tuple[int, ...]) -> Array:
        if isinstance(value, ConstArray):
            return np.frombuffer(value.data, dtype.numpy.newbyteorder("<")).astype(dtype.numpy).reshape(shape)
        return np.full(shape, value, dtype.numpy)

    def lower(self, b: Lowering, node: Node, at: tuple[Any, ...]) -> Scalar:
        value = node.attr("value")
        return b.array(node, at) if isinstance(value, ConstArray) else b.constant(value, node.dtype)

    def samples(self, size: int) -> Iterator[Sample]:
        yield Sample((), {"value": 2.5, "dtype": F64, "shape": (size,)})
        yield Sample((), {"value": -3, "dtype": I32, "shape": ()})
        yield Sample((), {"value": True, "dtype": BOOL, "shape": (2, size)})
        array = const_array(np.arange(2.0 * size).reshape(size, 2))
        yield Sample((), {"value": array, "dtype": F64, "shape": (size, 2)})


def const_array(array: Array) -> ConstArray:
    """A NumPy array as the value of a const; TypeMismatch for an element type the IR lacks."""
    for dtype in DTYPES.values():
        if array.dtype == dtype.numpy:
            shape = tuple(int(n) for n in array.shape)
            return ConstArray(dtype, shape, np.ascontiguousarray(array, dtype.numpy.newbyteorder("<")).tobytes())
    raise TypeMismatch(f"no element type for arrays of {array.dtype}")


@register
class Iota(Pointwise):
    """iota(dtype, shape, axis): the index along one axis, 0, 1, 2, ..., the same along the others."""

    name = "iota"
    differentiable = False

    def infer(self, *, dtype: DType, shape: tuple[Dim, ...], axis: int) -> TensorType:
        check_dtype("iota", dtype)
        check_shape("iota", shape)
        check_axis("iota", len(shape), axis)
        check_kind("iota", TensorType(dtype, shape), NUMERIC)
        return TensorType(dtype, shape)

    def evaluate(self, *, dtype: DType, shape: tuple[int, ...], axis: int) -> Array:
        along = np.arange(shape[axis]).astype(dtype.numpy)
        return np.broadcast_to(along.reshape([-1 if i == axis else 1 for i in range(len(shape))]), shape).copy()

    def lower(self, b: Lowering, node: Node, at: tuple[Any, ...]) -> Scalar:
        return b.position(at[node.attr("axis")], node.dtype)

    def samples(self, size: int) -> Iterator[Sample]:
        yield Sample((), {"dtype": I32, "shape": (size,), "axis": 0})
        yield Sample((), {"dtype": F64, "shape": (2, size, 3), "axis": 1})


@register
class DimValue(Pointwise):
    """dim(dim): a dimension as an i64 scalar; for sizes known only at the call."""

    name = "dim"
    differentiable = False

    def infer(self, *, dim: Dim) -> TensorType:
        expect(isinstance(dim, int | SymDim) and not isinstance(dim, bool), f"dim: {dim!r} is not a dimension")
        return TensorType(I64)

    def evaluate(self, *, dim: int) -> Array:
        return np.array(dim, np.int64)

    def lower(self, b: Lowering, node: Node, at: tuple[Any, ...]) -> Scalar:
        return b.position(node.attr("dim"), I64)

    def samples(self, size: int) -> Iterator[Sample]:
        yield Sample((), {"dim": size})
