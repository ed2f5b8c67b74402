"""gather and scatter_add: rows picked by index, and their sum put back; each is the derivative of the other.

subtract_rows is what gradient descent makes of the second: only the rows that were picked change.  last_places finds
out which those are, for optimisers that change all rows.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from graphc.ir.dims import Dim, bounds
from graphc.ir.node import Node, make
from graphc.ir.types import F64, I32, I64, U8, TensorType
from graphc.ops.op import Array, Cotangents, Index, Lowering, Pointwise, Sample, Scalar, Structured, expect, register
from graphc.ops.rules import NUMERIC, check_axis, check_kind, check_shape


@register
class Gather(Pointwise):
    """gather(table, index, axis): the slices of `table` along `axis` that the integers of `index` name.

    The axes of `index` stand in the place of `axis`.  An index outside of the axis is an error, negative ones too.
    """

    name = "gather"
    cost = 4

    def infer(self, table: TensorType, index: TensorType, *, axis: int) -> TensorType:
        check_axis("gather", table.rank, axis)
        check_kind("gather", index, "iu", 1, "an index is an integer, such as i32")
        return table.with_shape((*table.shape[:axis], *index.shape, *table.shape[axis + 1 :]))

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        (table, index), axis = node.inputs, node.attr("axis")
        return make("scatter_add", index, dy, axis=axis, size=table.shape[axis]), None

    def evaluate(self, table: Array, index: Array, *, axis: int) -> Array:
        _check_range(index, table.shape[axis])
        return np.take(table, index.astype(np.int64), axis)

    def lower(self, b: Lowering, node: Node, at: tuple[Index, ...]) -> Scalar:
        (table, index), axis = node.inputs, node.attr("axis")
        end, size = axis + len(index.shape), table.shape[axis]
        row = b.index_of(b.read(index, at[axis:end]), size)
        place = (*at[:axis], row, *at[end:])
        if bounds(size)[0] >= 1:
            return b.read(table, place)
        return b.read_if(b.between(0, 0, size), table, place, b.constant(0, node.dtype))  # no row to clamp to

    def samples(self, size: int) -> Iterator[Sample]:
        yield Sample((TensorType(F64, (size,)), TensorType(I32, (5,))), {"axis": 0}, integers=(0, size))
        yield Sample((TensorType(F64, (4, 3)), TensorType(I32, (size, 2))), {"axis": 0}, integers=(0, 4))
        yield Sample((TensorType(F64, (2, size)), TensorType(I64, (3,))), {"axis": 1}, integers=(0, size))
        yield Sample((TensorType(I32, (size, 2)), TensorType(U8)), {"axis": 0}, integers=(0, size))


@register
class ScatterAdd(Structured):
    """scatter_add(index, updates, axis, size): zeros with each slice of `updates` added where its index says.

    Slices with one index are added in the order of the index, so the result is the same on every run.
    An index outside of [0, size) is an error.
    """

    name = "scatter_add"
    kernel = "scatter"

    def infer(self, index: TensorType, updates: TensorType, *, axis: int, size: Dim) -> TensorType:
        check_kind("scatter_add", index, "iu", 0, "an index is an integer, such as i32")
        check_kind("scatter_add", updates, NUMERIC, 1)
        check_shape("scatter_add", (size,))
        expect(type(axis) is int, f"scatter_add: {axis!r} is not an axis")
        end = axis + index.rank
        fits = axis >= 0 and end <= updates.rank and updates.shape[axis:end] == index.shape
        expect(fits, f"scatter_add: {updates} does not hold {index} from axis {axis} on", 0, 1)
        return updates.with_shape((*updates.shape[:axis], size, *updates.shape[end:]))

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        return None, make("gather", dy, node.inputs[0], axis=node.attr("axis"))

    def evaluate(self, index: Array, updates: Array, *, axis: int, size: int) -> Array:
        _check_range(index, size)
        end = axis + index.ndim
        result = np.zeros((*updates.shape[:axis], size, *updates.shape[end:]), updates.dtype)
        np.add.at(result, (*(slice(None),) * axis, index.astype(np.int64)), updates)
        return result

    def samples(self, size: int) -> Iterator[Sample]:
        attrs = {"axis": 0, "size": 4}
        yield Sample((TensorType(I32, (size,)), TensorType(F64, (size,))), attrs, integers=(0, 4))
        yield Sample((TensorType(I32, (size, 2)), TensorType(F64, (size, 2, 3))), attrs, integers=(0, 4))
        yield Sample((TensorType(I64, (3,)), TensorType(F64, (2, 3))), {"axis": 1, "size": size}, integers=(0, size))
        yield Sample((TensorType(I32, ()), TensorType(I32, (size,))), attrs, integers=(0, 4))


@register
class SubtractRows(Structured):
    """subtract_rows(table, index, updates, rate): table - rate * scatter_add(index, updates), row by row.

    Rows that the index does not name are left as they are, whatever `rate` is.  The updates of a row are added in the
    order of the index, before the sum is multiplied.  Made from updates of parameters by the pass sparse-updates.
    """

    name = "subtract_rows"
    kernel = "rows"
    differentiable = False

    def infer(self, table: TensorType, index: TensorType, updates: TensorType, rate: TensorType) -> TensorType:
        check_kind("subtract_rows", table, "f")
        check_kind("subtract_rows", index, "iu", 1, "an index is an integer, such as i32")
        known = table.rank > 0 and all(isinstance(dim, int) for dim in table.shape)
        expect(known, f"subtract_rows: {table} has no rows of a known number and size", 0)
        wanted = table.with_shape((*index.shape, *table.shape[1:]))
        expect(updates == wanted, f"subtract_rows: {updates} does not hold a row of {table} for each of {index}", 2)
        expect(rate == table.with_shape(()), f"subtract_rows: the rate is a scalar like {table}, not {rate}", 3)
        return table

    def evaluate(self, table: Array, index: Array, updates: Array, rate: Array) -> Array:
        total = ScatterAdd().evaluate(index, updates, axis=0, size=table.shape[0])
        rows, result = np.unique(index.astype(np.int64)), table.copy()
        result[rows] = table[rows] - rate * total[rows]
        return result

    def samples(self, size: int) -> Iterator[Sample]:
        index, rate = TensorType(I32, (size,)), TensorType(F64)
        yield Sample((TensorType(F64, (4, size)), index, TensorType(F64, (size, size)), rate), integers=(0, 4))
        yield Sample((TensorType(F64, (7,)), index, TensorType(F64, (size,)), rate), integers=(0, 7))
        index = TensorType(U8, (2, size))
        yield Sample((TensorType(F64, (5, 2, 3)), index, TensorType(F64, (2, size, 2, 3)), rate), integers=(0, 4))


@register
class LastPlaces(Structured):
    """last_places(index, size): for each of `size` rows, 1 + the last place of the index that names it; 0 if none does.

    Places are counted in C order.  An index outside of [0, size) is an error.  Made by the pass sparse-updates.
    """

    name = "last_places"
    kernel = "places"
    differentiable = False

    def infer(self, index: TensorType, *, size: int) -> TensorType:
        check_kind("last_places", index, "iu", 0, "an index is an integer, such as i32")
        expect(type(size) is int and size > 0, f"last_places: {size} is no known number of rows")
        return TensorType(I32, (size,))

    def evaluate(self, index: Array, *, size: int) -> Array:
        _check_range(index, size)
        result = np.zeros(size, np.int32)
        np.maximum.at(result, index.ravel().astype(np.int64), np.arange(1, index.size + 1, dtype=np.int32))
        return result

    def samples(self, size: int) -> Iterator[Sample]:
        yield Sample((TensorType(I32, (size,)),), {"size": 4}, integers=(0, 4))
        yield Sample((TensorType(U8, (2, size)),), {"size": 20}, integers=(0, 20))
        yield Sample((TensorType(I64, ()),), {"size": 3}, integers=(0, 3))


def _check_range(index: Array, size: int) -> None:
    if index.size and not 0 <= int(index.min()) <= int(index.max()) < size:
        raise IndexError(f"index {int(index.min())}..{int(index.max())} is outside of [0, {size})")
