"""Convolution and pooling: images [batch, spatial .., channels], weights [taps .., channels, outputs].

`pad` is `valid` (no padding), `same` (as many windows as the stride leaves of the axis: ceil(n / stride); the odd
element of padding lies behind), a number for all sides, or a pair (before, behind) for each spatial axis.
"""

from __future__ import annotations

from math import prod

import numpy as np

from graphc.frontend.call import Site, Wrong
from graphc.frontend.dimension import product_attrs
from graphc.frontend.functions import function
from graphc.frontend.literal import _static
from graphc.frontend.static import setting
from graphc.frontend.values import Many, Tensor, Value, Word, tensor
from graphc.ir.dims import Dim
from graphc.ir.node import ConstArray, Node, constant, make
from graphc.ir.types import TensorType
from graphc.ops.build import broadcast, operand, reduce, where
from graphc.ops.pooling import windows_of

Ints = tuple[int, ...]
MOST_TAPS = 36  # of a window that is computed at once; a larger one goes axis by axis


def image(site: Site) -> tuple[Tensor, tuple[Dim, ...]]:
    """The image `x`, and its spatial sizes."""
    x = site.tensor("x", "f")
    if not 3 <= x.rank <= 5:
        title = f"`{site.name}` works on [batch, 1 to 3 spatial axes, channels], not on {x}"
        site.error("GC0204", title, site.where("x"))
        raise Wrong
    return x, x.shape[1:-1]


def _given(site: Site, name: str) -> Value:
    """A setting that may be a word or a list."""
    argument = site.arguments[name]
    if isinstance(argument, Many):
        return argument
    from graphc.frontend import syntax as s

    if isinstance(argument, s.Expression):
        argument = setting(site.shared, site.frame, argument)
        site.arguments[name] = argument
    return site.operand(name).value


def _integer(site: Site, name: str, value: Value, least: int) -> int:
    number = _static(value)
    if isinstance(number, bool) or not isinstance(number, int):
        if site.shared.is_symbolic_check:
            raise Wrong
        site.fail(name, "must be made of integers known at compile time")
        raise Wrong
    if not least <= number < 1 << 31:
        site.fail(name, f"must be at least {least}, not {number}")
        raise Wrong
    return number


def per_axis(site: Site, name: str, rank: int, default: Ints) -> Ints:
    """A positive integer for each spatial axis; one alone stands for all."""
    if not site.has(name):
        return default
    value = _given(site, name)
    if not isinstance(value, Many):
        return (_integer(site, name, value, 1),) * rank
    _check_length(site, name, value, rank)
    return tuple(_integer(site, name, item, 1) for item in value.items)


def _check_length(site: Site, name: str, value: Many, rank: int) -> None:
    if len(value.items) != rank:
        site.fail(name, f"needs {rank} entries, one for each spatial axis, not {len(value.items)}")
        raise Wrong


def padding(site: Site, spatial: tuple[Dim, ...], spans: Ints, stride: Ints) -> tuple[Ints, Ints] | None:
    """(before, behind) for every spatial axis; None for `same`."""
    rank = len(spatial)
    value: Value = _given(site, "pad") if site.has("pad") else Word("valid")
    if isinstance(value, Word):
        if value.text not in ("same", "valid"):
            site.fail("pad", "is same, valid, a number, or a list of pairs (before, behind)")
            raise Wrong
        return None if value.text == "same" else ((0,) * rank, (0,) * rank)
    if not isinstance(value, Many):
        sides = (_integer(site, "pad", value, 0),) * rank
        return sides, sides
    _check_length(site, "pad", value, rank)
    pairs = []
    for item in value.items:
        pair = item.items if isinstance(item, Many) else (item, item)
        if len(pair) != 2:
            site.fail("pad", "must hold pairs (before, behind)")
            raise Wrong
        pairs.append(tuple(_integer(site, "pad", side, 0) for side in pair))
    return tuple(p[0] for p in pairs), tuple(p[1] for p in pairs)


