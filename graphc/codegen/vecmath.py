"""Elementary functions as vector code: `call(f, name, *args)` appends one to a function, for any number of lanes.

No library is called and no fast-math flag set. The meaning is numpy's (NaN propagates, floor division follows the sign
of the divisor, integer division by zero gives 0); the accuracy is measured in docs/numerics.md. Constants are those of
vecmath_tables.py, algorithms are named where they are used.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from graphc.codegen import vecmath_erf, vecmath_exp, vecmath_log, vecmath_trig
from graphc.codegen.llvm import Function, Value, element, is_float
from graphc.codegen.vecmath_shared import BINARY32, Lanes, power_of_two, two_product


def call(f: Function, name: str, *args: Value) -> Value:
    """The function `name` of `FUNCTIONS` of values of one type; of isnan and isinf an i1 in as many lanes.

    KeyError for an unknown name. Integer operands are signed.
    """
    return FUNCTIONS[name](*(Lanes(f, arg) for arg in args)).value


def sign(x: Lanes) -> Lanes:
    """-1, 0 or 1; NaN stays."""
    if not is_float(x.value.type):
        return x.gt(0).choose(x.number(1), x >> (int(element(x.value.type)[1:]) - 1))
    return x.gt(0).choose(1.0, x.lt(0).choose(-1.0, x.eq(0).choose(0.0, x)))


def absolute(x: Lanes) -> Lanes:
    return x.abs() if is_float(x.value.type) else x.lt(0).choose(-x, x)


def relu(x: Lanes) -> Lanes:
    """max(x, 0); NaN stays."""
    return x.lt(0).choose(x.number(0), x)


def minimum(x: Lanes, y: Lanes) -> Lanes:
    """The smaller; NaN if either is."""
    return x.of(x.function.minimum(x.value, y.value)) if is_float(x.value.type) else x.lt(y).choose(x, y)


def maximum(x: Lanes, y: Lanes) -> Lanes:
    """The larger; NaN if either is."""
    return x.of(x.function.maximum(x.value, y.value)) if is_float(x.value.type) else x.gt(y).choose(x, y)


def modulo(x: Lanes, y: Lanes) -> Lanes:
    """The remainder with the sign of the divisor; floats by zero NaN, integers by zero 0."""
    if not is_float(x.value.type):
        return _divide_integers(x, y)[1]
    rest, down = _divide_floats(x, y)
    moved = down.choose(rest + y, rest)
    return moved.eq(0).choose(moved.copysign(y), moved)


def floor_divide(x: Lanes, y: Lanes) -> Lanes:
    """x / y rounded down, in numpy's way: (x - x mod y) / y, whole but for rounding; x / y if y is 0."""
    if not is_float(x.value.type):
        return _divide_integers(x, y)[0]
    rest, down = _divide_floats(x, y)
    quotient = (x - rest) / y
    quotient = down.choose(quotient - 1, quotient)
    whole = quotient.floor()
    whole = (quotient - whole).gt(0.5).choose(whole + 1, whole)
    ratio = x / y
    return y.eq(0).choose(ratio, quotient.eq(0).choose((ratio * 0).copysign(ratio), whole))


def _divide_floats(x: Lanes, y: Lanes) -> tuple[Lanes, Lanes]:
    """(C's fmod, where the quotient rounded down is one less than the truncated one)."""
    rest = _remainder(x.abs(), y.abs()).copysign(x)
    rest = (x.abs().eq(math.inf) | y.eq(0)).choose(math.nan, rest)
    return rest, (rest.lt(0) ^ y.lt(0)) & rest.ne(0)


