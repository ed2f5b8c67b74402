"""exp and tanh of binary32 where a register holds 16 numbers, from which an instruction picks by index.

exp looks up 2**(k/16), and what is left is small. With y = x log2 e rounded to sixteenths, x = y ln 2 + r and
|r| <= ln(2) / 32: a polynomial of degree 3 for one of degree 6. Adding 1.5 * 2**19 does the rounding and leaves the
sixteenths in the lowest bits, the index of the table. tanh is a polynomial of its own in each of 16 pieces.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.codegen.llvm import Value, const_vector, lanes, poison
from graphc.codegen.vecmath_pieces import TANH, TANH_END, TANH_START
from graphc.codegen.vecmath_shared import BINARY32, Lanes
from graphc.codegen.vecmath_tables import LN2, LOG2_E, POWERS, POWERS_LOST

ENTRIES, BITS = 16, 4


def fits(x: Lanes) -> bool:
    """Whether the target looks up 16 floats in an instruction."""
    target = x.function.target
    return x.format is BINARY32 and target.is_x86 and target.vector_bytes == 64


def parts(x: Lanes) -> tuple[Lanes, Lanes]:
    """(p, y): exp(x) = p 2**floor(y), p in [0.97, 2.05] with an error of 0.8 ulp, y in sixteenths; |x| < 2**17."""
    rounded, y = x.nearest_multiple(LOG2_E, BITS)
    high = float(np.float32(LN2[0]))
    r = y.fma(high - LN2[0], y.fma(-high, x))
    power, lost = (look_up(entries, rounded.bits()) for entries in (POWERS, POWERS_LOST))
    return power + power.fma(r * r.polynomial((1, 1 / 2, 1 / 6)), lost), y


def tanh(x: Lanes) -> Lanes:
    """tanh(middle) + r p(r) with the sign of x, in pieces: the exponent and half an octave say which."""
    size = x.abs().at_most(TANH_END)
    piece = size.at_least(TANH_START).bits().shift_right(BINARY32.mantissa - 1)
    middle, *rows = TANH
    r = size - look_up(middle, piece)  # exact
    return polynomial(rows, piece, r).copysign(x)


def polynomial(rows: Sequence[Sequence[float]], index: Lanes, r: Lanes) -> Lanes:
    """The polynomial of each lane's piece at r, by Horner; row k has the coefficients of r^k."""
    *lower, p = (look_up(row, index) for row in rows)
    for coefficient in reversed(lower):
        p = p.fma(r, coefficient)
    return p


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
