"""Arithmetic on literals and dimensions at compile time, in exact integers and f64."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from graphc.frontend import syntax as s
from graphc.frontend.arithmetic import COMPARISONS
from graphc.frontend.scope import Shared
from graphc.frontend.values import Literal, Size, Value
from graphc.ir.dims import divide_exactly, floordiv
from graphc.ir.types import DType

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
LARGEST = 1 << 63


def fold(shared: Shared, link: s.Binary, left: Value, right: Value, real: DType) -> Value | None:
    """The value of an operator on two literals or sizes; None where it must be computed at run time."""
    sizes = isinstance(left, Size) or isinstance(right, Size)
    a, b = _static(left), _static(right)
    if sizes and not isinstance(a, float) and not isinstance(b, float) and not isinstance(a, bool):
        symbolic = _fold_sizes(shared, link, left, right)
        if symbolic is not None:
            return symbolic
    if a is None or b is None:
        return None
    if link.operator in COMPARISONS:
        return Literal(_COMPARE[link.operator](a, b))
    if link.operator in ("and", "or"):
        if not isinstance(a, bool) or not isinstance(b, bool):
            return shared.error("GC0203", f"`{link.operator}` joins truth values, not numbers", link.operator_span)
        return Literal(a and b if link.operator == "and" else a or b)
    if isinstance(a, bool) or isinstance(b, bool):
        return shared.error("GC0203", f"`{link.operator}` joins numbers, not truth values", link.operator_span)
    return _arithmetic(shared, link, a, b)


def _static(value: Value) -> int | float | bool | None:
    if isinstance(value, Literal):
        return value.value
    if isinstance(value, Size) and isinstance(value.dim, int):
        return value.dim
    return None


def _fold_sizes(shared: Shared, link: s.Binary, left: Value, right: Value) -> Value | None:
    a = left.dim if isinstance(left, Size) else left.value if isinstance(left, Literal) else None
    b = right.dim if isinstance(right, Size) else right.value if isinstance(right, Literal) else None
    if a is None or b is None or isinstance(a, float | bool) or isinstance(b, float | bool):
        return None
    match link.operator:
        case "+":
            return Size(a + b)
        case "-":
            return Size(a - b)
        case "*":
            return Size(a * b)
        case "/" if b != 0:
            exact = divide_exactly(a, b)
            return None if exact is None else Size(exact)
        case "//" if b != 0:
            return Size(floordiv(a, b))
        case "%" if b != 0:
            return Size(a - floordiv(a, b) * b)
        case "==" if a == b:
            return Literal(True)
    return None


def _arithmetic(shared: Shared, link: s.Binary, a: int | float, b: int | float) -> Value:
    try:
        result = _compute(link.operator, a, b)
    except ZeroDivisionError:
        return shared.error("GC0207", f"`{link.operator}` by zero", link.operator_span, f"{a} {link.operator} {b}")
    except (OverflowError, ValueError):
        return shared.error("GC0207", f"{a} {link.operator} {b} has no f64 value", link.operator_span)
    if isinstance(result, int) and abs(result) >= LARGEST:
        return shared.error("GC0207", "this constant is larger than any i64", link.span)
    return Literal(result)


def _compute(sign: str, a: int | float, b: int | float) -> int | float:
    match sign:
        case "+":
            return a + b
        case "-":
            return a - b
        case "*":
            return a * b
        case "/":
            return a / b
        case "//":
            return a // b
        case "%":
            return a % b
    if isinstance(a, int) and isinstance(b, int) and b >= 0:
        if abs(a) > 1 and b > 64:
            return LARGEST
        return int(a**b)
    return math.pow(a, b)


def fold_unary(sign: str, value: Value) -> Value | None:
    """`-` or `not` of a literal or size; None if it is no literal."""
    if isinstance(value, Literal):
        if sign == "not" and isinstance(value.value, bool):
            return Literal(not value.value)
        if sign == "-" and not isinstance(value.value, bool):
            return Literal(-value.value)
    if isinstance(value, Size) and sign == "-":
        return Size(-value.dim)
    return None


def fold_function(name: str, value: Value) -> Literal | None:
    """An elementwise function of a literal or a known size, such as sqrt(K); None if it is not finite or not known."""
    number = _static(value)
    function = _FUNCTIONS.get(name)
    if number is None or function is None or isinstance(number, bool):
        return None
    try:
        result = function(number)
    except (ValueError, OverflowError, ZeroDivisionError):
        return None
    return Literal(result) if isinstance(result, int) or math.isfinite(result) else None


_FUNCTIONS: dict[str, Callable[[Any], int | float]] = {
    "exp": math.exp,
    "log": math.log,
    "log1p": math.log1p,
    "expm1": math.expm1,
    "sqrt": math.sqrt,
    "sin": math.sin,
    "cos": math.cos,
    "tanh": math.tanh,
    "erf": math.erf,
    "abs": abs,
    "rsqrt": lambda x: 1.0 / math.sqrt(x),
}
