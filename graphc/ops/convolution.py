"""Convolution over 1 to 3 spatial axes, and its two gradients.

All three are one trilinear form sum(x * w * dy) with one operand left out, so each is the derivative of the others:

    conv(x, w) = y      y[n, o, f] = sum over taps t, channels c of x[n, o*stride - low + t*dilation, c] * w[t, c, f]
    conv_data(dy, w)    the same sum for x: a transposed convolution
    conv_weights(x, dy) the same sum for w

Images are [batch, spatial .., channels], weights [taps .., channels of a group, output channels].  Weights are not
turned round: this is the correlation that networks call convolution.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from graphc.ir.dims import Dim
from graphc.ir.node import Node, make
from graphc.ir.types import F64, TensorType
from graphc.ops.bfloat import Products, elements_attr
from graphc.ops.convolution_rules import (
    Ints,
    Windows,
    check_groups,
    check_image,
    check_size,
    check_windows,
)
from graphc.ops.op import Array, Cotangents, Sample, expect, register
from graphc.ops.rules import check_kind, text

GEOMETRY = ("stride", "low", "high", "dilation", "groups")
DOMAIN = (-0.5, 2.0)  # of the samples: sums that do not cancel


def _geometry(node: Node) -> dict[str, Any]:
    """The attributes that all three operations of one convolution share."""
    return {name: node.attr(name) for name in GEOMETRY} | elements_attr(node)


def check_conv(op: str, x: TensorType, w: TensorType, windows: Windows, groups: int, positions: Ints) -> TensorType:
    """The type of conv(x, w); `positions` are those of the operands at fault."""
    check_image(op, x, positions[0])
    check_kind(op, w, "f", positions[1])
    expect(x.dtype == w.dtype, f"{op} needs one element type, got {x} and {w}", *positions, hint="use cast")
    fits = w.rank == x.rank and all(isinstance(d, int) for d in w.shape[:-2])
    expect(fits, f"{op}: the weights of {x} are [taps .., channels of a group, output channels], not {w}", *positions)
    check_windows(op, x, x.shape[1:-1], windows, positions[0])
    check_groups(op, groups, x.shape[-1], w.shape[-1])
    channels = x.shape[-1] if groups == 1 else x.shape[-1] // groups
    expect(
        channels == w.shape[-2],
        f"{op}: {x} has {channels} channels in a group, but the weights {w} have {w.shape[-2]}",
        *positions,
    )
    return x.with_shape((x.shape[0], *windows.counts(x.shape[1:-1]), w.shape[-1]))


def _taps(size: Ints, counts: Ints, stride: Ints, dilation: Ints) -> Iterator[tuple[Ints, tuple[slice, ...]]]:
    """Every tap with the places of a padded image that it meets."""
    for tap in product(*map(range, size)):
        rows = zip(tap, counts, stride, dilation, strict=True)
        yield tap, tuple(slice(t * d, t * d + (n - 1) * s + 1, s) for t, n, s, d in rows)


def _padded(x: Array, low: Ints, high: Ints) -> Array:
    return np.pad(x, ((0, 0), *zip(low, high, strict=True), (0, 0)))


def _grouped(x: Array, groups: int) -> Array:
    """The last axis as (group, channel of the group)."""
    return x.reshape(*x.shape[:-1], groups, -1)


@register
class Conv(Products):
    """conv(x, w, stride, low, high, dilation, groups): each output pixel is a weighted sum over a window of x.

    x is [batch, spatial .., channels] with 1 to 3 spatial axes, w [taps .., channels / groups, outputs], both of one
    float type.  All attributes but groups have a number for each spatial axis; `low` and `high` zeros are imagined
    around x.  The result has floor((low + n + high - (taps - 1) * dilation - 1) / stride) + 1 elements along a spatial
    axis.  The channels of x and of the result are cut into `groups` equal parts that do not meet; groups equal to
    the channels is a depthwise convolution.
    """

    name = "conv"
    kernel = "convolution"

    def type_of(  # type: ignore[override]
        self, x: TensorType, w: TensorType, *, stride: Ints, low: Ints, high: Ints, dilation: Ints, groups: int
    ) -> TensorType:
        return check_conv("conv", x, w, Windows(w.shape[:-2], stride, low, high, dilation), groups, (0, 1))  # type: ignore[arg-type]

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        (x, w), geometry = node.inputs, _geometry(node)
        return (
            make("conv_data", dy, w, size=x.shape[1:-1], **geometry),
            make("conv_weights", x, dy, size=w.shape[:-2], **geometry),
        )

    def sums(  # type: ignore[override]
        self, x: Array, w: Array, *, stride: Ints, low: Ints, high: Ints, dilation: Ints, groups: int
    ) -> Array:
        counts = Windows(w.shape[:-2], stride, low, high, dilation).counts(x.shape[1:-1])
        padded, weights = _grouped(_padded(x, low, high), groups), _split(w, groups)
        y = np.zeros((x.shape[0], *counts, groups, w.shape[-1] // groups), x.dtype)
        for tap, places in _taps(w.shape[:-2], counts, stride, dilation):  # type: ignore[arg-type]
            y += np.einsum("n...gi,igo->n...go", padded[(slice(None), *places)], weights[tap])
        return y.reshape(*y.shape[:-2], -1)

    def samples(self, size: int) -> Iterator[Sample]:
        for x, w, attrs in _cases(size):
            yield Sample((TensorType(F64, x), TensorType(F64, w)), attrs, DOMAIN)


@register
class ConvData(Products):
    """conv_data(dy, w, size, stride, low, high, dilation, groups): the transposed convolution.

    The gradient of `conv` by an x of spatial sizes `size`: every element of dy adds its multiple of w to a window.
    """

    name = "conv_data"
    kernel = "convolution"

    def type_of(  # type: ignore[override]
        self,
        dy: TensorType,
        w: TensorType,
        *,
        size: tuple[Dim, ...],
        stride: Ints,
        low: Ints,
        high: Ints,
        dilation: Ints,
        groups: int,
    ) -> TensorType:
        check_image("conv_data", dy, 0)
        check_size("conv_data", size, dy.rank - 2)
        expect(w.rank == dy.rank, f"conv_data: {w} are no weights for {dy}", 0, 1)
        channels = w.shape[-2] * groups if type(groups) is int else 0
        x = dy.with_shape((dy.shape[0], *size, channels))
        windows = Windows(w.shape[:-2], stride, low, high, dilation)  # type: ignore[arg-type]
        wanted = check_conv("conv_data", x, w, windows, groups, (0, 1))
        expect(dy == wanted, f"conv_data: spatial sizes {text(size)} give {wanted}, not {dy}", 0)
        return x

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        (y, w), geometry = node.inputs, _geometry(node)
        return make("conv", dy, w, **geometry), make("conv_weights", dy, y, size=w.shape[:-2], **geometry)

    def sums(  # type: ignore[override]
        self,
        dy: Array,
        w: Array,
        *,
        size: Ints,
        stride: Ints,
        low: Ints,
        high: Ints,
        dilation: Ints,
        groups: int,
    ) -> Array:
        weights, cotangent = _split(w, groups), _grouped(dy, groups)
        lengths = [n + a + b for n, a, b in zip(size, low, high, strict=True)]
        dx = np.zeros((dy.shape[0], *lengths, groups, w.shape[-2]), dy.dtype)
        for tap, places in _taps(w.shape[:-2], dy.shape[1:-1], stride, dilation):
            dx[(slice(None), *places)] += np.einsum("n...go,igo->n...gi", cotangent, weights[tap])
        inside = tuple(slice(a, a + n) for a, n in zip(low, size, strict=True))
        return np.ascontiguousarray(dx[(slice(None), *inside)]).reshape(dy.shape[0], *size, -1)

    def samples(self, size: int) -> Iterator[Sample]:
        for x, w, attrs in _cases(size):
            y = _result(x, w, attrs)
            yield Sample((TensorType(F64, y), TensorType(F64, w)), {"size": x[1:-1], **attrs}, DOMAIN)


@register
class ConvWeights(Products):
    """conv_weights(x, dy, size, stride, low, high, dilation, groups): the gradient of `conv` by weights of `size` taps.

    Sums over all pixels of an image, then over the images, in this order.
    """

    name = "conv_weights"
    kernel = "convolution"

    def type_of(  # type: ignore[override]
        self,
        x: TensorType,
        dy: TensorType,
        *,
        size: Ints,
        stride: Ints,
        low: Ints,
        high: Ints,
        dilation: Ints,
        groups: int,
    ) -> TensorType:
        check_image("conv_weights", x, 0)
        check_image("conv_weights", dy, 1)
        check_size("conv_weights", size, x.rank - 2)
        check_groups("conv_weights", groups, x.shape[-1], dy.shape[-1])
        channels = x.shape[-1] if groups == 1 else x.shape[-1] // groups
        w = x.with_shape((*size, channels, dy.shape[-1]))
        windows = Windows(size, stride, low, high, dilation)
        wanted = check_conv("conv_weights", x, w, windows, groups, (0, 1))
        expect(dy == wanted, f"conv_weights: {x} by {text(size)} taps gives {wanted}, not {dy}", 0, 1)
        return w

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        (x, y), geometry = node.inputs, _geometry(node)
        return make("conv_data", y, dy, size=x.shape[1:-1], **geometry), make("conv", x, dy, **geometry)

    def sums(  # type: ignore[override]
        self,
        x: Array,
        dy: Array,
        *,
        size: Ints,
        stride: Ints,
        low: Ints,
        high: Ints,
        dilation: Ints,
        groups: int,
    ) -> Array:
        padded, cotangent = _grouped(_padded(x, low, high), groups), _grouped(dy, groups)
        dw = np.empty((*size, x.shape[-1] // groups, dy.shape[-1]), x.dtype)
        for tap, places in _taps(size, dy.shape[1:-1], stride, dilation):
            part = np.einsum("n...gi,n...go->igo", padded[(slice(None), *places)], cotangent, optimize=True)
            dw[tap] = part.reshape(dw.shape[-2:])
        return dw

    def samples(self, size: int) -> Iterator[Sample]:
        for x, w, attrs in _cases(size):
            y = _result(x, w, attrs)
            yield Sample((TensorType(F64, x), TensorType(F64, y)), {"size": w[:-2], **attrs}, DOMAIN)


def _split(w: Array, groups: int) -> Array:
    """Weights as [taps .., channel of the group, group, output of the group]."""
    return w.reshape(*w.shape[:-1], groups, -1)


def _result(x: Ints, w: Ints, attrs: dict[str, Any]) -> Ints:
    windows = Windows(w[:-2], *(attrs[name] for name in GEOMETRY[:-1]))
    return _ints((x[0], *windows.counts(x[1:-1]), w[-1]))


def _ints(shape: tuple[Dim, ...]) -> Ints:
    return tuple(d for d in shape if isinstance(d, int))


def _cases(size: int) -> Iterator[tuple[Ints, Ints, dict[str, Any]]]:
    """Shapes of x and w with attributes: lengths, channels and outputs grow with `size` in turn."""

    def case(stride: Ints, low: Ints, high: Ints, dilation: Ints, groups: int = 1) -> dict[str, Any]:
        return dict(zip(GEOMETRY, (stride, low, high, dilation, groups), strict=True))

    yield (2, size + 2, 2), (3, 2, 3), case((1,), (0,), (0,), (1,))
    yield (1, 5, 4, 2), (3, 3, 2, size), case((1, 1), (1, 1), (1, 1), (1, 1))
    yield (2, 5, 6, size), (3, 2, size, 2), case((2, 3), (1, 0), (2, 1), (1, 2))
    yield (1, 4, 3, 2 * size), (2, 3, 1, 2 * size), case((2, 1), (0, 1), (1, 1), (1, 1), 2 * size)
    yield (1, 3, 2, 3, 4), (2, 2, 1, 2, 6), case((1, 2, 1), (0, 1, 0), (0, 1, 2), (2, 1, 1), 2)
