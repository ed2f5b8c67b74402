"""What depends on the order of the elements: running sums, and the order that sorts them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from graphc.ir.dims import product
from graphc.ir.node import Node, make
from graphc.ir.types import F64, I32, I64, TensorType
from graphc.ops.build import cast, fill, size_of
from graphc.ops.op import Array, Cotangents, Sample, Structured, expect, register
from graphc.ops.rules import NUMERIC, check_axis, check_kind


@register
class CumSum(Structured):
    """cumsum(x, axis, reverse, exclusive): at each place the sum of the elements up to it along an axis.

    `reverse` sums from the end on; `exclusive` leaves the element itself out, so that the first sum is 0.  Elements
    are added one after the other, in the order of the axis.  Integers wrap around.
    """

    name = "cumsum"
    kernel = "cumulative"

    def infer(self, x: TensorType, *, axis: int, reverse: bool, exclusive: bool) -> TensorType:
        check_kind("cumsum", x, NUMERIC)
        check_axis("cumsum", x.rank, axis)
        expect(type(reverse) is bool and type(exclusive) is bool, "cumsum: reverse and exclusive are true or false")
        return x

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        """An element counts in every sum from its place on: the running sum from the other end."""
        turned = node.attrs_dict | {"reverse": not node.attr("reverse")}
        return (make("cumsum", dy, **turned),)

    def evaluate(self, x: Array, *, axis: int, reverse: bool, exclusive: bool) -> Array:
        x = np.flip(x, axis) if reverse else x
        if exclusive and x.shape[axis]:
            first = np.zeros_like(np.take(x, [0], axis))
            x = np.concatenate([first, np.delete(x, -1, axis)], axis)
        total = np.cumsum(x, axis, dtype=x.dtype)
        return np.flip(total, axis) if reverse else total

    def samples(self, size: int) -> Iterator[Sample]:
        plain = {"axis": 0, "reverse": False, "exclusive": False}
        yield Sample((TensorType(F64, (size,)),), plain)
        yield Sample((TensorType(F64, (size,)),), plain | {"reverse": True, "exclusive": True})
        yield Sample((TensorType(F64, (2, size, 3)),), plain | {"axis": 1, "exclusive": True})
        yield Sample((TensorType(F64, (3, size)),), plain | {"reverse": True})
        yield Sample((TensorType(I32, (3, size)),), plain | {"axis": 1})


@register
class ArgSort(Structured):
    """argsort(x, axis, descending): along an axis the indices (i32) that sort it; of equal elements the first first.

    NaN counts as greater than every number, as in NumPy and in argmax; both zeros are equal.
    """

    name = "argsort"
    kernel = "sort"
    differentiable = False

    def infer(self, x: TensorType, *, axis: int, descending: bool) -> TensorType:
        check_kind("argsort", x, NUMERIC)
        check_axis("argsort", x.rank, axis)
        expect(type(descending) is bool, "argsort: descending is true or false")
        return x.with_dtype(I32)

    def evaluate(self, x: Array, *, axis: int, descending: bool) -> Array:
        if not descending:
            return np.argsort(x, axis, kind="stable").astype(np.int32)
        turned = np.argsort(np.flip(x, axis), axis, kind="stable")  # of equal ones the last first
        return np.flip(x.shape[axis] - 1 - turned, axis).astype(np.int32)

    def samples(self, size: int) -> Iterator[Sample]:
        for descending in (False, True):
            attrs = {"axis": 0, "descending": descending}
            yield Sample((TensorType(F64, (size,)),), attrs)
            yield Sample((TensorType(F64, (size, 3)),), attrs)
            yield Sample((TensorType(I32, (3, size)),), attrs | {"axis": 1})  # few values, many ties


def along(x: Node, index: Node, axis: int) -> Node:
    """The elements of x that an index of the same rank names along an axis: y[.., i, ..] = x[.., index[.., i, ..], ..].

    A gather of the flat x, so that its derivative is a scatter in the order of the index.  All other dimensions are
    equal; the index lies within the axis.
    """
    rank = len(x.shape)
    perm = (*(i for i in range(rank) if i != axis), axis)
    rows, size, count = product(d for i, d in enumerate(x.shape) if i != axis), x.shape[axis], index.shape[axis]
    if rank == 1:
        return make("gather", x, index, axis=0)
    flat = make("reshape", make("transpose", x, perm=perm), shape=(rows * size,))
    local = cast(make("reshape", make("transpose", index, perm=perm), shape=(rows, count)), I64)
    start = make("iota", dtype=I64, shape=(rows, count), axis=0) * fill(size_of(size, I64), (rows, count))
    found = make("gather", flat, start + local, axis=0)
    shape = tuple(index.shape[i] for i in perm)
    back = tuple(perm.index(i) for i in range(rank))
    return make("transpose", make("reshape", found, shape=shape), perm=back)
