"""Operators on values: literals take the other operand's type, shapes broadcast as the language says, nothing else.

A scalar broadcasts. Ranks may differ only if the shorter shape is the suffix of the longer. Of two different sizes on
one axis one must be a flexible axis (written `_`); a size that happens to be 1 does not stretch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import graphc.ops  # noqa: F401  fills the registry
from graphc.frontend.scope import Shared
from graphc.frontend.values import POISON, Literal, Poison, Size, Tensor, Value, describe, tensor
from graphc.ir.dims import Dim
from graphc.ir.node import Node, constant, make
from graphc.ir.types import BOOL, DType, TensorType, TypeMismatch
from graphc.ops.build import broadcast, size_of
from graphc.source import Span

OPERATORS = {
    "+": "add",
    "-": "sub",
    "*": "mul",
    "/": "div",
    "//": "floordiv",
    "%": "mod",
    "**": "pow",
    "==": "eq",
    "!=": "ne",
    "<": "lt",
    "<=": "le",
    ">": "gt",
    ">=": "ge",
    "and": "and",
    "or": "or",
}
COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})


@dataclass(frozen=True, slots=True)
class Operand:
    """A value with the place it is written at and, for a declared name, where its type is written and what it says."""

    value: Value
    span: Span
    name: str = ""
    origin: Span | None = None
    origin_text: str = ""

    def origins(self) -> list[tuple[Span, str]]:
        """The label on the declaration, if there is one."""
        return [(self.origin, self.origin_text)] if self.origin is not None else []


def build(
    shared: Shared, op: str, operands: Sequence[Operand], nodes: Sequence[Node], span: Span, **attrs: object
) -> Value:
    """A node with the span it comes from; the op's own complaint becomes an error with labels on the operands."""
    try:
        node = make(op, *nodes, **attrs)
    except TypeMismatch as mismatch:
        also: list[tuple[Span, str]] = []
        for position in mismatch.operands:
            if position < len(operands):
                operand = operands[position]
                also.append((operand.span, describe(operand.value)))
                also.extend(operand.origins())
        return shared.error("GC0202", mismatch.message, span, help=mismatch.hint or "", also=also)
    shared.spans.setdefault(node, span)
    return tensor(node)


def literal_as(shared: Shared, value: Literal | Size, dtype: DType, span: Span) -> Tensor | Poison:
    """A literal or size as a scalar of a type, if it fits exactly or is a decimal for a float."""
    if isinstance(value, Size):
        if dtype == BOOL:
            return shared.error("GC0203", "a dimension is a number, not a bool", span)
        if isinstance(value.dim, int):
            return literal_as(shared, Literal(value.dim), dtype, span)
        return tensor(size_of(value.dim, dtype))
    number = value.value
    if isinstance(number, bool) or dtype == BOOL:
        if isinstance(number, bool) and dtype == BOOL:
            return tensor(constant(number, TensorType(BOOL)))
        kind = "a truth value" if isinstance(number, bool) else f"the number {number}"
        return shared.error("GC0203", f"{kind} is no {dtype}", span, help=f"convert it with cast(..., {dtype})")
    if dtype.is_float:
        return _float_literal(shared, number, dtype, span)
    low, high = dtype.range()
    if isinstance(number, float):
        title = f"the decimal {number} is no {dtype}"
        return shared.error(
            "GC0203", title, span, f"the other operand is {dtype}", help="write an integer, or use cast"
        )
    if not low <= number <= high:
        return shared.error("GC0203", f"{number} does not fit {dtype}", span, f"{dtype} holds {low} to {high}")
    return tensor(constant(number, TensorType(dtype)))


def _float_literal(shared: Shared, number: int | float, dtype: DType, span: Span) -> Tensor | Poison:
    limit = 2**53 if dtype.size == 8 else 2**24
    if isinstance(number, int):
        exact = abs(number) <= limit or (abs(number) < 2**127 and _is_exact(number, dtype.size))
        if not exact:
            title = f"the integer {number} is not exact in {dtype}"
            return shared.error("GC0203", title, span, help=f"write {float(number)!r} if it may be rounded")
    elif dtype.size == 4 and math.isfinite(number) and abs(number) > 3.4028235677973366e38:
        return shared.error("GC0203", f"{number} is larger than any f32", span)
    elif dtype.size == 4 and number and abs(number) < 7.006492321624086e-46:
        return shared.error("GC0203", f"{number} is smaller than any f32 above zero", span, help="use f64, or 0.0")
    return tensor(constant(float(number), TensorType(dtype)))


