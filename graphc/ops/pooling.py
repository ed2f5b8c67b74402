"""Pooling: sums and maxima of windows of an image, and the ops that are their derivatives.

Every result pixel stands for a window of `size` taps, whose first one is at pixel * stride - low.  Taps outside of the
image take no part.  Averages and Lp norms are said with `window_sum`; the greatest element's gradient goes to the
place that `argmax_pool` names: the first one in row-major order, or the first NaN.  A place is the number of a tap: a
byte, for it is stored from the forward pass to the backward one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from graphc.ir.dims import Dim
from graphc.ir.node import Node, make
from graphc.ir.types import F64, I32, U8, DType, TensorType
from graphc.ops.convolution_rules import Ints, Windows, check_image, check_size, check_windows
from graphc.ops.op import Array, Cotangents, Sample, Structured, expect, register
from graphc.ops.rules import check_kind, text

GEOMETRY = ("window", "stride", "low", "high")
GREATEST = frozenset({"max_pool", "argmax_pool"})  # one search finds both


def tap_type(window: Ints) -> DType:
    """The type of the number of a tap; the greatest value of a byte is left for a place that is none."""
    return U8 if math.prod(window) <= 255 else I32


def windows_of(window: Ints, stride: Ints, low: Ints, high: Ints) -> Windows:
    return Windows(window, stride, low, high, (1,) * len(window))


class Pool(Structured):
    """An op on the windows of an image [batch, spatial .., channels]; every channel by itself."""

    kernel = "window"

    def geometry(self, node: Node) -> dict[str, Any]:
        return {name: node.attr(name) for name in GEOMETRY}

    def check(self, x: TensorType, window: Ints, stride: Ints, low: Ints, high: Ints, position: int = 0) -> TensorType:
        """The type of one number for each window; every window must hold an element of the image."""
        check_image(self.name, x, position)
        expect(isinstance(window, tuple), f"{self.name}: window must be a tuple, got {window!r}", position)
        windows = windows_of(window, stride, low, high)
        check_windows(self.name, x, x.shape[1:-1], windows, position)
        inside = all(a < k and b < k for a, b, k in zip(low, high, window, strict=True))
        expect(
            inside,
            f"{self.name}: windows of {text(window)} would lie in the padding {text(low)}, {text(high)} alone",
            position,
        )
        return x.with_shape((x.shape[0], *windows.counts(x.shape[1:-1]), x.shape[-1]))

    def cases(self, size: int) -> Iterator[tuple[Ints, dict[str, Any]]]:
        """Shapes of images with attributes: lengths and channels grow with `size` in turn."""
        rows = (
            ((2, size + 1, 3), ((2,), (1,), (0,), (0,))),
            ((1, 6, 5, size), ((2, 2), (2, 2), (0, 0), (0, 0))),
            ((2, 5, size, 2), ((3, 3), (2, 1), (1, 2), (1, 1))),
            ((1, size, 3, 4, 1), ((1, 3, 2), (1, 2, 3), (0, 1, 0), (0, 1, 1))),
        )
        for x, attrs in rows:
            yield x, dict(zip(GEOMETRY, attrs, strict=True))


def _taps(window: Ints, stride: Ints, counts: Ints) -> Iterator[tuple[slice, ...]]:
    """For every tap, in row-major order, the places of a padded image that it meets."""
    for tap in product(*map(range, window)):
        rows = zip(tap, counts, stride, strict=True)
        yield (slice(None), *(slice(t, t + (n - 1) * s + 1, s) for t, n, s in rows))


def _padded(x: Array, low: Ints, high: Ints, value: float) -> Array:
    return np.pad(x, ((0, 0), *zip(low, high, strict=True), (0, 0)), constant_values=value)


def _counts(x: Array, window: Ints, stride: Ints, low: Ints, high: Ints) -> Any:
    return windows_of(window, stride, low, high).counts(x.shape[1:-1])


def _spread(parts: Iterator[Array], dy: Array, size: Ints, window: Ints, stride: Ints, low: Ints, high: Ints) -> Array:
    """Zeros of the image's size with the part of each tap added where it came from."""
    lengths = [n + a + b for n, a, b in zip(size, low, high, strict=True)]
    dx = np.zeros((dy.shape[0], *lengths, dy.shape[-1]), dy.dtype)
    for places, part in zip(_taps(window, stride, dy.shape[1:-1]), parts, strict=True):
        dx[places] += part
    inside = tuple(slice(a, a + n) for a, n in zip(low, size, strict=True))
    return np.ascontiguousarray(dx[(slice(None), *inside)])


