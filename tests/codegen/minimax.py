"""Derives the polynomials of graphc/codegen/vecmath_tables.py: this program prints them (needs mpmath).

Remez's exchange in 60 digits on a weighted error; the coefficients are then rounded to the format. That costs little:
every polynomial is the tail of a series whose first terms are exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import mpmath as mp
import numpy as np

mp.mp.dps = 60
TINY = 1e-9  # in place of 0, where the quotients are 0 / 0
TANH_DEGREE, TANH_END = 6, 9.02  # tanh is 1 from there on
ERF_STEP = mp.mpf(267665) / 2**20  # between the middles of pieces: of all steps, the one whose erf(i step) round best
Real = Callable[[mp.mpf], mp.mpf]


@dataclass(frozen=True)
class Fit:
    """The polynomial p of `degree` nearest to `function` on [low, high]: |weight * (function - p)| is least."""

    name: str
    function: Real
    weight: Real
    low: float
    high: float
    single: int  # degree for binary32, or -1
    double: int  # degree for binary64, or -1


def remez(function: Real, weight: Real, low: float, high: float, degree: int) -> tuple[list[mp.mpf], mp.mpf]:
    """Coefficients from the constant upwards, and the largest weighted error."""
    count = degree + 2
    middle, half = (mp.mpf(low) + high) / 2, (mp.mpf(high) - low) / 2
    angles = [mp.pi * i / (count - 1) for i in range(count)]
    nodes = [middle - half * mp.cos(a) for a in angles]
    grid = [middle - half * mp.cos(mp.pi * (i + mp.mpf(1) / 3) / (24 * count)) for i in range(24 * count)]
    values, weights = [function(x) for x in grid], [weight(x) for x in grid]
    coefficients: list[mp.mpf] = []
    for _ in range(8):
        rows = mp.matrix(count, count)
        right = mp.matrix(count, 1)
        for i, x in enumerate(nodes):
            for k in range(degree + 1):
                rows[i, k] = x**k
            rows[i, degree + 1] = (-1) ** i / max(weight(x), mp.mpf(10) ** -30)
            right[i] = function(x)
        coefficients = list(mp.lu_solve(rows, right))[:-1]
        errors = [w * (v - mp.polyval(coefficients[::-1], x)) for x, v, w in zip(grid, values, weights, strict=True)]
        peaks: list[int] = []
        for i, error in enumerate(errors):
            if peaks and (error > 0) == (errors[peaks[-1]] > 0):
                if abs(error) > abs(errors[peaks[-1]]):
                    peaks[-1] = i
            else:
                peaks.append(i)
        while len(peaks) > count:
            peaks.pop(0 if abs(errors[peaks[0]]) < abs(errors[peaks[-1]]) else -1)
        if len(peaks) < count:
            break
        nodes = [grid[i] for i in peaks]
    return coefficients, max(map(abs, errors))


def fits() -> list[Fit]:
    reach, quarter, root = mp.log(2) / 2 * mp.mpf("1.001"), (mp.pi / 4) ** 2 * mp.mpf("1.001"), mp.sqrt(2)
    edge = (root - 1) / (root + 1) * mp.mpf("1.001")
    small = lambda z: mp.sqrt(abs(z))  # noqa: E731 polynomials in z = x * x
    exp, log = (lambda r: (mp.expm1(r) - r) / r**2), (lambda f: (mp.log1p(f) - f + f * f / 2) / f**3)
    erfcx = lambda t: mp.exp(t * t) * mp.erfc(t)  # noqa: E731
    log_weight = lambda f: abs(f**3 / mp.log1p(f))  # noqa: E731
    return [
        Fit("EXP", exp, lambda r: r**2, -reach, reach, 4, 9),
        Fit("EXP_POW", exp, lambda r: r**2, -reach, reach, -1, 6),
        Fit("LOG", log, log_weight, 1 / root - 1, root - 1, 7, 18),
        Fit("LOG_POW", log, log_weight, 1 / root - 1, root - 1, -1, 12),
        Fit("SIN", lambda z: (mp.sin(small(z)) / small(z) - 1) / z, abs, TINY, quarter, 2, 5),
        Fit("COS", lambda z: (mp.cos(small(z)) - 1 + z / 2) / z**2, lambda z: z**2, TINY, quarter, 2, 5),
        Fit("TANH", lambda z: (mp.tanh(small(z)) / small(z) - 1) / z, abs, TINY, mp.mpf("0.3906251"), 4, -1),
        Fit("ERF", lambda z: mp.erf(small(z)) / small(z) - 1, lambda z: mp.mpf(1), TINY, 1, 6, 11),
        Fit("ERFCX", lambda u: erfcx(u + 2.5), lambda u: mp.exp(-((u + 2.5) ** 2)), -1.5, 1.5, 10, -1),
        Fit("ERFCX", lambda u: erfcx(u + 3.5), lambda u: mp.exp(-((u + 3.5) ** 2)), -2.5, 2.5, -1, 27),
        Fit(
            "ATANH",
            lambda z: (mp.atanh(small(z)) * 2 / small(z) - 2 - 2 * z / 3) / z**2,
            lambda z: z**2,
            TINY,
            edge**2,
            -1,
            7,
        ),
    ]


def erf_pieces() -> list[list[float]]:
    """The tables of vecmath_pieces.py: row k has the coefficient k of every piece."""

    def relative(t: mp.mpf) -> mp.mpf:
        return mp.erf(t) / t - 1 if abs(t) > TINY else 2 / mp.sqrt(mp.pi) - 1

    def slope(middle: mp.mpf, r: mp.mpf) -> mp.mpf:
        if abs(r) > TINY:
            return (mp.erf(middle + r) - mp.erf(middle)) / r
        return 2 / mp.sqrt(mp.pi) * mp.exp(-middle * middle)

    pieces = []
    for i in range(16):
        middle = i * ERF_STEP
        function = partial(slope, middle) if i > 1 else partial(lambda at, r: relative(at + r), middle)
        weight = abs if i > 1 else lambda r: mp.mpf(1)
        low = TINY if i == 0 else -ERF_STEP / 2
        coefficients, _ = remez(function, weight, low, ERF_STEP / 2, 5)
        pieces.append([float(np.float32(float(x))) for x in (mp.erf(middle), *coefficients)])
    return [list(row) for row in zip(*pieces, strict=True)]


def tanh_pieces() -> list[list[float]]:
    """The middles of the pieces and the coefficients about them, as they lie in vecmath_pieces.py.

    Piece 0 reaches up to 1/16, the others are half octaves. The entry of a piece is that of the four lowest of the bits
    from the highest bit of the mantissa on.
    """
    edges = [TINY, *(2.0**octave * part for octave in range(-4, 4) for part in (1, 1.5))]
    edges[-1] = TANH_END
    pieces = []
    for i, (low, high) in enumerate(pairwise(edges)):
        middle = 0.0 if i == 0 else _best_middle((low + high) / 2)
        coefficients, _ = remez(
            partial(_tanh_slope, middle),
            lambda r, middle=middle: abs(r / mp.tanh(middle + r)),
            low - middle,
            high - middle,
            TANH_DEGREE - 1,
        )
        pieces.append([float(np.float32(float(x))) for x in (middle, mp.tanh(middle), *coefficients)])
    first = int(np.float32(edges[1]).view(np.int32)) >> 22
    entries = [pieces[(k - first + 1) % 16] for k in range(16)]
    return [list(row) for row in zip(*entries, strict=True)]


def _tanh_slope(middle: float, r: mp.mpf) -> mp.mpf:
    return (mp.tanh(middle + r) - mp.tanh(middle)) / r if abs(r) > TINY else mp.sech(middle) ** 2


def _best_middle(near: float) -> float:
    """Of the floats about there the one whose tanh is nearest to a float."""

    def lost(middle: float) -> mp.mpf:
        exact = mp.tanh(middle)
        nearest = np.float32(float(exact))
        return abs(exact - float(nearest)) / float(np.spacing(nearest))

    return min((float(np.float32(near * (1 + k * 2.0**-14))) for k in range(-200, 201)), key=lost)


if __name__ == "__main__":
    for kind in (np.float32, np.float64):
        for fit in fits():
            degree = fit.single if kind is np.float32 else fit.double
            if degree >= 0:
                numbers, error = remez(fit.function, fit.weight, fit.low, fit.high, degree)
                text = ", ".join(repr(float(kind(float(number)))) for number in numbers)
                print(f"{fit.name} = ({text})    # 2^{float(mp.log(error, 2)):.1f}")  # noqa: T201
    for row in (*erf_pieces(), *tanh_pieces()):
        print(f"({', '.join(map(repr, row))}),")  # noqa: T201
