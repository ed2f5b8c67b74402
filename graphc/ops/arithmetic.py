"""Arithmetic of numbers: integers wrap around, floats follow IEEE 754."""

from __future__ import annotations

import numpy as np

from graphc.ir.node import Node, make
from graphc.ir.types import TensorType
from graphc.ops.build import compare, is_constant, splat, where, zeros
from graphc.ops.elementwise import Binary, Unary
from graphc.ops.op import Array, Cotangents, register
from graphc.ops.rules import check_kind


@register
class Neg(Unary):
    """-x; integers wrap around."""

    name = "neg"
    accepts = "fiu"

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        return (-dy,)

    def evaluate(self, x: Array) -> Array:
        return np.negative(x)


@register
class Abs(Unary):
    """|x|; the derivative at 0 is 0.  The least signed integer stays what it is."""

    name = "abs"
    accepts = "fiu"
    away_from = (0.0,)

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        return (dy * make("sign", *node.inputs),)

    def evaluate(self, x: Array) -> Array:
        return np.abs(x)


@register
class Sign(Unary):
    """-1, 0 or 1 by the sign of x, NaN for NaN; the derivative is 0 everywhere."""

    name = "sign"
    cost = 2
    accepts = "fiu"
    away_from = (0.0,)

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        return (None,)

    def evaluate(self, x: Array) -> Array:
        return np.sign(x)


@register
class Add(Binary):
    """a + b."""

    name = "add"

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        return dy, dy

    def evaluate(self, a: Array, b: Array) -> Array:
        return np.add(a, b)


@register
class Sub(Binary):
    """a - b."""

    name = "sub"

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        return dy, -dy

    def evaluate(self, a: Array, b: Array) -> Array:
        return np.subtract(a, b)


@register
class Mul(Binary):
    """a * b."""

    name = "mul"

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        a, b = node.inputs
        return dy * b, dy * a

    def evaluate(self, a: Array, b: Array) -> Array:
        return np.multiply(a, b)


@register
class Div(Binary):
    """a / b of floats; integers are divided by `//`."""

    name = "div"
    cost = 4
    accepts = "f"
    domain = (0.4, 2.0)

    def infer(self, a: TensorType, b: TensorType) -> TensorType:
        for position, x in enumerate((a, b)):
            check_kind("div", x, "f", position, "integers are divided by //, or cast to a float first")
        return super().infer(a, b)

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        da = dy / node.inputs[1]
        return da, -(da * node)

    def evaluate(self, a: Array, b: Array) -> Array:
        return np.divide(a, b)


@register
class FloorDiv(Binary):
    """floor(a / b), rounded towards minus infinity as in Python; an integer divided by 0 is 0.

    The derivative is 0 wherever it exists.
    """

    name = "floordiv"
    cost = 8
    domain = (0.6, 1.1)
    distinct = True

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        return None, None

    def evaluate(self, a: Array, b: Array) -> Array:
        return np.floor_divide(a, b)


@register
class Mod(Binary):
    """a - b * floor(a / b): the remainder has the sign of b, as in Python; an integer modulo 0 is 0."""

    name = "mod"
    cost = 8
    domain = (0.6, 1.1)
    distinct = True

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        return dy, -(dy * make("floordiv", *node.inputs))

    def evaluate(self, a: Array, b: Array) -> Array:
        return np.mod(a, b)


@register
class Pow(Binary):
    """a to the power b; x ** 0 is 1 also for x = 0, and its derivative by x is 0 there.

    The derivative by b is 0 at a = 0 and NaN for negative a, as the logarithm of a is not real.
    Integers wrap around; with a negative exponent only 1 and -1 have a power, other integers give 0.
    """

    name = "pow"
    cost = 30
    domain = (0.4, 2.0)

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        a, b = node.inputs
        # log(1) stands in for log(0): a finite 0 where the power itself is 0.
        db = None if is_constant(b) else dy * node * make("log", where(compare("eq", a, 0.0), 1.0, a))
        return _by_base(a, b, dy), db

    def evaluate(self, a: Array, b: Array) -> Array:
        return np.power(a, b) if a.dtype.kind == "f" else _integer_power(a, b)


def _integer_power(a: Array, b: Array) -> Array:
    """By squaring, modulo 2 to the number of bits."""
    odd = b & 1 != 0
    inverse = np.where((a == 1) | ((a == -1) & ~odd), 1, np.where((a == -1) & odd, -1, 0))
    result, square, rest = np.ones_like(a), a, np.where(b < 0, 0, b)
    while np.any(rest > 0):
        result = np.where(rest & 1 != 0, result * square, result)
        square, rest = square * square, rest >> 1
    return np.where(b < 0, inverse, result).astype(a.dtype)


def _by_base(a: Node, b: Node, dy: Node) -> Node:
    """dy * b * a ** (b - 1), without the 0 * inf that b = 0 makes at a = 0."""
    exponent = splat(b)
    if exponent is None:
        less = where(compare("eq", b, 0.0), 1.0, b) - 1.0
        return dy * b * make("pow", a, less)
    if exponent == 0:
        return zeros(a.type)
    if exponent == 1:
        return dy
    return dy * b * (a if exponent == 2 else make("pow", a, b - 1.0))


class Extremum(Binary):
    """What max and min share: at a tie the derivative goes to the first operand."""

    distinct = True
    wins = ""

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        first = make(self.wins, *node.inputs)
        return where(first, dy, 0.0), where(first, 0.0, dy)


@register
class Max(Extremum):
    """The greater of a and b; NaN if one of them is.  At a tie the derivative goes to a."""

    name, wins = "max", "ge"

    def evaluate(self, a: Array, b: Array) -> Array:
        return np.maximum(a, b)


@register
class Min(Extremum):
    """The lesser of a and b; NaN if one of them is.  At a tie the derivative goes to a."""

    name, wins = "min", "le"

    def evaluate(self, a: Array, b: Array) -> Array:
        return np.minimum(a, b)