def _remainder(x: Lanes, y: Lanes) -> Lanes:
    """x - y trunc(x / y), exactly, of x >= 0 and y > 0.

    Up to a quotient of 2^step one division tells it, off by at most 1. Further ones, which are rare, divide by y times
    a power of two, as long division does, until every exponent has been passed.
    """
    fmt, f = x.format, x.function
    step = 10 if fmt is BINARY32 else 24
    rest = _remainder_step(x, y, x / y)
    far = (x / y).ge(2.0**step) & x.lt(math.inf) & y.gt(0)
    with f.when(f.any(far.value), [rest.value], cold=True) as branch:
        count = (2 * fmt.bias + fmt.mantissa) // step + 2
        with f.loop(0, count, carried=[x.value]) as loop:
            left = x.of(loop.values[0])
            loop.next = [_long_division_step(left, y, step).value]
        final = _remainder_step(x.of(loop.results[0]), y, x.of(loop.results[0]) / y)
        branch.next = [far.choose(final, rest).value]
    return x.lt(y).choose(x, x.of(branch.results[0]))  # y may be infinite


def _remainder_step(x: Lanes, y: Lanes, quotient: Lanes) -> Lanes:
    """x - y trunc(quotient), the quotient being x / y rounded, so possibly one too large."""
    whole = quotient.truncate()
    high, low = two_product(whole, y)
    rest = (x - high) - low
    return rest.lt(0).choose(rest + y, rest)


def _long_division_step(x: Lanes, y: Lanes, step: int) -> Lanes:
    """x less a multiple of y 2^k, where 2^k is about x / y / 2^step; x itself if that is less than 1."""
    fmt = x.format
    exponents = [v.bits().shift_right(fmt.mantissa) for v in (x, y)]
    distance = exponents[0] - exponents[1] - step
    lift = distance.gt(0).choose(distance, distance & 0)
    magic = x.number(1.5 * 2.0**fmt.mantissa)
    power = (magic.bits() + lift).as_float() - magic
    half = (power * 0.5).floor()
    divisor = y * power_of_two(half) * power_of_two(power - half)
    return lift.gt(0).choose(_remainder_step(x, divisor, x / divisor), x)


def _divide_integers(x: Lanes, y: Lanes) -> tuple[Lanes, Lanes]:
    """(quotient rounded down, remainder); both 0 for y = 0, and the lowest number by -1 is itself, as in numpy."""
    bits = int(element(x.value.type)[1:])
    zero, lowest = y.eq(0), x.eq(-1 << (bits - 1)) & y.eq(-1)
    divisor = (zero | lowest).choose(1, y)
    quotient = _truncated_quotient(x, divisor, bits)
    remainder = x - quotient * divisor
    down = remainder.ne(0) & (remainder ^ divisor).lt(0)
    quotient, remainder = down.choose(quotient - 1, quotient), down.choose(remainder + divisor, remainder)
    return zero.choose(0, quotient), zero.choose(0, remainder)


def _truncated_quotient(x: Lanes, y: Lanes, bits: int) -> Lanes:
    """Up to 32 bits by the division of doubles, which is exact after truncation and a vector instruction."""
    f = x.function
    if bits > 32:
        return x.of(f.assign(x.value.type, f"sdiv {x.value}, {y.value.text}"))
    quotient = f.fdiv(f.sitofp(x.value, "double"), f.sitofp(y.value, "double"))
    return x.of(f.fptosi(quotient, element(x.value.type)))


def _nan(x: Lanes) -> Lanes:
    return x.unordered(x)


FUNCTIONS: dict[str, Callable[..., Lanes]] = {
    "exp": vecmath_exp.exp,
    "expm1": vecmath_exp.expm1,
    "tanh": vecmath_exp.tanh,
    "sigmoid": vecmath_exp.sigmoid,
    "log": vecmath_log.log,
    "log1p": vecmath_log.log1p,
    "pow": vecmath_log.pow,
    "erf": vecmath_erf.erf,
    "sin": vecmath_trig.sin,
    "cos": vecmath_trig.cos,
    "sqrt": Lanes.sqrt,
    "rsqrt": lambda x: 1 / x.sqrt(),
    "floor": Lanes.floor,
    "ceil": Lanes.ceil,
    "round": Lanes.round,
    "neg": Lanes.__neg__,
    "abs": absolute,
    "sign": sign,
    "relu": relu,
    "min": minimum,
    "max": maximum,
    "floordiv": floor_divide,
    "mod": modulo,
    "isnan": _nan,
    "isinf": lambda x: x.abs().eq(math.inf),
}
