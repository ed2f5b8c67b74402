"""First values of parameters, slots and states. A value depends on the seed, the leaf's path and its shape alone.

Fans by Keras's convention: for a shape (..., in, out) the leading axes are the receptive field r (HWIO kernels),
fan_in = r * in, fan_out = r * out; a vector of n has both n; a scalar both 1. With f = fan_in, g = fan_out:

    glorot_uniform  U(-a, a), a = sqrt(6 / (f + g))       glorot_normal  N(0, 2 / (f + g))    (Glorot, Bengio 2010)
    he_uniform      U(-a, a), a = sqrt(6 / f)             he_normal      N(0, 2 / f)          (He et al. 2015)
    lecun_normal    N(0, 1 / f)                                                               (LeCun et al. 1998)
    truncated_normal  mean + std * z, z standard normal redrawn while |z| > 2 (so its deviation is 0.88 std)
    orthogonal      gain * Q, Q from the QR of an f64 normal matrix (all axes but the last together), R's diagonal made
                    positive, transposed if it is wide                                        (Saxe et al. 2014)
Everything is computed in f64 and rounded once. The normals are not truncated unless their name says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc.runtime import rng
from graphc.runtime.signature import Init

Interval = tuple[float, float, float, float]
"""slope, start, scale, offset: u in [0, 1) becomes offset + scale * (slope * u + start)."""
UNIT: Interval = (1.0, 0.0, 1.0, 0.0)
FIXED: dict[str, Callable[[Init], float]] = {
    "zeros": lambda init: 0.0,
    "ones": lambda init: 1.0,
    "constant": lambda init: init.args["value"],
}
"""The initialisers that draw nothing: their value."""
Uniform = Callable[[int, str, int], NDArray[np.float64]]
"""(seed, name of the stream, count) -> numbers in [0, 1), as `rng.uniform64`."""


def interval(init: Init, shape: Sequence[int]) -> Interval | None:
    """The interval of an initialiser that draws uniformly; None of any other."""
    fan_in, fan_out = fans(shape)
    match init.kind:
        case "uniform":
            return 1.0, 0.0, init.args["high"] - init.args["low"], init.args["low"]
        case "glorot_uniform":
            return 2.0, -1.0, math.sqrt(6 / (fan_in + fan_out)), 0.0
        case "he_uniform":
            return 2.0, -1.0, math.sqrt(6 / fan_in), 0.0
        case _:
            return None


def fans(shape: Sequence[int]) -> tuple[int, int]:
    """(fan_in, fan_out) as above, at least 1."""
    if not shape:
        return 1, 1
    if len(shape) == 1:
        return max(1, shape[0]), max(1, shape[0])
    field = math.prod(shape[:-2])
    return max(1, field * shape[-2]), max(1, field * shape[-1])


def initial(init: Init, path: str, shape: Sequence[int], seed: int, uniform: Uniform = rng.uniform64) -> NDArray[Any]:
    """The f64 value of the leaf `path`; `uniform` draws the numbers that it is made of."""
    count = math.prod(shape)
    within = interval(init, shape)
    if within is not None:
        slope, start, scale, offset = within
        return (offset + scale * (slope * uniform(seed, path, count) + start)).reshape(shape)
    fan_in, fan_out = fans(shape)
    args = init.args
    match init.kind:
        case "zeros" | "ones" | "constant":
            flat = np.full(count, FIXED[init.kind](init), np.float64)
        case "normal":
            flat = args["mean"] + args["std"] * rng.normal64(seed, path, count, uniform)
        case "truncated_normal":
            flat = args["mean"] + args["std"] * _truncated(path, count, seed, uniform)
        case "glorot_normal":
            flat = math.sqrt(2 / (fan_in + fan_out)) * rng.normal64(seed, path, count, uniform)
        case "he_normal":
            flat = math.sqrt(2 / fan_in) * rng.normal64(seed, path, count, uniform)
        case "lecun_normal":
            flat = math.sqrt(1 / fan_in) * rng.normal64(seed, path, count, uniform)
        case _:
            flat = args["gain"] * _orthogonal(path, shape, seed, uniform)
    return flat.reshape(shape)


def _truncated(path: str, count: int, seed: int, uniform: Uniform) -> NDArray[np.float64]:
    z = rng.normal64(seed, path, count, uniform)
    attempt = 0
    while (outside := np.abs(z) > 2.0).any():  # 4.6 % each time: a dozen rounds for a million elements
        attempt += 1
        z[outside] = rng.normal64(seed, f"{path}#{attempt}", int(outside.sum()), uniform)
    return z


def _orthogonal(path: str, shape: Sequence[int], seed: int, uniform: Uniform) -> NDArray[np.float64]:
    rows, columns = math.prod(shape[:-1]), shape[-1] if shape else 1
    tall = rng.normal64(seed, path, rows * columns, uniform).reshape(max(rows, columns), min(rows, columns))
    q, r = np.linalg.qr(tall)
    q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)
    return np.asarray(q if rows >= columns else q.T, np.float64).reshape(-1)
