"""Sizes of windows that slide along the spatial axes, and the checks that convolution and pooling share.

Along one spatial axis of n elements, `low` and `high` more are imagined before and behind; a window has `size` taps
`dilation` apart and spans (size - 1) * dilation + 1 elements; windows start `stride` apart.  A last window that would
stick out does not exist: there are floor((low + n + high - span) / stride) + 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from graphc.ir.dims import Dim, bounds
from graphc.ir.types import TensorType, TypeMismatch
from graphc.ops.op import expect
from graphc.ops.rules import check_kind, is_dim

Ints = tuple[int, ...]
MOST_SPATIAL = 3


@dataclass(frozen=True)
class Windows:
    """The geometry along every spatial axis."""

    size: Ints
    stride: Ints
    low: Ints
    high: Ints
    dilation: Ints

    @property
    def spans(self) -> Ints:
        """Elements from a window's first tap to its last one."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.size, self.dilation, strict=True))

    def counts(self, spatial: tuple[Dim, ...]) -> tuple[Dim, ...]:
        """How many windows there are along each axis."""
        rows = zip(spatial, self.low, self.high, self.spans, self.stride, strict=True)
        return tuple((n + low + high - span) // stride + 1 for n, low, high, span, stride in rows)


def check_windows(op: str, x: TensorType, spatial: tuple[Dim, ...], windows: Windows, position: int) -> None:
    """The attributes are sound and there is at least one window along every spatial axis of x."""
    rank = len(spatial)
    expect(
        1 <= rank <= MOST_SPATIAL,
        f"{op} has 1 to {MOST_SPATIAL} spatial axes between batch and channels, not {x}",
        position,
    )
    for name, least in (("size", 1), ("stride", 1), ("dilation", 1), ("low", 0), ("high", 0)):
        value = getattr(windows, name)
        fits = isinstance(value, tuple) and len(value) == rank and all(type(v) is int for v in value)
        expect(
            fits,
            f"{op}: {name} must have an integer for each of the {rank} spatial axes of {x}, got {value!r}",
            position,
        )
        label = {"size": "a window's size", "low": "padding", "high": "padding"}.get(name, name)
        expect(all(v >= least for v in value), f"{op}: {label} must be at least {least}, got {_row(value)}", position)
    for axis, (n, span, count) in enumerate(zip(spatial, windows.spans, windows.counts(spatial), strict=True)):
        padded = n + windows.low[axis] + windows.high[axis]
        most = bounds(count)[1]
        if most is not None and most < 1:
            message = f"{op}: a window spans {span} elements, but axis {axis + 1} of {x} has {padded} with its padding"
            raise TypeMismatch(message, (position,), "an image is [batch, spatial axes .., channels]")


def check_image(op: str, x: TensorType, position: int) -> None:
    """A float value [batch, spatial .., channels]."""
    check_kind(op, x, "f", position)
    expect(
        3 <= x.rank <= 2 + MOST_SPATIAL,
        f"{op} works on [batch, 1 to {MOST_SPATIAL} spatial axes, channels], not on {x}",
        position,
    )


def check_groups(op: str, groups: Any, inputs: Dim, outputs: Dim) -> None:
    """Both numbers of channels are multiples of the number of groups."""
    expect(type(groups) is int and groups >= 1, f"{op}: groups must be a positive integer, got {groups!r}")
    if groups == 1:
        return
    for what, channels in (("input", inputs), ("output", outputs)):
        fits = isinstance(channels, int) and channels % groups == 0
        expect(fits, f"{op}: {groups} groups do not divide {channels} {what} channels")


def check_size(op: str, size: Any, rank: int) -> None:
    """`size` names a dimension for each spatial axis."""
    fits = isinstance(size, tuple) and len(size) == rank and all(is_dim(v) for v in size)
    expect(fits, f"{op}: size must have a number for each of {rank} spatial axes, got {size!r}")


def _row(values: Ints) -> str:
    return " x ".join(map(str, values)) if len(values) > 1 else str(values[0])
