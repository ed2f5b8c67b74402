"""What rules ask of constants: one value at every index, signs of zeros told apart."""

from __future__ import annotations

import math
from typing import Any

from graphc.ir.node import ConstArray, Node, make
from graphc.ir.types import TensorType

Number = float | int | bool


def splat_value(node: Node) -> Number | None:
    """The value that a constant has at every index; None for anything else."""
    if node.op != "const":
        return None
    value = node.attr("value")
    return None if isinstance(value, ConstArray) else value


def is_splat(node: Node, value: Number) -> bool:
    """Whether the node is that number at every index; 0 matches neither 0.0 nor -0.0 of floats: see the two below."""
    found = splat_value(node)
    return found is not None and found == value and (value != 0 or not node.dtype.is_float)


def is_positive_zero(node: Node) -> bool:
    """Float +0.0, or integer 0."""
    found = splat_value(node)
    return found is not None and found == 0 and math.copysign(1.0, found) > 0 and node.dtype.kind != "b"


def is_negative_zero(node: Node) -> bool:
    """Float -0.0, or integer 0: what added to anything changes nothing."""
    found = splat_value(node)
    if found is None or found != 0 or node.dtype.kind == "b":
        return False
    return not node.dtype.is_float or math.copysign(1.0, found) < 0


def splat(value: Any, type: TensorType) -> Node:
    """The constant with this value, already of the type's kind, at every index."""
    return make("const", value=value, dtype=type.dtype, shape=type.shape)


def reciprocal_of_power_of_two(node: Node) -> float | None:
    """1 / c for a constant c = ±2^k such that both are normal numbers of the dtype, hence exact; else None."""
    value = splat_value(node)
    if not isinstance(value, float) or not math.isfinite(value) or value == 0:
        return None
    mantissa, exponent = math.frexp(value)  # value = ±0.5 * 2^exponent for a power of two
    limit = 126 if node.dtype.size == 4 else 1022
    return 1.0 / value if abs(mantissa) == 0.5 and abs(exponent - 1) <= limit else None
