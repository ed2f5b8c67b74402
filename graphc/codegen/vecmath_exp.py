"""exp, expm1, tanh and sigmoid: one reduction x = n ln 2 + r, |r| <= ln(2)/2, and one polynomial."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.codegen import vecmath_lookup
from graphc.codegen.vecmath_shared import Lanes, fast_two_sum, power_of_two, scale
from graphc.codegen.vecmath_tables import DOUBLE, FLOAT, LOG2_E, TANH, Table


def table(x: Lanes) -> Table:
    return FLOAT if x.value.type.endswith(("float", "float>")) else DOUBLE


def reduce(x: Lanes) -> tuple[Lanes, Lanes, Lanes]:
    """(n, r, low): x = n ln 2 + r + low; n is an integral float, r the nearest float to the rest, low what r lacks."""
    numbers = table(x)
    n = (x * LOG2_E).round()
    rest = n.fma(-numbers.ln2_high, x)
    r = n.fma(-numbers.ln2_low, rest)
    return n, r, n.fma(-numbers.ln2_low, rest - r)


def mantissa(r: Lanes, low: Lanes, coefficients: Sequence[float]) -> Lanes:
    """exp(r + low), in [0.7, 1.42], nearly rounded correctly: what 1 + r loses is added to the small terms."""
    one_and_r, lost = fast_two_sum(r.number(1), r)
    return one_and_r + (lost + (r * r).fma(r.polynomial(coefficients), low))


def parts(x: Lanes) -> tuple[Lanes, Lanes]:
    """(p, n): exp(x) = p 2**n, p in [0.7, 1.42] with an error of 1 ulp and n an integral float."""
    n, r, _ = reduce(x)
    return r.polynomial((1.0, 1.0, *table(x).exp)), n


def exp(x: Lanes) -> Lanes:
    """e**x over the whole range: denormal results are rounded once."""
    low, high = table(x).exp_range
    return _scaled(x.at_most(high).at_least(low))


def _scaled(x: Lanes) -> Lanes:
    """e**x within `exp_range`."""
    return scale(*vecmath_lookup.parts(x) if vecmath_lookup.fits(x) else parts(x))


def expm1(x: Lanes) -> Lanes:
    """e**x - 1 = 2 ((2**(n-1) - 1/2) + 2**(n-1) (exp(r) - 1)): half of it, so that n = 1024 does not overflow."""
    numbers = table(x)
    clamped = x.at_most(numbers.exp_range[1]).at_least(numbers.expm1_low)
    n, r, low = reduce(clamped)
    half = power_of_two(n - 1)
    total, lost = fast_two_sum(half - 0.5, half * r)
    result = (total + half.fma((r * r).fma(r.polynomial(numbers.exp), low), lost)) * 2
    return x.abs().lt(2.0 ** -(x.format.mantissa + 2)).choose(x, result)  # denormals, and the sign of zero


def sigmoid(x: Lanes) -> Lanes:
    """1 / (1 + e**-x). With e = e**-|x| and q = e / (1 + e) it is 1 - q, for negative x e - e q: nothing overflows, and
    what rounding does to q matters little."""
    e = _scaled((-x.abs()).at_least(table(x).exp_range[0]))
    other = e / (e + 1)
    large = x.lt(0).choose(e, 1.0)
    return (-large).fma(other, large)


def tanh(x: Lanes) -> Lanes:
    """tanh|x| with the sign of x. In binary64 t / (t + 2) of t = expm1(2|x|) has 3 roundings, which is good enough;
    in binary32 1 - 2 / (e**2|x| + 1), and a polynomial up to 0.625, have fewer."""
    if vecmath_lookup.fits(x):
        return vecmath_lookup.tanh(x)
    numbers, size = table(x), x.abs()
    clamped = size.at_most(numbers.tanh_high)
    if numbers is DOUBLE:
        t = expm1(clamped + clamped)
        return (t / (t + 2)).copysign(x)
    p, n = parts(clamped + clamped)
    z = size * size
    small = (size * z).fma(z.polynomial(TANH), size)
    return size.gt(0.625).choose(1 - 2 / p.fma(power_of_two(n), 1.0), small).copysign(x)
