"""log, log1p, and pow of floats. The argument is 2**e (1 + f) with 1 + f between sqrt(1/2) and sqrt(2)."""

from __future__ import annotations

import math
import struct

from graphc.codegen.vecmath_exp import mantissa, table
from graphc.codegen.vecmath_exp import reduce as reduce_exp
from graphc.codegen.vecmath_shared import (
    BINARY32,
    Format,
    Lanes,
    Pair,
    fast_two_sum,
    pair_product,
    pair_sum,
    power_of_two,
    scale,
    two_product,
    two_sum,
)
from graphc.codegen.vecmath_tables import ATANH, EXP_POW, LN2, LOG_POW, TWO_THIRDS


def _sqrt_half(fmt: Format) -> int:
    """The bits of sqrt(1/2)."""
    real, integer = ("<f", "<i") if fmt is BINARY32 else ("<d", "<q")
    return int(struct.unpack(integer, struct.pack(real, math.sqrt(0.5)))[0])


def split(x: Lanes) -> tuple[Lanes, Lanes]:
    """(e, m) of positive normal numbers: x = 2**e m with m in [sqrt(1/2), sqrt(2)); e as a float."""
    fmt = x.format
    low, width = _sqrt_half(fmt), fmt.mantissa
    # Everything stays positive, so that shifts are logical, and the exponent becomes a float by way of its bits.
    raised = x.bits() - (low - (fmt.bias << width))
    magic = 2.0**width
    exponent = (raised.shift_right(width) | ((fmt.bias + width) << width)).as_float() - (magic + fmt.bias)
    return exponent, ((raised & ((1 << width) - 1)) + low).as_float()


def normalise(x: Lanes) -> tuple[Lanes, Lanes]:
    """(x times a power of two, its exponent to be subtracted): denormals become normal."""
    small = x.lt(x.format.smallest_normal)
    shift = x.format.mantissa + 1
    return small.choose(x * 2.0**shift, x), small.choose(x.number(shift), 0.0)


def _series(f: Lanes, exponent: Lanes) -> Lanes:
    """log(2**e (1 + f)), smallest terms first."""
    numbers = table(f)
    square = f * f
    small = exponent.fma(numbers.ln2_low, f * square * f.polynomial(numbers.log))
    return exponent.fma(numbers.ln2_high, f + square.fma(-0.5, small))


def _specials(x: Lanes, pole: float, result: Lanes) -> Lanes:
    """-inf at the pole, NaN below it, +inf at +inf; NaN stays."""
    result = x.eq(math.inf).choose(x, result)
    result = x.gt(pole).choose(result, math.nan)
    return x.eq(pole).choose(-math.inf, result)


def log(x: Lanes) -> Lanes:
    normal, shift = normalise(x)
    exponent, m = split(normal)
    return _specials(x, 0.0, _series(m - 1, exponent - shift))


def log1p(x: Lanes) -> Lanes:
    """log(1 + x): what 1 + x loses is scaled like it and added to f."""
    total, lost = two_sum(x.number(1), x)
    exponent, m = split(total)
    # 2**-e by its bits; beyond the exponents of normal numbers it is 0, as `lost` then matters no more
    down = power_of_two((-exponent).at_least(-float(x.format.bias)))
    result = _specials(x, -1.0, _series(lost.fma(down, m - 1), exponent))
    return x.abs().lt(2.0 ** -(x.format.mantissa + 2)).choose(x, result)  # denormals, and the sign of zero


def pow(x: Lanes, y: Lanes) -> Lanes:
    """x**y with the special cases of IEEE 754: x**0 and 1**y are 1, even for NaN; a negative x needs an integral y."""
    size = x.abs()
    result = _pow_single(size, y) if x.format is BINARY32 else _pow_double(size, y)
    # zero and infinity of either: the result is zero or infinite, or 1 for |x| = 1
    grows = size.gt(1) ^ y.lt(0)
    extreme = size.eq(1).choose(1.0, grows.choose(result.number(math.inf), 0.0))
    result = (size.eq(0) | size.eq(math.inf) | y.abs().eq(math.inf)).choose(extreme, result)
    half = y * 0.5
    integral, even = y.floor().eq(y), half.floor().eq(half)
    result = even.choose(result, integral.choose(result.copysign(x), result))
    no_root = x.lt(0) & x.ne(-math.inf) & integral.invert()
    result = (no_root | x.unordered(y)).choose(math.nan, result)
    return (x.eq(1) | y.eq(0)).choose(1.0, result)


def _pow_single(x: Lanes, y: Lanes) -> Lanes:
    """|x|**y of binary32 through binary64, where polynomials of 40 bits are enough to round nearly always correctly."""
    exponent, m = split(x.widen())
    f = m - 1
    square = f * f
    logarithm = exponent.fma(LN2[0], (f * square).fma(f.polynomial(LOG_POW), square.fma(-0.5, f)))
    n, r, _ = reduce_exp((y.widen() * logarithm).at_most(200.0).at_least(-200.0))
    return (((r * r).fma(r.polynomial(EXP_POW), r) + 1) * power_of_two(n)).narrow()


def _pow_double(x: Lanes, y: Lanes) -> Lanes:
    """|x|**y of binary64: the logarithm as a sum of two doubles with an error near 2**-66."""
    high, low = _product(_log_pair(x), y.at_most(2.0**66).at_least(-(2.0**66)))  # enough for 1 +- 2**-53
    edge, top = table(x).exp_range
    clamped = high.at_most(top).at_least(edge)
    n, r, rest = reduce_exp(clamped)
    r, low = two_sum(r, rest + clamped.eq(high).choose(low, 0.0))
    return scale(mantissa(r, low, table(x).exp), n)


def _product(a: Pair, b: Lanes) -> Pair:
    high, low = two_product(a[0], b)
    return fast_two_sum(high, a[1].fma(b, low))


def _log_pair(x: Lanes) -> Pair:
    """log x = e ln 2 + 2 atanh(s), s = (m - 1) / (m + 1), as 2 s + 2/3 s^3 + s^5 P(s^2), all but P in two doubles."""
    normal, shift = normalise(x)
    exponent, m = split(normal)
    exponent = exponent - shift
    s = _quotient(m - 1, two_sum(m.number(1), m))
    square = pair_product(s, s)
    cube = pair_product(square, s)
    tail = cube[0] * square[0] * square[0].polynomial(ATANH)
    thirds = pair_product(cube, (m.number(TWO_THIRDS[0]), m.number(TWO_THIRDS[1])))
    small = pair_sum(thirds, (tail, m.number(0.0)))
    series = pair_sum((s[0] + s[0], s[1] + s[1]), small)
    return pair_sum(_product((m.number(LN2[0]), m.number(LN2[1])), exponent), series)


def _quotient(a: Lanes, b: Pair) -> Pair:
    """a / b as a pair: the quotient, and the remainder over b."""
    quotient = a / b[0]
    product, error = two_product(quotient, b[0])
    return fast_two_sum(quotient, (((a - product) - error) - quotient * b[1]) / b[0])