@register
class WindowSum(Pool):
    """window_sum(x, window, stride, low, high): the sum of each window; an average once it is divided by a count."""

    name = "window_sum"

    def infer(self, x: TensorType, *, window: Ints, stride: Ints, low: Ints, high: Ints) -> TensorType:
        return self.check(x, window, stride, low, high)

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        return (make("window_spread", dy, size=node.inputs[0].shape[1:-1], **self.geometry(node)),)

    def evaluate(self, x: Array, *, window: Ints, stride: Ints, low: Ints, high: Ints) -> Array:
        padded = _padded(x, low, high, 0)
        return np.asarray(sum(padded[p] for p in _taps(window, stride, _counts(x, window, stride, low, high))))

    def samples(self, size: int) -> Iterator[Sample]:
        for x, attrs in self.cases(size):
            yield Sample((TensorType(F64, x),), attrs)


@register
class WindowSpread(Pool):
    """window_spread(dy, size, window, stride, low, high): every element of dy added to all elements of its window.

    The gradient of `window_sum` by an image of spatial sizes `size`.
    """

    name = "window_spread"

    def infer(
        self, dy: TensorType, *, size: tuple[Dim, ...], window: Ints, stride: Ints, low: Ints, high: Ints
    ) -> TensorType:
        return check_spread(self, dy, size, window, stride, low, high)

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        return (make("window_sum", dy, **self.geometry(node)),)

    def evaluate(self, dy: Array, *, size: Ints, window: Ints, stride: Ints, low: Ints, high: Ints) -> Array:
        return _spread((dy for _ in product(*map(range, window))), dy, size, window, stride, low, high)

    def samples(self, size: int) -> Iterator[Sample]:
        for x, attrs in self.cases(size):
            yield Sample((TensorType(F64, _result(x, attrs)),), {"size": x[1:-1], **attrs})


@register
class MaxPool(Pool):
    """max_pool(x, window, stride, low, high): the greatest element of each window, NaN if there is one.

    The gradient goes to the first greatest element in row-major order, or to the first NaN.
    """

    name = "max_pool"

    def infer(self, x: TensorType, *, window: Ints, stride: Ints, low: Ints, high: Ints) -> TensorType:
        return self.check(x, window, stride, low, high)

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        (x,), geometry = node.inputs, self.geometry(node)
        place = make("argmax_pool", x, **geometry)
        return (make("pool_spread", dy, place, size=x.shape[1:-1], **geometry),)

    def evaluate(self, x: Array, *, window: Ints, stride: Ints, low: Ints, high: Ints) -> Array:
        padded, counts = _padded(x, low, high, -np.inf), _counts(x, window, stride, low, high)
        return np.max([padded[places] for places in _taps(window, stride, counts)], axis=0)

    def samples(self, size: int) -> Iterator[Sample]:
        for x, attrs in self.cases(size):
            yield Sample((TensorType(F64, x),), attrs, distinct=True)


@register
class ArgmaxPool(Pool):
    """argmax_pool(x, window, stride, low, high): where each window's first greatest element is, as a tap's number.

    Taps (of `tap_type`) are counted from 0 in row-major order.  A NaN counts as the greatest, a tap outside as -inf.
    """

    name = "argmax_pool"
    differentiable = False

    def infer(self, x: TensorType, *, window: Ints, stride: Ints, low: Ints, high: Ints) -> TensorType:
        return self.check(x, window, stride, low, high).with_dtype(tap_type(window))

    def evaluate(self, x: Array, *, window: Ints, stride: Ints, low: Ints, high: Ints) -> Array:
        padded, counts = _padded(x, low, high, -np.inf), _counts(x, window, stride, low, high)
        found = np.argmax([padded[places] for places in _taps(window, stride, counts)], axis=0)
        return found.astype(tap_type(window).numpy)

    def samples(self, size: int) -> Iterator[Sample]:
        for x, attrs in self.cases(size):
            yield Sample((TensorType(F64, x),), attrs)


