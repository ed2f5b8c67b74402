"""Uniform numbers drawn by a model's own code (graphc/codegen/draws.py): the bits of `graphc.runtime.rng`, faster."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc.runtime import rng
from graphc.runtime.buffers import address
from graphc.runtime.initialisers import UNIT, Interval
from graphc.runtime.library import Library


class _Job(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int64) for name in ("destination", "count", "seed", "stream", "is_f64")),
        *((name, ctypes.c_double) for name in ("slope", "start", "scale", "offset")),
    ]


class NativeDraws:
    """The function of a library, which it keeps loaded."""

    def __init__(self, library: Library, symbol: str) -> None:
        self._library, self._function = library, library.function(symbol, 1)

    def fill(self, array: NDArray[Any], seed: int, name: str, interval: Interval) -> None:
        """The first numbers of the stream `name`, brought into `interval`, into a contiguous f32 or f64 array."""
        job = _Job(address(array), array.size, seed, rng.stream_of(name), array.dtype == np.float64, *interval)
        self._function(ctypes.addressof(job))

    def uniform64(self, seed: int, name: str, count: int) -> NDArray[np.float64]:
        """As `rng.uniform64`."""
        out = np.empty(count, np.float64)
        self.fill(out, seed, name, UNIT)
        return out
