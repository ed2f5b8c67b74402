"""exp and tanh of binary32 where a register holds 16 numbers: 2**(k/16) is looked up, and what is left is small.

With y = x log2 e rounded to sixteenths, x = y ln 2 + r and |r| <= ln(2) / 32: a polynomial of degree 3 or 4 for one of
degree 6. Adding 1.5 * 2**19 does the rounding and leaves the sixteenths in the lowest bits, the index of the table.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.codegen.llvm import Value, const_vector, lanes, poison
from graphc.codegen.vecmath_shared import BINARY32, Lanes
from graphc.codegen.vecmath_tables import FLOAT, LN2, LOG2_E, POWERS, POWERS_LOST

ENTRIES, BITS = 16, 4


def fits(x: Lanes) -> bool:
    """Whether the target looks up 16 floats in an instruction."""
    target = x.function.target
    return x.format is BINARY32 and target.is_x86 and target.vector_bytes == 64


_HALVES = tuple(
    float(x) for x in (np.array(POWERS, "f4").view("i4") - (np.arange(16, dtype="i4") << (23 - BITS))).view("f4") / 2
)
"""Half of POWERS, k taken from the highest bits of the mantissa: `index << 19` adds it again, besides the exponent."""
_HALVES_LOST = tuple(x / 2 for x in POWERS_LOST)


def parts(x: Lanes) -> tuple[Lanes, Lanes]:
    """(p, y): exp(x) = p 2**floor(y), p in [0.97, 2.05] with an error of 0.8 ulp, y in sixteenths; |x| < 2**17."""
    rounded, y = x.nearest_multiple(LOG2_E, BITS)
    high = float(np.float32(LN2[0]))
    r = y.fma(high - LN2[0], y.fma(-high, x))
    power, lost = (look_up(entries, rounded.bits()) for entries in (POWERS, POWERS_LOST))
    return power + power.fma(r * r.polynomial((1, 1 / 2, 1 / 6)), lost), y


def tanh(x: Lanes) -> Lanes:
    """h / (h + 1) of h = (e**2|x| - 1) / 2, with the sign of x; h - h (h / (h + 1)) is more exact for small h.

    e**2|x| / 2 is s e**2r of a power s of two, in sixteenths. s - 1/2 is exact up to s = 1, where rounding
    s itself matters: what it lost is added to the small terms. Beyond, tanh hardly depends on it.
    """
    size = x.abs().at_most(FLOAT.tanh_high)
    rounded, y = size.nearest_multiple(2 * LOG2_E, BITS)
    r = y.fma(-LN2[0] / 2, size)  # half of the rest
    index = rounded.bits()
    s = (look_up(_HALVES, index).bits() + (index << (23 - BITS))).as_float()
    small = (s * (r * r)).fma(r.polynomial((4 / 2, 8 / 6, 16 / 24)), look_up(_HALVES_LOST, index))
    h = (s - 0.5) + (s + s).fma(r, small)
    ratio = h / (h + 1)
    return h.lt(1).choose((-h).fma(ratio, h), ratio).copysign(x)


def look_up(entries: Sequence[float], index: Lanes) -> Lanes:
    """The entry of the lowest 4 bits of each lane (i32)."""
    f, count = index.function, lanes(index.value.type)
    if count > ENTRIES:
        every = range(count)
        low, high = (
            look_up(entries, index.of(f.shuffle(index.value, index.value, half))).value
            for half in (every[: count // 2], every[count // 2 :])
        )
        return index.of(f.shuffle(low, high, every))
    kind = f"<{ENTRIES} x i32>"
    wide: Value = index.value
    if count == 1:
        wide = f.insert(poison(kind), wide, 0)
    elif count < ENTRIES:
        wide = f.shuffle(wide, wide, [min(lane, count - 1) for lane in range(ENTRIES)])
    table = const_vector("float", entries)
    found = f.intrinsic("llvm.x86.avx512.permvar.sf.512", table.type, table, wide)
    if count == 1:
        return index.of(f.extract(found, 0))
    return index.of(found if count == ENTRIES else f.shuffle(found, found, range(count)))
