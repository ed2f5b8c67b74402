"""The op protocol: one class holds all that an op is, and one registry holds every class.

An op says its type rule (`infer`), its derivative (`vjp`), its meaning (`evaluate`, in NumPy) and exactly one
lowering: `lower` (the scalar at one index of the result), a reduction's `combine`, a structured kernel
(contraction, scatter), or `decompose` for composites.  The class docstring is the user's documentation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeVar

from graphc.ir.dims import Dim
from graphc.ir.node import OPS, AnyType, Node
from graphc.ir.types import DType, TypeMismatch

Array = Any  # numpy.ndarray; NumPy is imported by the modules that compute
Cotangents = tuple["Node | None", ...]
Index = Any  # an affine index expression: supports + - * with dimensions
Scalar = Any  # a scalar of the Kernel IR


class Lowering(Protocol):
    """What `lower` may use: reading operands and building the scalar at one index."""

    def read(self, operand: Node, at: tuple[Index, ...]) -> Scalar:
        """The operand's value at an index."""

    def read_if(self, condition: Scalar, operand: Node, at: tuple[Index, ...], otherwise: Scalar) -> Scalar:
        """The operand's value where the condition holds (only there is memory touched), else `otherwise`."""

    def call(self, name: str, *args: Scalar) -> Scalar:
        """An elementwise primitive of graphc.codegen.vecmath; operands of one dtype."""

    def cast(self, value: Scalar, dtype: DType) -> Scalar: ...

    def select(self, condition: Scalar, yes: Scalar, no: Scalar) -> Scalar: ...

    def constant(self, value: Any, dtype: DType) -> Scalar: ...

    def array(self, node: Node, at: tuple[Index, ...]) -> Scalar:
        """An element of an array constant."""

    def position(self, index: Index, dtype: DType) -> Scalar:
        """An index expression as a number."""

    def between(self, low: Dim, index: Index, high: Dim) -> Scalar:
        """low <= index < high, as a bool."""

    def index_of(self, value: Scalar, size: Dim) -> Index:
        """A computed integer as an index; clamped to [0, size) so that no read is ever wild."""


@dataclass(frozen=True)
class Sample:
    """Operand types and attributes on which the contract test checks an op.

    `domain` bounds the random float operands, `away_from` lists kinks that the difference quotient must avoid,
    `distinct` keeps all float operands apart from each other (comparisons and ties are kinks too),
    `integers` bounds the values of integer operands (the upper bound is excluded).
    """

    types: tuple[AnyType, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    domain: tuple[float, float] = (-2.0, 2.0)
    away_from: tuple[float, ...] = ()
    integers: tuple[int, int] = (0, 5)
    distinct: bool = False


class Op:
    """Base of every op.  `smooth` says that second derivatives exist on the samples' domain."""

    name: ClassVar[str] = ""
    smooth: ClassVar[bool] = True
    differentiable: ClassVar[bool] = True

    def infer(self, *types: Any, **attrs: Any) -> AnyType:
        """The type of the result; raises TypeMismatch naming the operands at fault."""
        raise TypeMismatch(f"{self.name} has no type rule")

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        """The cotangent of each input (None: no derivative flows there) from the cotangent of the result."""
        return (None,) * len(node.inputs)

    def evaluate(self, *arrays: Array, **attrs: Any) -> Array:
        """The reference in NumPy; attributes arrive with every dimension resolved to an int."""
        raise TypeMismatch(f"{self.name} has no reference")

    def samples(self, size: int) -> Iterator[Sample]:
        """Operands of the contract test, scaled by `size`."""
        raise TypeMismatch(f"{self.name} has no samples")


class Pointwise(Op):
    """An op whose result at one index is a scalar expression of its operands' elements.

    `cost` is that of one element in vector instructions, roughly: fusion computes cheap values again, scans keep dear
    ones for their derivative.  None: the value is not computed twice.
    """

    cost: ClassVar[int | None] = None

    def lower(self, b: Lowering, node: Node, at: tuple[Index, ...]) -> Scalar:
        """The scalar at index `at` of the result."""
        raise TypeMismatch(f"{self.name} has no lowering")


class Elementwise(Pointwise):
    """result[i] = f(x[i], ...): operands of equal shape; lowers to the primitive of the same name."""

    cost = 1

    def lower(self, b: Lowering, node: Node, at: tuple[Index, ...]) -> Scalar:
        return b.call(self.name, *(b.read(x, at) for x in node.inputs))


class IndexMap(Pointwise):
    """Only reads its operand at another index: part of whatever kernel reads it, and never stored for it.

    `keeps_all` says that every element of the operand is one of the result.
    """

    keeps_all: ClassVar[bool] = True


class Reduction(Op):
    """Folds the axes `axes` away with an associative scalar operation.

    `combine` names the primitive (add, mul, min, max, and, or) and `identity` its neutral element for a dtype.
    """

    combine: ClassVar[str] = ""

    def identity(self, dtype: DType) -> Any:
        raise TypeMismatch(f"{self.name} has no identity")


class Composite(Op):
    """An op that is said with other ops; kept whole until `decompose` for readable graphs and exact gradients."""

    def decompose(self, node: Node) -> Node:
        raise TypeMismatch(f"{self.name} has no decomposition")


class Structured(Op):
    """An op with a kernel, or a place in memory, of its own; `kernel` names it for the scheduler.

    buffer (a leaf), alias (no code at all), contraction, convolution, window (pooling), scatter, cumulative, sort,
    rows, places, group (a fused graph), loop (a scan), part (one result of a group or a loop).
    """

    kernel: ClassVar[str] = ""


OpClass = TypeVar("OpClass", bound=type[Op])


def register(cls: OpClass) -> OpClass:
    """Class decorator: puts one instance of the op into the registry under its name."""
    if cls.name in OPS:
        raise ValueError(f"op {cls.name} is registered twice")
    OPS[cls.name] = cls()
    return cls


DEAR = 4  # from here on reading a value costs less than computing it again


def instructions(op: str) -> int:
    """What one element of a pointwise op costs, or the primitive of that name; 1 if nothing is said of it."""
    return getattr(OPS.get(op), "cost", None) or 1


def expect(condition: bool, message: str, *operands: int, hint: str | None = None) -> None:
    """Raises TypeMismatch unless the condition holds."""
    if not condition:
        raise TypeMismatch(message, operands, hint)
