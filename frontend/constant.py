"""Module constants: `const k: f32[3, 3] = [[...], ...]`, numbers and nested lists with the element type applied."""

from __future__ import annotations

import math

import numpy as np

from graphc.frontend import syntax as s
from graphc.frontend.arithmetic import Operand, as_type
from graphc.frontend.dimension import declared
from graphc.frontend.resolve import ModuleScope
from graphc.frontend.scope import Frame, Shared
from graphc.frontend.values import POISON, Literal, Many, Poison, Tensor, Value, describe, tensor
from graphc.ir.node import ConstArray, constant
from graphc.ir.types import TensorType
from graphc.source import Span


def constant_value(shared: Shared, declaration: s.Constant, module: ModuleScope) -> Value:
    """The tensor of a constant. It sees the module's fixed dimensions and no other names."""
    from graphc.frontend.build import module_dims
    from graphc.frontend.expression import evaluate

    frame = Frame(module, "const", dims=module_dims(shared, module))
    made = declared(shared, frame, declaration.type)
    value = evaluate(shared, frame, declaration.value)
    if made is None or isinstance(value, Poison):
        return POISON
    if isinstance(value, Many):
        return array(shared, value, made.type, declaration.value, declaration.type.span)
    operand = Operand(value, declaration.value.span)
    return as_type(shared, operand, made.type, made.flexible, declaration.type.span, f"`{declaration.name.name}`")


def array(shared: Shared, value: Many, wanted: TensorType, node: s.Expression, declared_at: Span) -> Tensor | Poison:
    """Nested lists of numbers as a constant of a type."""
    numbers: list[int | float | bool] = []
    shape = _flatten(shared, value, node, wanted, numbers, 0)
    if shape is None:
        return POISON
    if shape != wanted.shape:
        also = [(declared_at, f"declared {wanted}")]
        return shared.error("GC0204", f"this list is {wanted.dtype}{list(shape)}, not {wanted}", node.span, also=also)
    if all(not _fits(number, wanted) for number in numbers[:1]):
        return shared.error("GC0203", f"{numbers[0]} is no {wanted.dtype}", node.span)
    wrong = next((number for number in numbers if not _fits(number, wanted)), None)
    if wrong is not None:
        return shared.error("GC0203", f"{wrong} is no {wanted.dtype}", node.span)
    data = np.array(numbers, wanted.dtype.numpy).astype(wanted.dtype.numpy.newbyteorder("<")).tobytes()
    return tensor(constant(ConstArray(wanted.dtype, shape, data), wanted))


def _flatten(
    shared: Shared, value: Value, node: s.Expression, wanted: TensorType, into: list[int | float | bool], level: int
) -> tuple[int, ...] | None:
    """Appends the numbers of a nested list; its shape, or None after an error. Nesting is bounded by the parser."""
    if isinstance(value, Literal):
        into.append(value.value)
        return ()
    if not isinstance(value, Many) or not isinstance(node, s.Sequence):
        if not isinstance(value, Poison):
            shared.error("GC0206", f"a constant is made of numbers, found {describe(value)}", node.span)
        return None
    shapes = [
        _flatten(shared, item, child, wanted, into, level + 1)
        for item, child in zip(value.items, node.items, strict=True)
    ]
    known = [shape for shape in shapes if shape is not None]
    if len(known) < len(shapes):
        return None
    for shape, child in zip(known, node.items, strict=True):
        if shape != known[0]:
            shared.error("GC0204", "the rows of a list have different lengths", child.span)
            return None
    return (len(known), *(known[0] if known else ()))


def _fits(number: int | float | bool, wanted: TensorType) -> bool:
    if isinstance(number, bool) or wanted.dtype.kind == "b":
        return isinstance(number, bool) and wanted.dtype.kind == "b"
    if wanted.dtype.is_float:
        return not math.isfinite(number) or wanted.dtype.size == 8 or abs(number) <= 3.4028235677973366e38
    low, high = wanted.dtype.range()
    return isinstance(number, int) and low <= number <= high