def _is_exact(number: int, size: int) -> bool:
    bits = 53 if size == 8 else 24
    odd = abs(number)
    return odd >> bits == 0 or odd % (1 << (odd.bit_length() - bits)) == 0


def default_type(value: Literal, real: DType) -> DType:
    """The type of a literal that meets no other operand: i32, bool, or the module's float type."""
    from graphc.ir.types import I32, I64

    if isinstance(value.value, bool):
        return BOOL
    if isinstance(value.value, float):
        return real
    return I32 if abs(value.value) < 2**31 else I64


def to_tensor(shared: Shared, value: Value, real: DType, span: Span) -> Tensor | Poison:
    """Any value that is a tensor or can stand for a scalar one; otherwise an error."""
    from graphc.ir.types import I32, I64

    match value:
        case Tensor() | Poison():
            return value
        case Literal():
            return literal_as(shared, value, default_type(value, real), span)
        case Size(dim=dim):
            return literal_as(shared, value, I32 if isinstance(dim, int) and abs(dim) < 2**31 else I64, span)
    return shared.error("GC0206", f"expected a value, found {describe(value)}", span)


def common_shape(a: Tensor, b: Tensor) -> tuple[tuple[Dim, ...], tuple[bool, ...]] | int:
    """The shape two operands broadcast to and its flexible axes; or the axis, from the right, that does not fit."""
    rank = max(a.rank, b.rank)
    shape: list[Dim] = []
    flexible: list[bool] = []
    for back in range(1, rank + 1):
        sides = [(t.shape[-back], t.flexible[-back]) for t in (a, b) if back <= t.rank]
        if len(sides) == 1:
            dim, free = sides[0]
        else:
            (left, left_free), (right, right_free) = sides
            if not left_free and not right_free and left != right:
                return back
            dim, free = (right, right_free) if left_free else (left, left_free)
        shape.append(dim)
        flexible.append(free)
    return tuple(reversed(shape)), tuple(reversed(flexible))


def expand(value: Tensor, shape: tuple[Dim, ...], flexible: tuple[bool, ...]) -> Node:
    """The node of a value at a shape that it broadcasts to."""
    offset = len(shape) - value.rank
    kept = [i for i in range(value.rank) if not value.flexible[i] or flexible[offset + i]]
    node = value.node
    if len(kept) < value.rank:
        node = make("reshape", node, shape=tuple(value.shape[i] for i in kept))
    return broadcast(node, shape, tuple(offset + i for i in kept))


def unify_types(shared: Shared, operands: Sequence[Operand], real: DType, span: Span, what: str) -> list[Tensor] | None:
    """The operands as tensors of one element type; literals and sizes take the type of the others."""
    fixed = [operand for operand in operands if isinstance(operand.value, Tensor)]
    if any(isinstance(operand.value, Poison) for operand in operands):
        return None
    if fixed:
        dtype = fixed[0].value.dtype  # type: ignore[union-attr]
        for other in fixed[1:]:
            assert isinstance(other.value, Tensor)
            if other.value.dtype != dtype:
                _different_types(shared, fixed[0], other, span, what)
                return None
    else:
        literals = [operand.value for operand in operands if isinstance(operand.value, Literal)]
        floats = [value for value in literals if isinstance(value.value, float)]
        dtype = default_type(floats[0] if floats else literals[0], real) if literals else None
    made: list[Tensor] = []
    for operand in operands:
        value = operand.value
        result: Tensor | Poison
        if isinstance(value, Literal | Size) and dtype is not None:
            result = literal_as(shared, value, dtype, operand.span)
        else:
            result = to_tensor(shared, value, real, operand.span)
        if isinstance(result, Poison):
            return None
        made.append(result)
    return made


