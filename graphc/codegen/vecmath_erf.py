"""erf: an odd polynomial up to 1, and 1 - exp(-x^2) erfcx(x) beyond, where erfcx is a polynomial too."""

from __future__ import annotations

from graphc.codegen.vecmath_exp import parts, table
from graphc.codegen.vecmath_shared import Lanes, power_of_two


def erf(x: Lanes) -> Lanes:
    numbers, size = table(x), x.abs()
    small = (x * x).polynomial(numbers.erf).fma(x, x)
    t = size.at_most(numbers.erfcx_end)
    p, n = parts(-(t * t))
    big = 1 - p * power_of_two(n) * (t - numbers.erfcx_middle).polynomial(numbers.erfcx)
    return size.gt(1).choose(big.copysign(x), small)
