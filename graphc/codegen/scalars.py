"""Pulling scalars out of a graph: the value of a node at one index, as Kernel IR.

`Pull` implements the `Lowering` protocol of graphc.ops.op.  An op asks for its operands at the indices it needs;
what lies in memory becomes a load, everything else is computed in place, each (node, index) once.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from graphc.codegen.kernel import (
    Affine,
    Buffer,
    Call,
    Cast,
    Const,
    Load,
    Position,
    Scalar,
    Select,
    Var,
    affine,
    zero,
)
from graphc.ir.dims import Dim
from graphc.ir.node import OPS, Node, freeze
from graphc.ir.types import BOOL, I32, I64, DType
from graphc.ops.op import IndexMap

RESULTS = {"bf16_pair": I32} | dict.fromkeys(("eq", "ne", "lt", "le", "gt", "ge", "isnan", "isinf"), BOOL)
"""The dtype of a primitive's result where it is not that of its operands."""


class Pull:
    """The scalars of one kernel.  `buffers` says which nodes lie in memory, and where."""

    def __init__(self, buffers: Mapping[Node, Buffer]) -> None:
        self.buffers = dict(buffers)
        self.values: dict[Any, Scalar] = {}
        self._constants: dict[Any, Const] = {}

    def give(self, node: Node, at: tuple[Affine, ...], value: Scalar) -> None:
        """From now on the node's value at this index is `value` (a fold's temp, a spilled copy)."""
        self.values[_key(node, at)] = value

    def forget(self, nodes: Container[Node]) -> None:
        """What these nodes read may have been given another value."""
        self.values = {key: value for key, value in self.values.items() if key[0] not in nodes}

    def read(self, operand: Node, at: tuple[Any, ...]) -> Scalar:
        at = tuple(affine(index) for index in at)
        key = _key(operand, at)
        value = self.values.get(key)
        if value is None:
            buffer = self.buffers.get(operand)
            if buffer is not None:
                value = Load(operand.dtype, buffer, linear(buffer, at))
            elif isinstance(operand.definition, IndexMap):
                value = self.read(*self._behind(operand, at))
            else:
                value = operand.definition.lower(self, operand, at)
            self.values[key] = value
        return value

    def _behind(self, operand: Node, at: tuple[Any, ...]) -> tuple[Node, tuple[Any, ...]]:
        """What a chain of index mappings reads in the end, and where; a loop, as chains may be long."""
        while operand not in self.buffers and _key(operand, at) not in self.values:
            if not isinstance(operand.definition, IndexMap):
                break
            operand, place = OPS[operand.op].lower(_Place(), operand, at)
            at = tuple(affine(index) for index in place)
        return operand, at

    def read_if(self, condition: Scalar, operand: Node, at: tuple[Any, ...], otherwise: Scalar) -> Scalar:
        at = tuple(affine(index) for index in at)
        buffer = self.buffers.get(operand)
        if buffer is not None:
            return Load(operand.dtype, buffer, linear(buffer, at), condition, otherwise)
        inner = Guarded(self, condition)
        return self.select(condition, operand.definition.lower(inner, operand, at), otherwise)

    def call(self, name: str, *args: Scalar) -> Scalar:
        return Call(RESULTS.get(name, args[0].dtype), name, args)

    def cast(self, value: Scalar, dtype: DType) -> Scalar:
        return value if value.dtype == dtype else Cast(dtype, value)

    def select(self, condition: Scalar, yes: Scalar, no: Scalar) -> Scalar:
        return Select(yes.dtype, condition, yes, no)

    def constant(self, value: Any, dtype: DType) -> Scalar:
        key = (dtype, freeze(value))
        if key not in self._constants:
            self._constants[key] = Const(dtype, value)
        return self._constants[key]

    def array(self, node: Node, at: tuple[Any, ...]) -> Scalar:
        raise KeyError("an array constant must lie in memory before it is read")

    def position(self, index: Any, dtype: DType) -> Scalar:
        return Position(dtype, affine(index))

    def between(self, low: Dim, index: Any, high: Dim) -> Scalar:
        place = self.position(index, I64)
        above = self.call("ge", place, self.position(low, I64))
        return self.call("and", above, self.call("lt", place, self.position(high, I64)))

    def index_of(self, value: Scalar, size: Dim) -> Affine:
        wide = self.cast(value, I64)
        clamped = self.call("min", self.call("max", wide, self.constant(0, I64)), self.position(affine(size) - 1, I64))
        return affine(clamped)


class _Place:
    """Lowers an index mapping to what it reads, and where."""

    def read(self, operand: Node, at: tuple[Any, ...]) -> tuple[Node, tuple[Any, ...]]:
        return operand, at


class Guarded(Pull):
    """Pulls below a guard: every load touches memory only where the condition holds."""

    def __init__(self, outer: Pull, condition: Scalar) -> None:
        super().__init__(outer.buffers)
        self._constants, self._condition = outer._constants, condition

    def read(self, operand: Node, at: tuple[Any, ...]) -> Scalar:
        if operand in self.buffers:
            nothing = self.constant(zero(operand.dtype).value, operand.dtype)
            return super().read_if(self._condition, operand, at, nothing)
        return super().read(operand, at)

    def read_if(self, condition: Scalar, operand: Node, at: tuple[Any, ...], otherwise: Scalar) -> Scalar:
        return super().read_if(self.call("and", self._condition, condition), operand, at, otherwise)


def linear(buffer: Buffer, at: tuple[Affine, ...]) -> Affine:
    """The element offset of an index into a buffer."""
    total = Affine()
    for index, stride in zip(at, buffer.strides(), strict=True):
        total = total + index * stride
    return total


def merges(indices: list[Affine], outer: Var, inner: Var) -> bool:
    """True when two neighbouring loops can be one: every index steps through both as through one long axis."""
    return all(index.coefficient(outer) == index.coefficient(inner) * inner.extent for index in indices)


def _key(node: Node, at: tuple[Affine, ...]) -> Any:
    return node, tuple((index.constant, index.terms) for index in at)