@register
class PoolSpread(Pool):
    """pool_spread(dy, place, size, window, stride, low, high): zeros with each element of dy at one tap of its window.

    `place` (of dy's shape and `tap_type`) names the tap; a number that is no tap drops the element.
    """

    name = "pool_spread"

    def infer(
        self,
        dy: TensorType,
        place: TensorType,
        *,
        size: tuple[Dim, ...],
        window: Ints,
        stride: Ints,
        low: Ints,
        high: Ints,
    ) -> TensorType:
        x = check_spread(self, dy, size, window, stride, low, high)
        expect(place == dy.with_dtype(tap_type(window)), f"{self.name}: the taps of {dy} cannot be {place}", 0, 1)
        return x

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        return make("pool_pick", dy, node.inputs[1], **self.geometry(node)), None

    def evaluate(
        self, dy: Array, place: Array, *, size: Ints, window: Ints, stride: Ints, low: Ints, high: Ints
    ) -> Array:
        taps = range(int(np.prod(window)))
        parts = (np.where(place == t, dy, dy.dtype.type(0)) for t in taps)
        return _spread(parts, dy, size, window, stride, low, high)

    def samples(self, size: int) -> Iterator[Sample]:
        for x, attrs in self.cases(size):
            y = TensorType(F64, _result(x, attrs))
            yield Sample(
                (y, y.with_dtype(tap_type(attrs["window"]))),
                {"size": x[1:-1], **attrs},
                integers=(0, _tap_count(attrs)),
            )


@register
class PoolPick(Pool):
    """pool_pick(x, place, window, stride, low, high): the element of each window at the tap that `place` names.

    0 for a tap outside of the image, and for a number that is no tap.
    """

    name = "pool_pick"

    def infer(
        self, x: TensorType, place: TensorType, *, window: Ints, stride: Ints, low: Ints, high: Ints
    ) -> TensorType:
        y = self.check(x, window, stride, low, high)
        taps = y.with_dtype(tap_type(window))
        expect(place == taps, f"{self.name}: the taps of {x} are {taps}, not {place}", 0, 1)
        return y

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        x, place = node.inputs
        return make("pool_spread", dy, place, size=x.shape[1:-1], **self.geometry(node)), None

    def evaluate(self, x: Array, place: Array, *, window: Ints, stride: Ints, low: Ints, high: Ints) -> Array:
        padded, counts = _padded(x, low, high, 0), _counts(x, window, stride, low, high)
        y = np.zeros(place.shape, x.dtype)
        for tap, places in enumerate(_taps(window, stride, counts)):
            y = np.where(place == tap, padded[places], y)
        return y

    def samples(self, size: int) -> Iterator[Sample]:
        for x, attrs in self.cases(size):
            place = TensorType(tap_type(attrs["window"]), _result(x, attrs))
            yield Sample((TensorType(F64, x), place), attrs, integers=(0, _tap_count(attrs)))


def check_spread(
    op: Pool, dy: TensorType, size: tuple[Dim, ...], window: Ints, stride: Ints, low: Ints, high: Ints
) -> TensorType:
    """The type of an image of spatial sizes `size`, whose windows dy must be."""
    check_image(op.name, dy, 0)
    check_size(op.name, size, dy.rank - 2)
    check_kind(op.name, dy, "f")
    x = dy.with_shape((dy.shape[0], *size, dy.shape[-1]))
    wanted = op.check(x, window, stride, low, high)
    expect(dy == wanted, f"{op.name}: spatial sizes {text(size)} give {wanted}, not {dy}", 0)
    return x


def _result(x: Ints, attrs: dict[str, Any]) -> Ints:
    counts = windows_of(*(attrs[name] for name in GEOMETRY)).counts(x[1:-1])
    return tuple(d for d in (x[0], *counts, x[-1]) if isinstance(d, int))


def _tap_count(attrs: dict[str, Any]) -> int:
    return int(np.prod(attrs["window"]))