def _different_types(shared: Shared, a: Operand, b: Operand, span: Span, what: str) -> None:
    assert isinstance(a.value, Tensor) and isinstance(b.value, Tensor)
    title = f"{what} needs one element type, got {a.value.dtype} and {b.value.dtype}"
    also = [(a.span, str(a.value)), (b.span, str(b.value)), *a.origins(), *b.origins()]
    help = f"types are not converted by themselves: use cast(..., {a.value.dtype})"
    shared.error("GC0203", title, span, also=also, help=help)


def elementwise(
    shared: Shared, op: str, operands: Sequence[Operand], real: DType, span: Span, what: str, mark: Span | None = None
) -> Value:
    """An op on operands broadcast to one shape and of one element type; `mark` is where an error points."""
    mark = mark or span
    made = unify_types(shared, operands, real, mark, what)
    if made is None:
        return POISON
    shape, flexible = made[0].shape, made[0].flexible
    for index, other in enumerate(made[1:], 1):
        common = common_shape(Tensor(_shape_only(made[0], shape), flexible), other)
        if isinstance(common, int):
            return _different_shapes(shared, operands[0], operands[index], made[0], other, common, mark, what)
        shape, flexible = common
    nodes = [expand(value, shape, flexible) for value in made]
    result = build(shared, op, operands, nodes, span)
    return result if isinstance(result, Poison) else Tensor(result.node, flexible)  # type: ignore[union-attr]


def _shape_only(like: Tensor, shape: tuple[Dim, ...]) -> Node:
    return like.node if like.shape == shape else constant(0, TensorType(like.dtype, shape))


def _different_shapes(
    shared: Shared, a: Operand, b: Operand, left: Tensor, right: Tensor, back: int, span: Span, what: str
) -> Poison:
    one, two = left.shape[-back] if back <= left.rank else "?", right.shape[-back] if back <= right.rank else "?"
    title = f"{what} joins {left} and {right}"
    also = [(a.span, str(left)), (b.span, str(right)), *a.origins(), *b.origins()]
    help = "only scalars, equal trailing axes and axes written `_` broadcast"
    if 1 in (one, two):
        help = "an axis of size 1 does not stretch; only a new axis x[:, None] does"
    text = f"axis {-back} is {one} on the left and {two} on the right"
    return shared.error("GC0201", title, span, text, help=help, also=also)


def type_text(type: TensorType, flexible: tuple[bool, ...]) -> str:
    """A type with its flexible axes written `_`."""
    axes = ["_" if free else str(dim) for dim, free in zip(type.shape, flexible, strict=True)]
    return f"{type.dtype}[{', '.join(axes)}]" if axes else str(type.dtype)


def as_type(
    shared: Shared, operand: Operand, wanted: TensorType, flexible: tuple[bool, ...], declared_at: Span, what: str
) -> Tensor | Poison:
    """A value as a declared type: literals take it, scalars and flexible axes broadcast, the rest must be equal."""
    value = operand.value
    if isinstance(value, Poison):
        return value
    if isinstance(value, Literal | Size):
        value = literal_as(shared, value, wanted.dtype, operand.span)
        if isinstance(value, Poison):
            return value
    if not isinstance(value, Tensor):
        return shared.error("GC0206", f"expected a value for {what}, found {describe(value)}", operand.span)
    if value.node.type == wanted and value.flexible == flexible:
        return value
    shown = type_text(wanted, flexible)
    also = [(declared_at, f"{what} is declared {shown}"), *operand.origins()]
    if value.dtype != wanted.dtype:
        help = f"use cast(..., {wanted.dtype})"
        return shared.error("GC0203", f"{what} is {shown}, not {value}", operand.span, str(value), help=help, also=also)
    fits = value.rank == wanted.rank or value.rank == 0
    for have, free, want, loose in zip(value.shape, value.flexible, wanted.shape, flexible, strict=False):
        fits = fits and (have == want or (free and not loose))
    if not fits:
        return shared.error("GC0204", f"{what} is {shown}, not {value}", operand.span, str(value), also=also)
    return Tensor(expand(value, wanted.shape, flexible), flexible)
