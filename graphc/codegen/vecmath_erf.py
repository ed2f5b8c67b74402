"""erf: an odd polynomial up to 1, and 1 - exp(-x^2) erfcx(x) beyond, where erfcx is a polynomial too."""

from __future__ import annotations

from graphc.codegen.vecmath_exp import reduce, table
from graphc.codegen.vecmath_shared import Lanes, power_of_two


def erf(x: Lanes) -> Lanes:
    numbers, size = table(x), x.abs()
    small = (x * x).polynomial(numbers.erf).fma(x, x)
    t = size.at_most(numbers.erfcx_end)
    n, r, _ = reduce(-(t * t))
    exponential = ((r * r).fma(r.polynomial(numbers.exp), r) + 1) * power_of_two(n)
    big = 1 - exponential * (t - numbers.erfcx_middle).polynomial(numbers.erfcx)
    return size.gt(1).choose(big.copysign(x), small)
