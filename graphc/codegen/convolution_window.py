"""Pooling, and convolution with one channel in each group: loops over pixels, vectors over channels, taps unrolled.

A result that stands for windows reads the image at window * stride + tap * dilation.  A result that is an image reads
all windows that an element lies in, phase by phase (graphc.codegen.convolution_phases).  Where there is only one
channel, vectors run along the last spatial axis instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from graphc.codegen import loops
from graphc.codegen.convolution import Body
from graphc.codegen.convolution_image import Image, bordered
from graphc.codegen.convolution_phases import AxisPhases, Phase, axis_phases
from graphc.codegen.epilogue import epilogue
from graphc.codegen.kernel import (
    Affine,
    Buffer,
    Call,
    Const,
    Fold,
    For,
    Load,
    Scalar,
    Select,
    Stmt,
    Store,
    Temp,
    Var,
    affine,
)
from graphc.codegen.scalars import linear
from graphc.ir.dims import product as product_of
from graphc.ir.node import Node
from graphc.ir.types import BOOL, I32

IMAGE_OPS = frozenset({"window_spread", "pool_spread", "conv_data"})
LOWEST = float("-inf")


def is_depthwise(node: Node) -> bool:
    """Whether every channel of a convolution has a group, and an output, of its own."""
    first, second = node.inputs
    x, y = {"conv": (first, node), "conv_data": (node, first), "conv_weights": (first, second)}[node.op]
    return bool(node.attr("groups") == x.shape[-1] == y.shape[-1])


def build(node: Node, outputs: Mapping[Node, Buffer], inputs: Mapping[Node, Buffer]) -> Body:
    """(statements, scratch buffers) of a group around a pooling op or a depthwise convolution."""
    nest = _Nest(node, outputs, inputs)
    body = nest.weights() if node.op == "conv_weights" else nest.image() if node.op in IMAGE_OPS else nest.windows()
    return body, nest.scratch


@dataclass(frozen=True)
class _Tap:
    """One tap: its number in row-major order, its index along every axis, and where it is read."""

    number: int
    index: tuple[int, ...]
    at: tuple[Affine, ...]


class _Nest:
    def __init__(self, node: Node, outputs: Mapping[Node, Buffer], inputs: Mapping[Node, Buffer]) -> None:
        self.node, self.outputs, self.inputs = node, outputs, inputs
        self.first = inputs[node.inputs[0]]
        self.second = inputs[node.inputs[1]] if len(node.inputs) > 1 else None
        self.stride, self.low, self.high = (node.attr(name) for name in ("stride", "low", "high"))
        self.rank = len(self.stride)
        if node.op.startswith("conv"):
            weights = node if node.op == "conv_weights" else node.inputs[1]
            self.size, self.dilation = weights.shape[:-2], node.attr("dilation")
        else:
            self.size, self.dilation = node.attr("window"), (1,) * self.rank
        self.n = Var("n", self.first.shape[0])
        self.channel = Var("c", self.first.shape[-1])
        self.scratch: list[Buffer] = []

    # ---- results that stand for windows ------------------------------------------------------------------------------

    def windows(self) -> tuple[Stmt, ...]:
        low, high = self.low, self.high
        fill = LOWEST if self.node.op in ("max_pool", "argmax_pool") else 0.0
        image = self.bordered(self.first, low, high, fill)
        pixel = [Var(f"o{axis}", extent) for axis, extent in enumerate(self.node.shape[1:-1])]
        taps = []
        for number, index in enumerate(product(*map(range, self.size))):
            rows = zip(pixel, self.stride, index, self.dilation, strict=True)
            taps.append(_Tap(number, index, tuple(affine(o) * s + k * d for o, s, k, d in rows)))
        at = (affine(self.n), *map(affine, pixel), affine(self.channel))
        stores = epilogue(self.node, self.outputs, self.inputs, at, self._of_window(image, taps, at))
        return (*image.before, For(self.n, (*image.each, *self.loops(pixel, stores))))

    def _of_window(self, image: Image, taps: list[_Tap], at: tuple[Affine, ...]) -> Scalar:
        """The value of one window from its elements."""
        dtype = self.first.dtype
        elements = [Load(dtype, image.buffer, image.at(*t.at, affine(self.channel))) for t in taps]
        match self.node.op:
            case "window_sum":
                return _folded("add", elements)
            case "max_pool":
                return _folded("max", elements)
            case "argmax_pool":
                return _first_greatest(elements)
            case "pool_pick":
                assert self.second is not None
                place = Load(I32, self.second, linear(self.second, at))
                value: Scalar = Const(dtype, 0.0)
                for tap, element in zip(taps, elements, strict=True):
                    value = Select(dtype, _is(place, tap.number), element, value)
                return value
        return self._weighted(taps, elements)

    def _weighted(self, taps: list[_Tap], elements: list[Load]) -> Scalar:
        """The sum of elements times their weights, one after the other."""
        assert self.second is not None
        strides, total = self.second.strides(), None
        for tap, element in zip(taps, elements, strict=True):
            place = affine(self.channel) + sum(k * s for k, s in zip(tap.index, strides, strict=False))
            weight = Load(element.dtype, self.second, place)
            args = (element, weight) if total is None else (element, weight, total)
            total = Call(element.dtype, "mul" if total is None else "fma", args)
        assert total is not None, "a window has a tap"
        return total

    # ---- results that are images -------------------------------------------------------------------------------------

    def image(self) -> tuple[Stmt, ...]:
        rows = zip(self.node.shape[1:-1], self.size, self.stride, self.low, self.high, self.dilation, strict=True)
        axes = [axis_phases(*row) for row in rows]
        low, high = tuple(x.low for x in axes), tuple(x.high for x in axes)
        cotangent = self.bordered(self.first, low, high, 0.0)
        images = [cotangent]
        if self.node.op == "pool_spread":
            assert self.second is not None
            images.append(self.bordered(self.second, low, high, -1, "places"))
        before = tuple(s for x in images for s in x.before)
        each = tuple(s for x in images for s in x.each)
        return (*before, For(self.n, (*each, *self._phases(images, axes, [], []))))

    def _phases(
        self, images: list[Image], axes: list[AxisPhases], chosen: list[Phase], pixel: list[Var]
    ) -> tuple[Stmt, ...]:
        """The statements for all phases of the axes that are not chosen yet."""
        axis = len(chosen)
        found: list[Stmt] = []
        for number, phase in enumerate(axes[axis].phases):
            phases, every = [*chosen, phase], [*pixel, Var(f"j{axis}p{number}", phase.count)]
            if axis < self.rank - 1:
                found.append(For(every[-1], self._phases(images, axes, phases, every)))
                continue
            places = zip(every, self.stride, phases, strict=True)
            at = (affine(self.n), *(affine(j) * s + p.first for j, s, p in places), affine(self.channel))
            taps = list(self._taps_of(phases, every, axes))
            stores = epilogue(self.node, self.outputs, self.inputs, at, self._of_element(images, taps))
            found += self.loops(every[-1:], stores)
        return tuple(found)

    def _taps_of(self, phases: list[Phase], pixel: list[Var], axes: list[AxisPhases]) -> Iterator[_Tap]:
        """The taps that meet the elements of a phase, and the windows (of the bordered cotangent) they are taps of."""
        for turns in product(*(range(p.taps) for p in phases)):
            index = tuple(p.tap + p.tap_step * t for p, t in zip(phases, turns, strict=True))
            number = 0
            for k, size in zip(index, self.size, strict=True):
                number = number * size + k
            rows = zip(pixel, phases, turns, axes, strict=True)
            yield _Tap(number, index, tuple(affine(j) + (p.window - p.window_step * t + x.low) for j, p, t, x in rows))

    def _of_element(self, images: list[Image], taps: list[_Tap]) -> Scalar:
        """The value of one element from the windows it lies in."""
        dtype, channel = self.first.dtype, affine(self.channel)
        if not taps:
            return Const(dtype, 0.0)
        elements = [Load(dtype, images[0].buffer, images[0].at(*t.at, channel)) for t in taps]
        if self.node.op == "conv_data":
            return self._weighted(taps, elements)
        if self.node.op == "window_spread":
            return _folded("add", elements)
        places = [Load(I32, images[1].buffer, images[1].at(*t.at, channel)) for t in taps]
        zero = Const(dtype, 0.0)
        rows = zip(taps, places, elements, strict=True)
        return _folded("add", [Select(dtype, _is(place, tap.number), x, zero) for tap, place, x in rows])

    # ---- the weights of a depthwise convolution ----------------------------------------------------------------------

    def weights(self) -> tuple[Stmt, ...]:
        """Sums over the pixels of an image for every tap, added up image by image."""
        assert self.second is not None
        node, dy = self.node, self.second
        image = self.bordered(self.first, self.low, self.high, 0.0)
        total = self.outputs.get(node) or Buffer("total", node.dtype, node.shape, "scratch")
        if total.role == "scratch":
            self.scratch.append(total)
        fill = Var("z", product_of(node.shape))
        clear = For(fill, (Store(total, affine(fill), Const(node.dtype, 0.0)),), vector=True)
        taps = [Var(f"k{axis}", extent) for axis, extent in enumerate(self.size)]
        pixel = [Var(f"o{axis}", extent) for axis, extent in enumerate(dy.shape[1:-1])]
        rows = zip(pixel, self.stride, taps, self.dilation, strict=True)
        x = image.at(*(affine(o) * s + affine(k) * d for o, s, k, d in rows), affine(self.channel))
        y = linear(dy, (affine(self.n), *map(affine, pixel), affine(self.channel)))
        value = Call(node.dtype, "mul", (Load(node.dtype, image.buffer, x), Load(node.dtype, dy, y)))
        along = self.is_along_row
        sums, result = _sum_over(pixel, value, along)
        place = affine(self.channel)
        for k, stride in zip(taps, total.strides(), strict=False):
            place = place + affine(k) * stride
        body: Stmt = For(self.channel, (sums, Store(total, place, result, add=True)), vector=not along)
        for k in reversed(taps):
            body = For(k, (body,))
        after: tuple[Stmt, ...] = ()
        rest = {x: buffer for x, buffer in self.outputs.items() if x is not node}
        if rest:
            after, more = loops.build(rest, {**self.inputs, node: total})
            self.scratch += more
        return (clear, *image.before, For(self.n, (*image.each, body)), *after)

    # ---- loops -------------------------------------------------------------------------------------------------------

    @property
    def is_along_row(self) -> bool:
        """Whether vectors run along the last spatial axis, because there is one channel alone."""
        return self.channel.extent == 1

    def loops(self, pixel: list[Var], stores: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
        """Loops over pixels and channels, one of them by vector."""
        along = self.is_along_row
        body: Stmt = For(self.channel, stores, vector=not along)
        for axis, var in reversed(list(enumerate(pixel))):
            body = For(var, (body,), vector=along and axis == len(pixel) - 1)
        return (body,)

    def bordered(
        self, x: Buffer, low: tuple[int, ...], high: tuple[int, ...], value: float, name: str = "image"
    ) -> Image:
        image = bordered(x, self.n, low, high, value, name)
        self.scratch += image.scratch
        return image


def _folded(op: str, values: list[Load] | list[Select]) -> Scalar:
    total: Scalar = values[0]
    for value in values[1:]:
        total = Call(value.dtype, op, (total, value))
    return total


def _first_greatest(values: list[Load]) -> Scalar:
    """The number (i32) of the first greatest value; a NaN is greater than all."""
    best: Scalar = values[0]
    place: Scalar = Const(I32, 0)
    for number, value in enumerate(values[1:], 1):
        not_below = Call(BOOL, "not", (Call(BOOL, "le", (value, best)),))  # greater, or a NaN
        better = Call(BOOL, "and", (not_below, Call(BOOL, "eq", (best, best))))
        place = Select(I32, better, Const(I32, number), place)
        best = Select(value.dtype, better, value, best)
    return place


def _is(place: Scalar, number: int) -> Scalar:
    return Call(BOOL, "eq", (place, Const(I32, number)))


def _sum_over(variables: list[Var], value: Scalar, vector: bool) -> tuple[For, Temp]:
    """(loops, the sum of the value over them); the innermost loop by vector if asked."""
    loop: For | None = None
    for depth, var in enumerate(reversed(variables)):
        temp = Temp(value.dtype, f"sum{depth}")
        fold = Fold(temp, "add", 0.0, value)
        loop = For(var, () if loop is None else (loop,), vector=vector and depth == 0, folds=(fold,))
        value = temp
    assert loop is not None and isinstance(value, Temp)
    return loop, value


__all__ = ["build", "is_depthwise"]
