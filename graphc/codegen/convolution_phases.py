"""Which windows meet an element of the image: the geometry of gradients by the data.

An element i of the image lies in window o at tap k where i + low = o * stride + k * dilation.  For the elements of one
phase, i + low = r modulo the stride, the taps are every (stride / g)-th one, g = gcd(stride, dilation), and the windows
they come from are dilation / g apart: the gradient of a phase is a plain convolution of stride 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

from graphc.ir.dims import Dim


@dataclass(frozen=True)
class Phase:
    """The elements first, first + stride, .. (`count` of them) along one axis.

    Element number j meets the taps tap + tap_step * t of the windows window + j - window_step * t, for t < taps.
    """

    first: int
    count: Dim
    taps: int
    tap: int
    tap_step: int
    window: int
    window_step: int


@dataclass(frozen=True)
class AxisPhases:
    """All phases of an axis; `low` and `high` windows before the first and behind the last one are read as well."""

    phases: tuple[Phase, ...]
    low: int
    high: int


def axis_phases(n: Dim, size: int, stride: int, low: int, high: int, dilation: int) -> AxisPhases:
    """The phases of an axis of n elements under windows of `size` taps."""
    common = gcd(stride, dilation)
    tap_step, window_step = stride // common, dilation // common
    phases = []
    for first in range(stride):
        if isinstance(n, int) and first >= n:
            break
        rest = (first + low) % stride
        tap = next((k for k in range(min(tap_step, size)) if k * dilation % stride == rest), size)
        taps = -(-(size - tap) // tap_step)
        window = (first + low - tap * dilation) // stride if taps else 0
        count = (n - first + stride - 1) // stride
        phases.append(Phase(first, count, taps, tap, tap_step, window, window_step))
    least = min((p.window - p.window_step * (p.taps - 1) for p in phases if p.taps), default=0)
    behind = -(-((size - 1) * dilation - high) // stride)
    return AxisPhases(tuple(phases), max(0, -least), max(0, behind))
