"""Exact equations of elementwise arithmetic: they hold for NaN, infinities and signed zeros, bit for bit.

Rules marked `fast_math` hold for real numbers only and are off by default.  Constants stand on the right.
"""

from __future__ import annotations

from graphc.ir.node import Node, make
from graphc.ir.rewrite import Rule, rule
from graphc.passes.match import (
    is_negative_zero,
    is_positive_zero,
    is_splat,
    reciprocal_of_power_of_two,
    splat,
    splat_value,
)

MIRRORED = {"lt": "gt", "gt": "lt", "le": "ge", "ge": "le"}
ROUNDINGS = ("floor", "ceil", "round")


@rule("add", "mul", "eq", "ne", "and", "or")
def constant_right(node: Node) -> Node | None:
    """c + x -> x + c, likewise * == != and or"""
    a, b = node.inputs
    return make(node.op, b, a) if a.op == "const" and b.op != "const" else None


@rule(*MIRRORED)
def constant_right_in_order(node: Node) -> Node | None:
    """c < x -> x > c, likewise > <= >="""
    a, b = node.inputs
    return make(MIRRORED[node.op], b, a) if a.op == "const" and b.op != "const" else None


@rule("mul", "div")
def mul_one(node: Node) -> Node | None:
    """x * 1 -> x, x / 1 -> x"""
    x, y = node.inputs
    return x if is_splat(y, 1) else None


@rule("mul", "div")
def mul_minus_one(node: Node) -> Node | None:
    """x * -1 -> -x, x / -1 -> -x"""
    x, y = node.inputs
    return make("neg", x) if is_splat(y, -1) else None


@rule("floordiv")
def floordiv_one(node: Node) -> Node | None:
    """x // 1 -> x, for integers"""
    x, y = node.inputs
    return x if is_splat(y, 1) and x.dtype.is_integer else None


@rule("add")
def add_zero(node: Node) -> Node | None:
    """x + -0.0 -> x, and x + 0 -> x for integers"""
    x, y = node.inputs
    return x if is_negative_zero(y) else None


@rule("sub")
def sub_zero(node: Node) -> Node | None:
    """x - 0 -> x"""
    x, y = node.inputs
    return x if is_positive_zero(y) else None


@rule("sub")
def zero_sub(node: Node) -> Node | None:
    """-0.0 - x -> -x, and 0 - x -> -x for integers"""
    x, y = node.inputs
    return make("neg", y) if is_negative_zero(x) else None


@rule("neg")
def neg_neg(node: Node) -> Node | None:
    """-(-x) -> x"""
    (x,) = node.inputs
    return x.inputs[0] if x.op == "neg" else None


@rule("add")
def add_neg(node: Node) -> Node | None:
    """a + -b -> a - b, -a + b -> b - a"""
    a, b = node.inputs
    if b.op == "neg":
        return make("sub", a, b.inputs[0])
    return make("sub", b, a.inputs[0]) if a.op == "neg" else None


@rule("sub")
def sub_neg(node: Node) -> Node | None:
    """a - -b -> a + b"""
    a, b = node.inputs
    return make("add", a, b.inputs[0]) if b.op == "neg" else None


@rule("mul", "div")
def mul_neg_neg(node: Node) -> Node | None:
    """-a * -b -> a * b, -a / -b -> a / b"""
    a, b = node.inputs
    return make(node.op, a.inputs[0], b.inputs[0]) if a.op == b.op == "neg" else None


@rule("mul", "div")
def mul_neg_constant(node: Node) -> Node | None:
    """-x * c -> x * -c, -x / c -> x / -c, for floats"""
    x, y = node.inputs
    value = splat_value(y)
    if x.op != "neg" or not isinstance(value, float):
        return None
    return make(node.op, x.inputs[0], splat(-value, y.type))


@rule("neg")
def neg_mul_constant(node: Node) -> Node | None:
    """-(x * c) -> x * -c, for floats"""
    (x,) = node.inputs
    value = splat_value(x.inputs[1]) if x.op == "mul" else None
    return make("mul", x.inputs[0], splat(-value, x.type)) if isinstance(value, float) else None


@rule("div")
def div_power_of_two(node: Node) -> Node | None:
    """x / 2^k -> x * 2^-k"""
    x, y = node.inputs
    reciprocal = reciprocal_of_power_of_two(y)
    return None if reciprocal is None else make("mul", x, splat(reciprocal, y.type))


