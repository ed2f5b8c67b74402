"""erf: an odd polynomial up to 1, and 1 - exp(-x^2) erfcx(x) beyond, where erfcx is a polynomial too.

In binary32 with AVX-512, which picks from 16 numbers by one instruction, 16 short polynomials: half the instructions.
"""

from __future__ import annotations

from graphc.codegen import vecmath_lookup
from graphc.codegen.vecmath_exp import parts, table
from graphc.codegen.vecmath_pieces import ERF, ERF_END, ERF_STEP
from graphc.codegen.vecmath_shared import Lanes, power_of_two


def erf(x: Lanes) -> Lanes:
    if vecmath_lookup.fits(x):
        return _in_pieces(x)
    numbers, size = table(x), x.abs()
    small = (x * x).polynomial(numbers.erf).fma(x, x)
    t = size.at_most(numbers.erfcx_end)
    p, n = parts(-(t * t))
    big = 1 - p * power_of_two(n) * (t - numbers.erfcx_middle).polynomial(numbers.erfcx)
    return size.gt(1).choose(big.copysign(x), small)


def _in_pieces(x: Lanes) -> Lanes:
    """t + t p(r) in the two pieces around 0, for the sake of small t, erf(middle) + r p(r) in the others."""
    t = x.abs().at_most(ERF_END)
    shifted, piece = t.nearest_multiple(1 / ERF_STEP)
    r = piece.fma(-ERF_STEP, t)  # exact
    first, p = vecmath_lookup.look_up(ERF[0], shifted.bits()), vecmath_lookup.polynomial(ERF[1:], shifted.bits(), r)
    near = piece.lt(1.5)
    return near.choose(t, r).fma(p, near.choose(t, first)).copysign(x)