def same_padding(site: Site, spatial: tuple[Dim, ...], spans: Ints, stride: Ints) -> tuple[Ints, Ints]:
    """The padding with which there are ceil(n / stride) windows along each axis."""
    low: list[int] = []
    high: list[int] = []
    for n, span, step in zip(spatial, spans, stride, strict=True):
        if step == 1:
            total = span - 1
        elif isinstance(n, int):
            total = max(0, (-(-n // step) - 1) * step + span - n)
        else:
            site.fail("pad", f"cannot be `same` with a stride of {step}: {n} is not known at compile time")
            raise Wrong
        low.append(total // 2)
        high.append(total - total // 2)
    return tuple(low), tuple(high)


def _taps(site: Site, x: Tensor) -> tuple[Node, Ints]:
    """The weights `w`, and how many taps they have along each spatial axis."""
    w = site.tensor("w", "f")
    if w.rank != x.rank:
        title = f"the weights of {x} are [{x.rank - 2} axes of taps, channels, outputs], not {w}"
        also = [(site.where("x"), str(x)), *site.operand("x").origins()]
        site.shared.error("GC0201", title, site.where("w"), str(w), also=also)
        raise Wrong
    taps = tuple(d for d in w.shape[:-2] if isinstance(d, int))
    if len(taps) < w.rank - 2:
        if not site.shared.is_symbolic_check:
            site.fail("w", f"must have numbers of taps known at compile time, not {w}")
        raise Wrong
    return w.node, taps


def _spans(taps: Ints, dilation: Ints) -> Ints:
    return tuple((k - 1) * d + 1 for k, d in zip(taps, dilation, strict=True))


@function("conv(x, w, stride=, pad=, dilation=, groups=, flip=)")
def _conv(site: Site) -> Value:
    """y[n, o, f] = sum of x[n, o * stride - before + t * dilation, c] * w[t, c, f]; flip turns the taps round."""
    x, spatial = image(site)
    w, taps = _taps(site, x)
    ones = (1,) * len(spatial)
    stride, dilation = per_axis(site, "stride", len(spatial), ones), per_axis(site, "dilation", len(spatial), ones)
    spans = _spans(taps, dilation)
    low, high = padding(site, spatial, spans, stride) or same_padding(site, spatial, spans, stride)
    if site.flag("flip"):
        w = make("reverse", w, axes=tuple(range(len(spatial))))
    groups = site.integer("groups", 1, 1)
    attrs = {"stride": stride, "low": low, "high": high, "dilation": dilation, "groups": groups}
    return site.make("conv", x.node, w, **attrs, **product_attrs(site.shared, site.frame, x.dtype))


@function("conv_transpose(x, w, stride=, pad=, dilation=, groups=)")
def _conv_transpose(site: Site) -> Value:
    """The transposed convolution: every element of x adds its multiple of w to a window of the result.

    An axis of n becomes (n - 1) * stride + (taps - 1) * dilation + 1 less the padding, or n * stride for `same`.
    """
    x, spatial = image(site)
    w, taps = _taps(site, x)
    ones = (1,) * len(spatial)
    stride, dilation = per_axis(site, "stride", len(spatial), ones), per_axis(site, "dilation", len(spatial), ones)
    spans, groups = _spans(taps, dilation), site.integer("groups", 1, 1)
    pads = padding(site, spatial, spans, stride)
    if pads is None:
        total = [max(0, span - step) for span, step in zip(spans, stride, strict=True)]
        pads = tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
        size = tuple(n * step for n, step in zip(spatial, stride, strict=True))
    else:
        rows = zip(spatial, stride, spans, *pads, strict=True)
        size = tuple((n - 1) * step + span - a - b for n, step, span, a, b in rows)
        if any(isinstance(n, int) and n < 1 for n in size):
            site.fail("pad", f"leaves nothing of {[(n + a + b) for n, a, b in zip(size, *pads, strict=True)]}")
            raise Wrong
    turned = _exchanged(site, w, groups)
    attrs = {"stride": stride, "low": pads[0], "high": pads[1], "dilation": dilation, "groups": groups}
    return site.make("conv_data", x.node, turned, size=size, **attrs, **product_attrs(site.shared, site.frame, x.dtype))


def _exchanged(site: Site, w: Node, groups: int) -> Node:
    """[taps .., channels of a group, outputs] as [taps .., outputs of a group, channels]."""
    taps, (channels, outputs) = w.shape[:-2], w.shape[-2:]
    if groups == 1:
        rank = len(w.shape)
        return make("transpose", w, perm=(*range(rank - 2), rank - 1, rank - 2))
    if not isinstance(outputs, int) or outputs % groups:
        site.fail("groups", f"must divide the {outputs} outputs")
        raise Wrong
    parts = make("reshape", w, shape=(*taps, channels, groups, outputs // groups))
    k = len(taps)
    moved = make("transpose", parts, perm=(*range(k), k + 2, k + 1, k))
    return make("reshape", moved, shape=(*taps, outputs // groups, channels * groups))


def _pool_attrs(site: Site, spatial: tuple[Dim, ...]) -> dict[str, Ints]:
    rank = len(spatial)
    window = per_axis(site, "size", rank, ())
    stride = per_axis(site, "stride", rank, window)
    low, high = padding(site, spatial, window, stride) or same_padding(site, spatial, window, stride)
    return {"window": window, "stride": stride, "low": low, "high": high}


def _pooled(site: Site, op: str, x: Node, attrs: dict[str, Ints]) -> Node:
    """The op on all windows; large windows along one axis after the other, the last one first."""
    rank = len(attrs["window"])
    if prod(attrs["window"]) <= MOST_TAPS or rank == 1:
        return site.make(op, x, **attrs).node
    neutral = {"window": 1, "stride": 1, "low": 0, "high": 0}
    for axis in reversed(range(rank)):
        one = {k: tuple(v[axis] if i == axis else neutral[k] for i in range(rank)) for k, v in attrs.items()}
        x = site.make(op, x, **one).node
    return x


@function("max_pool(x, size, stride=, pad=)")
def _max_pool(site: Site) -> Value:
    """The greatest element of each window; the stride is the size unless it is given."""
    x, spatial = image(site)
    return tensor(_pooled(site, "max_pool", x.node, _pool_attrs(site, spatial)))


@function("avg_pool(x, size, stride=, pad=, count_padding=)")
def _avg_pool(site: Site) -> Value:
    """The mean of each window; padding is no part of it unless count_padding says so."""
    x, spatial = image(site)
    attrs = _pool_attrs(site, spatial)
    total = _pooled(site, "window_sum", x.node, attrs)
    padded = any(attrs["low"]) or any(attrs["high"])
    if site.flag("count_padding") or not padded:
        return tensor(total / operand(float(prod(attrs["window"])), total))
    return tensor(total / broadcast(_counts(x, spatial, attrs), total.shape, tuple(range(1, 1 + len(spatial)))))


def _counts(x: Tensor, spatial: tuple[Dim, ...], attrs: dict[str, Ints]) -> Node:
    """How many elements of the image each window holds, [windows along each axis ..]."""
    counts = windows_of(**attrs).counts(spatial)
    sizes = [n for n in spatial if isinstance(n, int)]
    if len(sizes) < len(spatial):
        ones = constant(1.0, TensorType(x.dtype, (1, *spatial, 1)))
        return make("reshape", make("window_sum", ones, **attrs), shape=counts)
    total = np.ones(())
    for axis, (n, count) in enumerate(zip(sizes, counts, strict=True)):
        start = np.arange(count) * attrs["stride"][axis] - attrs["low"][axis]  # type: ignore[arg-type]
        held = np.minimum(start + attrs["window"][axis], n) - np.maximum(start, 0)
        total = total[..., None] * held
    data = total.astype(x.dtype.numpy.newbyteorder("<")).tobytes()
    return constant(ConstArray(x.dtype, counts, data), TensorType(x.dtype, counts))  # type: ignore[arg-type]


@function("lp_pool(x, size, p=, stride=, pad=)")
def _lp_pool(site: Site) -> Value:
    """(sum of |x| ** p) ** (1 / p) of each window, p = 2 unless it is given; its gradient is 0 where all are 0."""
    x, spatial = image(site)
    p = float(site.number("p", 2))
    if not p >= 1:
        site.fail("p", f"must be at least 1, not {p}")
        raise Wrong
    size = make("abs", x.node)
    power = size if p == 1 else size * size if p == 2 else make("pow", size, operand(p, size))
    total = _pooled(site, "window_sum", power, _pool_attrs(site, spatial))
    if p == 1:
        return tensor(total)
    is_zero = make("eq", total, operand(0.0, total))
    safe = where(is_zero, 1.0, total)
    root = make("sqrt", safe) if p == 2 else make("pow", safe, operand(1.0 / p, safe))
    return tensor(where(is_zero, 0.0, root))


@function("global_max_pool(x)")
def _global_max_pool(site: Site) -> Value:
    """The greatest element of each channel: [batch, channels]."""
    x, spatial = image(site)
    return site.make("reduce_max", x.node, axes=tuple(range(1, 1 + len(spatial))))


@function("global_avg_pool(x)")
def _global_avg_pool(site: Site) -> Value:
    """The mean of each channel: [batch, channels]."""
    from graphc.frontend.functions_reduction import mean_of

    x, spatial = image(site)
    axes = tuple(range(1, 1 + len(spatial)))
    return tensor(mean_of(reduce("sum", x.node, *axes), x, axes))