@rule("pow")
def pow_small(node: Node) -> Node | None:
    """x ** 2 -> x * x, x ** 1 -> x, x ** 0 -> 1"""
    x, y = node.inputs
    exponent = splat_value(y)
    if exponent == 0:
        return splat(1.0 if x.dtype.is_float else 1, node.type)
    return x if exponent == 1 else make("mul", x, x) if exponent == 2 else None


@rule("mul")
def mul_zero(node: Node) -> Node | None:
    """x * 0 -> 0, for integers"""
    x, y = node.inputs
    return y if x.dtype.is_integer and is_splat(y, 0) else None


@rule("sub")
def sub_self(node: Node) -> Node | None:
    """x - x -> 0, for integers"""
    a, b = node.inputs
    return splat(0, node.type) if a is b and a.dtype.is_integer else None


@rule("mod")
def mod_one(node: Node) -> Node | None:
    """x % 1 -> 0, for integers"""
    x, y = node.inputs
    return splat(0, node.type) if x.dtype.is_integer and is_splat(y, 1) else None


@rule("max", "min")
def extremum_of_one(node: Node) -> Node | None:
    """max(x, x) -> x, max(x, -inf) -> x; likewise min and inf"""
    x, y = node.inputs
    neutral = float("-inf") if node.op == "max" else float("inf")
    if x is y or (y.dtype.is_float and is_splat(y, neutral)):
        return x
    return y if x.dtype.is_float and is_splat(x, neutral) else None


@rule("relu", "abs", "sign", *ROUNDINGS)
def idempotent(node: Node) -> Node | None:
    """f(f(x)) -> f(x), for relu, abs, sign; floor(round(x)) -> round(x) and the like"""
    (x,) = node.inputs
    if node.op in ROUNDINGS:
        return x if x.op in ROUNDINGS else None
    return x if x.op == node.op else None


@rule("abs")
def abs_neg(node: Node) -> Node | None:
    """|-x| -> |x|"""
    (x,) = node.inputs
    return make("abs", x.inputs[0]) if x.op == "neg" else None


@rule("mul", fast_math=True)
def mul_float_zero(node: Node) -> Node | None:
    """x * 0 -> 0"""
    return node.inputs[1] if splat_value(node.inputs[1]) == 0 else None


@rule("add", fast_math=True)
def add_float_zero(node: Node) -> Node | None:
    """x + 0 -> x"""
    return node.inputs[0] if splat_value(node.inputs[1]) == 0 else None


@rule("sub", fast_math=True)
def sub_float_self(node: Node) -> Node | None:
    """x - x -> 0"""
    a, b = node.inputs
    return splat(0.0, node.type) if a is b and a.dtype.is_float else None


@rule("add", "mul", fast_math=True)
def gather_constants(node: Node) -> Node | None:
    """(x * c) * d -> x * (c * d), (x + c) + d -> x + (c + d)"""
    inner, d = node.inputs
    if inner.op != node.op or d.op != "const" or inner.inputs[1].op != "const":
        return None
    return make(node.op, inner.inputs[0], make(node.op, inner.inputs[1], d))


@rule("div", fast_math=True)
def div_constant(node: Node) -> Node | None:
    """x / c -> x * (1 / c)"""
    x, y = node.inputs
    value = splat_value(y)
    return make("mul", x, splat(1.0 / value, y.type)) if isinstance(value, float) and abs(value) > 1e-30 else None


@rule("pow", fast_math=True)
def pow_half(node: Node) -> Node | None:
    """x ** 0.5 -> sqrt(x)"""
    return make("sqrt", node.inputs[0]) if is_splat(node.inputs[1], 0.5) else None


ARITHMETIC_RULES: tuple[Rule, ...] = (
    constant_right, constant_right_in_order, mul_one, mul_minus_one, floordiv_one, add_zero, sub_zero, zero_sub,
    neg_neg, add_neg, sub_neg, mul_neg_neg, mul_neg_constant, neg_mul_constant, div_power_of_two, pow_small,
    mul_zero, sub_self, mod_one, extremum_of_one, idempotent, abs_neg, mul_float_zero, add_float_zero,
    sub_float_self, gather_constants, div_constant, pow_half,
)  # fmt: skip
