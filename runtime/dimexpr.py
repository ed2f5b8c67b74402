"""Dimension expressions: sizes of run-time shapes as plain data, e.g. `784`, `"B"`, `["*", 2, "B"]`.

    expr = int | symbol | [operator, expr, ...]
    operators with two or more operands: + * max min and or;  with two: - // % == != < <= > >=;  with one: not

Arithmetic is exact (Python integers); a truth value counts as 0 or 1. Nothing is ever passed to `eval`.
In memory lists are tuples, so that expressions hash and compare.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from graphc.runtime.errors import ArtifactError, InputShapeError

Expr: TypeAlias = int | str | tuple[Any, ...]

MAX_DEPTH = 64  # nesting of an expression read from a file
MAX_VALUE = 1 << 62  # any size; keeps every evaluated size inside an i64

_MANY: dict[str, Callable[[list[int]], int]] = {
    "+": sum,
    "*": math.prod,
    "max": max,
    "min": min,
    "and": lambda xs: int(all(xs)),
    "or": lambda xs: int(any(xs)),
}
_TWO: dict[str, Callable[[int, int], int]] = {
    "-": lambda a, b: a - b,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
    "==": lambda a, b: int(a == b),
    "!=": lambda a, b: int(a != b),
    "<": lambda a, b: int(a < b),
    "<=": lambda a, b: int(a <= b),
    ">": lambda a, b: int(a > b),
    ">=": lambda a, b: int(a >= b),
}


def freeze(expr: Any, where: str = "expression", depth: int = 0) -> Expr:
    """Check the form of `expr`, turn lists into tuples; `ArtifactError` naming `where` if it is not an expression."""
    if isinstance(expr, bool) or depth > MAX_DEPTH:
        raise ArtifactError(f"{where}: not a dimension expression")
    if isinstance(expr, int):
        if abs(expr) > MAX_VALUE:
            raise ArtifactError(f"{where}: {expr} is too large for a size")
        return expr
    if isinstance(expr, str):
        return expr
    if isinstance(expr, list | tuple) and expr and isinstance(expr[0], str):
        op, count = expr[0], len(expr) - 1
        if (op in _MANY and count >= 1) or (op in _TWO and count == 2) or (op == "not" and count == 1):
            return (op, *(freeze(one, where, depth + 1) for one in expr[1:]))
    raise ArtifactError(f"{where}: not a dimension expression")


def symbols(expr: Expr) -> tuple[str, ...]:
    """The symbols of `expr`, each once, in order of appearance."""
    if isinstance(expr, tuple):
        return tuple(dict.fromkeys(name for one in expr[1:] for name in symbols(one)))
    return (expr,) if isinstance(expr, str) else ()


def evaluate(expr: Expr, dims: Mapping[str, int]) -> int:
    """The value of `expr` for the sizes `dims`. `InputShapeError` for a division by zero or one beyond `MAX_VALUE`."""
    if isinstance(expr, int):
        return expr
    if isinstance(expr, str):
        return dims[expr]
    op, args = expr[0], [evaluate(one, dims) for one in expr[1:]]
    if op in ("//", "%") and args[1] == 0:
        raise InputShapeError(f"{show(expr)} divides by zero")
    if op == "not":
        return int(not args[0])
    value = _MANY[op](args) if op in _MANY else _TWO[op](args[0], args[1])
    if abs(value) > MAX_VALUE:
        raise InputShapeError(f"{show(expr)} = {value} is too large for a size")
    return value


def linear(expr: Expr, unknown: str, known: Mapping[str, int]) -> tuple[int, int] | None:
    """`(a, c)` with expr = a * unknown + c when `expr` is linear in `unknown` and all else is known, or None."""
    if isinstance(expr, int):
        return 0, expr
    if isinstance(expr, str):
        return (1, 0) if expr == unknown else (0, known[expr]) if expr in known else None
    parts = [linear(one, unknown, known) for one in expr[1:]]
    terms = [part for part in parts if part is not None]
    if len(terms) < len(parts):
        return None
    op = expr[0]
    if op == "+":
        return sum(a for a, _ in terms), sum(c for _, c in terms)
    if op == "-":
        return terms[0][0] - terms[1][0], terms[0][1] - terms[1][1]
    if op == "*" and sum(a != 0 for a, _ in terms) <= 1:
        product = math.prod(c for a, c in terms if a == 0)
        slope, offset = next(((a, c) for a, c in terms if a != 0), (0, 1))
        return slope * product, offset * product
    if any(a for a, _ in terms):
        return None
    return 0, evaluate((op, *(c for _, c in terms)), {})


def show(expr: Expr) -> str:
    """For messages: `2 * B + 1`."""
    if not isinstance(expr, tuple):
        return str(expr)
    if expr[0] in ("max", "min"):
        return f"{expr[0]}({', '.join(show(one) for one in expr[1:])})"
    if expr[0] == "not":
        return f"not {show(expr[1])}"
    tight = ("*", "max", "min")
    texts = [f"({show(one)})" if isinstance(one, tuple) and one[0] not in tight else show(one) for one in expr[1:]]
    return f" {expr[0]} ".join(texts)


def show_shape(shape: tuple[Expr, ...]) -> str:
    """`[B, 784]`."""
    return f"[{', '.join(show(one) for one in shape)}]"
