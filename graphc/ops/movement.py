"""Movement: the elements of the operand at other indices, no arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from graphc.ir.dims import Dim, product
from graphc.ir.node import Node, make
from graphc.ir.types import F64, I32, I64, TensorType
from graphc.ops.build import reduce, remaining
from graphc.ops.op import Array, Cotangents, Index, IndexMap, Lowering, Pointwise, Sample, Scalar, expect, register
from graphc.ops.rules import check_axes, check_axis, check_shape, text
from graphc.ops.view import row_major


@register
class Reshape(Pointwise):
    """reshape(x, shape): the same elements in row-major order under another shape of as many elements."""

    name = "reshape"

    def infer(self, x: TensorType, *, shape: tuple[Dim, ...]) -> TensorType:
        check_shape("reshape", shape)
        message = f"reshape: {x} has {x.elements} elements, {text(shape)} has {product(shape)}"
        expect(x.elements == product(shape), message, 0)
        return x.with_shape(shape)

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        return (make("reshape", dy, shape=node.inputs[0].shape),)

    def evaluate(self, x: Array, *, shape: tuple[int, ...]) -> Array:
        return x.reshape(shape)

    def maps_axes(self, node: Node) -> tuple[int | None, ...] | None:
        """For each axis of the result the operand's axis, None for a unit axis.

        None as a whole if the reshape does more than insert and remove unit axes.
        """
        before, after = node.inputs[0].shape, node.shape
        sources = [i for i, d in enumerate(before) if d != 1]
        if [before[i] for i in sources] != [d for d in after if d != 1]:
            return None
        left = iter(sources)
        return tuple(None if d == 1 else next(left) for d in after)

    def lower(self, b: Lowering, node: Node, at: tuple[Index, ...]) -> Scalar:
        """By axes where axes map; else through the row-major position, which a scheduler avoids by aliasing."""
        (x,), axes = node.inputs, self.maps_axes(node)
        if axes is not None:
            source = {axis: at[i] for i, axis in enumerate(axes) if axis is not None}
            return b.read(x, tuple(source.get(i, 0) for i in range(len(x.shape))))
        linear: Index = 0
        for index, dim in zip(at, node.shape, strict=True):
            linear = linear * dim + index
        position, inner = b.position(linear, I64), [product(x.shape[i + 1 :]) for i in range(len(x.shape))]
        parts = [b.call("floordiv", position, b.position(stride, I64)) for stride in inner]
        wrapped = [b.call("mod", p, b.position(d, I64)) for p, d in zip(parts, x.shape, strict=True)]
        return b.read(x, tuple(b.index_of(p, d) for p, d in zip(wrapped, x.shape, strict=True)))

    def samples(self, size: int) -> Iterator[Sample]:
        yield Sample((TensorType(F64, (size, 6)),), {"shape": (2, size, 3)})
        yield Sample((TensorType(F64, (size,)),), {"shape": (size, 1)})
        yield Sample((TensorType(F64, (1, size, 1, 2)),), {"shape": (size, 1, 2)})
        yield Sample((TensorType(I32, (size, 2)),), {"shape": (2 * size,)})


@register
class Transpose(IndexMap):
    """transpose(x, perm): axis i of the result is axis perm[i] of x."""

    name = "transpose"

    def infer(self, x: TensorType, *, perm: tuple[int, ...]) -> TensorType:
        is_permutation = isinstance(perm, tuple) and sorted(perm) == list(range(x.rank))
        expect(is_permutation, f"transpose: {perm} is not a permutation of the axes of {x}", 0)
        return x.with_shape(tuple(x.shape[axis] for axis in perm))

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        perm = node.attr("perm")
        return (make("transpose", dy, perm=tuple(perm.index(i) for i in range(len(perm)))),)

    def evaluate(self, x: Array, *, perm: tuple[int, ...]) -> Array:
        return np.transpose(x, perm)

    def lower(self, b: Lowering, node: Node, at: tuple[Index, ...]) -> Scalar:
        perm = node.attr("perm")
        return b.read(node.inputs[0], tuple(at[perm.index(i)] for i in range(len(perm))))

    def samples(self, size: int) -> Iterator[Sample]:
        yield Sample((TensorType(F64, (size, 3)),), {"perm": (1, 0)})
        yield Sample((TensorType(F64, (2, size, 3)),), {"perm": (2, 0, 1)})
        yield Sample((TensorType(I32, (2, 2, size)),), {"perm": (0, 2, 1)})


@register
class Broadcast(IndexMap):
    """broadcast(x, shape, axes): axis i of x becomes axis axes[i] of the result, the same along the others.

    The axes ascend; dimensions must be equal, a 1 does not stretch.
    """

    name = "broadcast"

    def infer(self, x: TensorType, *, shape: tuple[Dim, ...], axes: tuple[int, ...]) -> TensorType:
        check_shape("broadcast", shape)
        check_axes("broadcast", len(shape), axes)
        expect(len(axes) == x.rank, f"broadcast: {x} needs {x.rank} axes, got {axes}", 0)
        for dim, axis in zip(x.shape, axes, strict=True):
            expect(dim == shape[axis], f"broadcast: {dim} of {x} is not {shape[axis]} of {text(shape)}", 0)
        return x.with_shape(shape)

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        return (reduce("sum", dy, *remaining(len(node.shape), node.attr("axes"))),)

    def evaluate(self, x: Array, *, shape: tuple[int, ...], axes: tuple[int, ...]) -> Array:
        unit = [shape[i] if i in axes else 1 for i in range(len(shape))]
        return np.broadcast_to(x.reshape(unit), shape)

    def lower(self, b: Lowering, node: Node, at: tuple[Index, ...]) -> Scalar:
        return b.read(node.inputs[0], tuple(at[axis] for axis in node.attr("axes")))

    def samples(self, size: int) -> Iterator[Sample]:
        yield Sample((TensorType(F64),), {"shape": (size,), "axes": ()})
        yield Sample((TensorType(F64, (size,)),), {"shape": (3, size), "axes": (1,)})
        yield Sample((TensorType(F64, (size, 2)),), {"shape": (size, 3, 2, 2), "axes": (0, 2)})
        yield Sample((TensorType(I32, (size,)),), {"shape": (size, 3), "axes": (0,)})


@register
class Concat(Pointwise):
    """concat(x, y, ..., axis): one after the other along an axis; the other dimensions are equal."""

    name = "concat"
    cost = 2

    def infer(self, *types: TensorType, axis: int) -> TensorType:
        expect(len(types) > 0, "concat needs an operand")
        first = types[0]
        check_axis("concat", first.rank, axis)
        total: Dim = 0
        for position, x in enumerate(types):
            same = x.dtype == first.dtype and x.rank == first.rank
            fits = same and all(a == b for i, (a, b) in enumerate(zip(x.shape, first.shape, strict=True)) if i != axis)
            expect(fits, f"concat: {x} does not continue {first} along axis {axis}", 0, position)
            total = total + x.shape[axis]
        return first.with_shape((*first.shape[:axis], total, *first.shape[axis + 1 :]))

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        axis, offset = node.attr("axis"), 0
        parts: list[Node | None] = []
        for x in node.inputs:
            start, stop = [0] * len(x.shape), list(node.shape)
            start[axis], stop[axis] = offset, offset + x.shape[axis]
            steps = (1,) * len(x.shape)
            parts.append(make("slice", dy, start=tuple(start), stop=tuple(stop), step=steps))
            offset = offset + x.shape[axis]
        return tuple(parts)

    def evaluate(self, *arrays: Array, axis: int) -> Array:
        return np.concatenate(arrays, axis)

    def lower(self, b: Lowering, node: Node, at: tuple[Index, ...]) -> Scalar:
        axis, offset = node.attr("axis"), node.shape[node.attr("axis")]
        value = b.constant(0, node.dtype)
        for x in reversed(node.inputs):
            start = offset - x.shape[axis]
            inside = b.between(start, at[axis], offset)
            value = b.read_if(inside, x, (*at[:axis], at[axis] - start, *at[axis + 1 :]), value)
            offset = start
        return value

    def samples(self, size: int) -> Iterator[Sample]:
        yield Sample((TensorType(F64, (size,)), TensorType(F64, (3,))), {"axis": 0})
        yield Sample((TensorType(F64, (2, size)), TensorType(F64, (2, 1)), TensorType(F64, (2, size))), {"axis": 1})
        yield Sample((TensorType(I32, (size, 2)), TensorType(I32, (2, 2))), {"axis": 0})
        yield Sample((TensorType(F64, (size, 2)),), {"axis": 0})


@register
class Reverse(IndexMap):
    """reverse(x, axes): the order along the axes turned round."""

    name = "reverse"

    def infer(self, x: TensorType, *, axes: tuple[int, ...]) -> TensorType:
        check_axes("reverse", x.rank, axes)
        return x

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        return (make("reverse", dy, axes=node.attr("axes")),)

    def evaluate(self, x: Array, *, axes: tuple[int, ...]) -> Array:
        return np.flip(x, axes)

    def lower(self, b: Lowering, node: Node, at: tuple[Index, ...]) -> Scalar:
        turned = node.attr("axes")
        pairs = enumerate(zip(at, node.shape, strict=True))
        return b.read(node.inputs[0], tuple(-i + (dim - 1) if axis in turned else i for axis, (i, dim) in pairs))

    def samples(self, size: int) -> Iterator[Sample]:
        yield Sample((TensorType(F64, (size,)),), {"axes": (0,)})
        yield Sample((TensorType(F64, (3, size)),), {"axes": (0, 1)})
        yield Sample((TensorType(I32, (size, 2)),), {"axes": (0,)})


def is_joined(node: Node, shape: tuple[Dim, ...]) -> bool:
    """A concatenation of values of one shape: a loop over that shape writes each at its place."""
    return node.op == "concat" and node.shape != shape and all(x.shape == shape for x in node.inputs)


@dataclass(frozen=True)
class Placed:
    """A value whose elements lie in a larger tensor: a stride for each of its axes, and where the first one is."""

    value: Node
    strides: tuple[Dim, ...]
    start: Dim


def placed_parts(concat: Node) -> list[Placed] | None:
    """The parts of a concatenation as they are before they are reshaped, and where in its result their elements lie.

    None if the axes of one are not, from one of them on, what is joined to those of the others.
    """
    axis = concat.attr("axis")
    inner = product(concat.shape[axis + 1 :])
    every, start = concat.shape[axis] * inner, 0 * inner
    parts: list[Placed] = []
    for x in concat.inputs:
        block, value = x.shape[axis] * inner, x
        while value.op == "reshape":
            value = value.inputs[0]
        shape = value.shape
        first = next((i for i in range(len(shape) + 1) if product(shape[i:]) == block), None)
        if first is None:
            return None
        outer = tuple(stride * every for stride in row_major(shape[:first]))
        parts.append(Placed(value, outer + row_major(shape[first:]), start))
        start = start + block
    return parts
