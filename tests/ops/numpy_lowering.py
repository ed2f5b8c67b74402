"""A `Lowering` that computes with arrays: what an op's lowering says, at all indices at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from graphc.ir.graph import Graph
from graphc.ir.interpret import interpret
from graphc.ir.node import OPS, Node
from graphc.ir.types import DType
from graphc.ops import random
from graphc.ops.op import Composite, Pointwise, Reduction

Array = Any


class NumpyLowering:
    """Indices and scalars are arrays over the result's shape; a read outside of an operand is an error."""

    def __init__(self, values: Mapping[Node, Array], shape: tuple[int, ...]) -> None:
        self.values, self.shape = values, shape

    def read(self, operand: Node, at: tuple[Any, ...]) -> Array:
        return self.read_if(np.full(self.shape, True), operand, at, None)

    def read_if(self, condition: Array, operand: Node, at: tuple[Any, ...], otherwise: Array) -> Array:
        array = self.values[operand]
        assert len(at) == array.ndim, f"{len(at)} indices into {array.ndim} axes"
        index = [np.broadcast_to(i, self.shape) for i in at]
        inside = [(i >= 0) & (i < n) | ~condition for i, n in zip(index, array.shape, strict=True)]
        assert all(map(np.all, inside)), "a read outside of the operand"
        clipped = tuple(np.clip(i, 0, n - 1) for i, n in zip(index, array.shape, strict=True))
        value = np.broadcast_to(array[clipped] if array.size else np.zeros((), array.dtype), self.shape)
        return value if otherwise is None else np.where(condition, value, otherwise)

    def call(self, name: str, *args: Array) -> Array:
        assert len({a.dtype for a in args}) == 1, f"{name} of several dtypes"
        if name in random.PRIMITIVES:
            return random.PRIMITIVES[name](*map(np.asarray, args))
        return OPS[name].evaluate(*map(np.asarray, args))

    def cast(self, value: Array, dtype: DType) -> Array:
        return OPS["cast"].evaluate(value, dtype=dtype)

    def select(self, condition: Array, yes: Array, no: Array) -> Array:
        assert condition.dtype == bool and yes.dtype == no.dtype
        return np.where(condition, yes, no)

    def constant(self, value: Any, dtype: DType) -> Array:
        return np.full(self.shape, value, dtype.numpy)

    def array(self, node: Node, at: tuple[Any, ...]) -> Array:
        return OPS["const"].evaluate(**node.attrs_dict)[at]

    def position(self, index: Any, dtype: DType) -> Array:
        return np.broadcast_to(index, self.shape).astype(dtype.numpy)

    def between(self, low: int, index: Any, high: int) -> Array:
        return np.broadcast_to((low <= index) & (index < high), self.shape)

    def index_of(self, value: Array, size: int) -> Array:
        return np.clip(value.astype(np.int64), 0, size - 1)


def run_lowering(node: Node, values: Mapping[Node, Array]) -> Array | None:
    """The node's value by its lowering; None for an op with a kernel of its own."""
    op = node.definition
    if isinstance(op, Composite):
        names = {x: x.attr("name") for x in values}
        graph = Graph("decomposed", tuple(values), {"y": op.decompose(node)})
        return interpret(graph, {names[x]: a for x, a in values.items()}, {})[0]["y"]
    if isinstance(op, Reduction):
        axes, x = node.attr("axes"), values[node.inputs[0]]
        moved = np.moveaxis(x, axes, range(len(axes))).reshape(-1, *node.shape)
        total = np.full(node.shape, op.identity(node.dtype), node.dtype.numpy)
        for part in moved:
            total = OPS[op.combine].evaluate(total, part)
        return total
    if isinstance(op, Pointwise):
        at = tuple(np.indices(node.shape, sparse=False)) if node.shape else ()
        return op.lower(NumpyLowering(values, node.shape), node, at)
    return None
