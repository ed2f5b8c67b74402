"""Integer arithmetic on numbers known while code is written, so that address arithmetic leaves no instructions."""

from __future__ import annotations

import operator
from collections.abc import Callable

RIGHT_NEUTRAL = {"add": 0, "sub": 0, "mul": 1, "or": 0, "xor": 0, "shl": 0, "ashr": 0, "lshr": 0, "udiv": 1, "sdiv": 1}
LEFT_NEUTRAL = {"add": 0, "mul": 1, "or": 0, "xor": 0}


def fold(op: str, left: int | None, right: int | None) -> int | None:
    """The result of the instruction `op`; None if it needs a number that is not known, or divides by zero.

    A product with zero is known whatever the other side is. Results are not wrapped: constants are when written.
    """
    if op in ("mul", "and") and 0 in (left, right):
        return 0
    if left is None or right is None or op not in _RULES or (right == 0 and op in _DIVISIONS):
        return None
    if left < 0 and op in _UNSIGNED:
        return None
    return _RULES[op](left, right)


def _quotient(a: int, b: int) -> int:
    """Rounded towards zero."""
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


_DIVISIONS = ("udiv", "sdiv", "urem", "srem")
_UNSIGNED = ("udiv", "urem", "lshr")  # their result depends on the width for negative numbers

_RULES: dict[str, Callable[[int, int], int]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "and": operator.and_,
    "or": operator.or_,
    "xor": operator.xor,
    "shl": operator.lshift,
    "ashr": operator.rshift,
    "lshr": operator.rshift,
    "udiv": operator.floordiv,
    "urem": operator.mod,
    "sdiv": _quotient,
    "srem": lambda a, b: a - _quotient(a, b) * b,
}
