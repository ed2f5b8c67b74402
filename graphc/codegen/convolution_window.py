"""Pooling, and convolution with one channel in each group: loops over pixels, vectors over channels, taps unrolled.

Which elements a pixel of the result meets is said by graphc.codegen.convolution_runs.  Where there is only one channel,
vectors run along the last spatial axis instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TypeVar

from graphc.codegen import loops
from graphc.codegen.convolution import Body
from graphc.codegen.convolution_image import Image, bordered
from graphc.codegen.convolution_runs import Axis, Run, image_runs, window_runs
from graphc.codegen.epilogue import epilogue
from graphc.codegen.kernel import (
    Affine,
    Buffer,
    Call,
    Cast,
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
from graphc.ir.types import BOOL, I32, U8
from graphc.ops.bfloat import elements_of
from graphc.ops.pooling import GREATEST

IMAGE_OPS = frozenset({"window_spread", "pool_spread", "conv_data"})
LOWEST = float("-inf")
NO_TAP = {U8: 255, I32: -1}  # where there is no window
Found = tuple[Scalar, Scalar]  # a value, and its tap's number
T = TypeVar("T")


def is_depthwise(node: Node) -> bool:
    """Whether every channel of a convolution has a group, and an output, of its own."""
    first, second = node.inputs
    x, y = {"conv": (first, node), "conv_data": (node, first), "conv_weights": (first, second)}[node.op]
    return bool(node.attr("groups") == x.shape[-1] == y.shape[-1]) and elements_of(node) is None


def build(nodes: Sequence[Node], outputs: Mapping[Node, Buffer], inputs: Mapping[Node, Buffer]) -> Body:
    """(statements, scratch buffers) of a group around a depthwise convolution, or pooling ops of the same windows."""
    nest = _Nest(nodes, outputs, inputs)
    return (nest.weights() if nest.node.op == "conv_weights" else nest.pixels()), nest.scratch


@dataclass(frozen=True)
class _Tap:
    """One tap: its number in row-major order, its index along every axis, and where it is read."""

    number: int
    index: tuple[int, ...]
    at: tuple[Affine, ...]


class _Nest:
    def __init__(self, nodes: Sequence[Node], outputs: Mapping[Node, Buffer], inputs: Mapping[Node, Buffer]) -> None:
        node, self.nodes = nodes[0], nodes
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

    # ---- results for every pixel -------------------------------------------------------------------------------------

    def pixels(self) -> tuple[Stmt, ...]:
        """One loop nest for each combination of runs along the axes."""
        make = image_runs if self.node.op in IMAGE_OPS else window_runs
        attrs = zip(self.size, self.stride, self.low, self.high, self.dilation, strict=True)
        axes = [make(n, *given) for n, given in zip(self.node.shape[1:-1], attrs, strict=True)]
        low, high = tuple(x.low for x in axes), tuple(x.high for x in axes)
        images = [self.bordered(self.first, low, high, LOWEST if self.node.op in GREATEST else 0.0)]
        if self.node.op == "pool_spread":
            assert self.second is not None
            images.append(self.bordered(self.second, low, high, NO_TAP[self.second.dtype], "places"))
        before = tuple(s for x in images for s in x.before)
        each = tuple(s for x in images for s in x.each)
        return (*before, For(self.n, (*each, *self._runs(images, axes, [], []))))

    def _runs(self, images: list[Image], axes: list[Axis], chosen: list[Run], pixel: list[Var]) -> tuple[Stmt, ...]:
        """The statements for all runs of the axes that are not chosen yet."""
        axis = len(chosen)
        found: list[Stmt] = []
        for number, runs in enumerate(self._together(axes[axis].runs)):
            every = [*pixel, Var(f"o{axis}r{number}", runs[0].count)]
            if axis < self.rank - 1:
                inner = [self._runs(images, axes, [*chosen, run], every) for run in runs]
                found.append(For(every[-1], tuple(stmt for stmts in inner for stmt in stmts)))
                continue
            stores = [store for run in runs for store in self._pixel(images, axes, [*chosen, run], every)]
            found.append(self.row(every[-1], tuple(stores)))
        return tuple(found)

    def _together(self, runs: tuple[Run, ...]) -> list[tuple[Run, ...]]:
        """The runs that one loop takes: all of them if they are equally long and have few taps, else each alone."""
        alike = all(run.count == runs[0].count and run.taps == 1 for run in runs)
        return [runs] if alike else [(run,) for run in runs]

    def _pixel(self, images: list[Image], axes: list[Axis], runs: list[Run], pixel: list[Var]) -> tuple[Stmt, ...]:
        """The stores of one pixel of the runs."""
        spatial = (affine(j) * r.step + r.first for j, r in zip(pixel, runs, strict=True))
        at = (affine(self.n), *spatial, affine(self.channel))
        taps = list(self._taps(runs, pixel, axes))
        if self.node.op in GREATEST:
            values = self._greatest(images[0], taps)
            return epilogue(self.node, self.outputs, self.inputs, at, values[self.node], values)
        return epilogue(self.node, self.outputs, self.inputs, at, self._value(images, taps, at))

    def _greatest(self, image: Image, taps: list[_Tap]) -> dict[Node, Scalar]:
        """The greatest element of one window, or the number of its tap, or both."""
        channel = affine(self.channel)
        elements = [Load(self.first.dtype, image.buffer, image.at(*t.at, channel)) for t in taps]
        if [node.op for node in self.nodes] == ["max_pool"]:
            return {self.node: _greatest(elements)}
        best, place = _first_greatest(elements)
        return {node: best if node.op == "max_pool" else Cast(node.dtype, place) for node in self.nodes}

    def _taps(self, runs: list[Run], pixel: list[Var], axes: list[Axis]) -> Iterator[_Tap]:
        """The taps that meet a pixel of the result, in the order of the weights."""
        orders = [range(r.taps) if r.tap_step > 0 else range(r.taps - 1, -1, -1) for r in runs]
        for turns in product(*orders):
            index = tuple(r.tap + r.tap_step * t for r, t in zip(runs, turns, strict=True))
            number = 0
            for k, size in zip(index, self.size, strict=True):
                number = number * size + k
            rows = zip(pixel, runs, turns, axes, strict=True)
            at = (affine(j) * r.source_step + (r.source + r.source_tap_step * t + x.low) for j, r, t, x in rows)
            yield _Tap(number, index, tuple(at))

    def _value(self, images: list[Image], taps: list[_Tap], at: tuple[Affine, ...]) -> Scalar:
        """The value of one pixel from the elements that its taps meet."""
        dtype, channel = self.first.dtype, affine(self.channel)
        zero = Const(dtype, 0.0)
        elements = [Load(dtype, images[0].buffer, images[0].at(*t.at, channel)) for t in taps]
        if not taps:
            return zero
        match self.node.op:
            case "window_sum" | "window_spread":
                return _folded("add", elements)
            case "pool_pick":
                assert self.second is not None
                place = _tap(self.second, linear(self.second, at))
                value: Scalar = zero
                for tap, element in zip(taps, elements, strict=True):
                    value = Select(dtype, _is(place, tap.number), element, value)
                return value
            case "pool_spread":
                places = [_tap(images[1].buffer, images[1].at(*t.at, channel)) for t in taps]
                rows = zip(taps, places, elements, strict=True)
                return _folded("add", [Select(dtype, _is(place, t.number), x, zero) for t, place, x in rows])
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
        assert total is not None, "an element meets a tap"
        return total

    def row(self, pixel: Var, stores: tuple[Stmt, ...]) -> Stmt:
        """The loops over a row's pixels and their channels, one of them by vector.

        Weights are loaded once for a row, so that the loop over channels is outside of that over pixels then.
        """
        along = self.is_along_row
        if self.node.op.startswith("conv") or along:
            return For(self.channel, (For(pixel, stores, vector=along),), vector=not along)
        return For(pixel, (For(self.channel, stores, vector=True),))

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
        pixel = [Var(f"o{axis}", extent) for axis, extent in enumerate(dy.shape[1:-1])]
        y = Load(node.dtype, dy, linear(dy, (affine(self.n), *map(affine, pixel), affine(self.channel))))
        places: list[Affine] = []
        values: list[Scalar] = []
        for index in product(*map(range, self.size)):
            rows = zip(pixel, self.stride, index, self.dilation, strict=True)
            x = image.at(*(affine(o) * s + k * d for o, s, k, d in rows), affine(self.channel))
            values.append(Call(node.dtype, "mul", (Load(node.dtype, image.buffer, x), y)))
            places.append(affine(self.channel) + sum(k * s for k, s in zip(index, total.strides(), strict=False)))
        along = self.is_along_row
        sums, results = _sums_over(pixel, values, along)
        stores = [Store(total, at, result, add=True) for at, result in zip(places, results, strict=True)]
        body = For(self.channel, (sums, *stores), vector=not along)
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

    def bordered(
        self, x: Buffer, low: tuple[int, ...], high: tuple[int, ...], value: float, name: str = "image"
    ) -> Image:
        image = bordered(x, affine(self.n), low, high, value, name)
        self.scratch += image.scratch
        return image


def _folded(op: str, values: list[Load] | list[Select]) -> Scalar:
    total: Scalar = values[0]
    for value in values[1:]:
        total = Call(value.dtype, op, (total, value))
    return total


def _in_pairs(values: Sequence[T], combine: Callable[[T, T], T]) -> T:
    """All values combined, neighbours first: few of the steps wait for each other."""
    while len(values) > 1:
        pairs = [combine(*values[i : i + 2]) for i in range(0, len(values) - 1, 2)]
        values = [*pairs, *values[2 * len(pairs) :]]
    return values[0]


def _greatest(values: Sequence[Scalar]) -> Scalar:
    """The greatest value; a NaN is greater than all, and of zeros it is the first."""
    return _in_pairs(values, lambda left, right: Call(left.dtype, "max", (right, left)))


def _first_greatest(values: Sequence[Scalar]) -> Found:
    """(the greatest value, the number of the first such one as an i32); a NaN is greater than all."""

    def better(left: Found, right: Found) -> Found:
        (a, before), (b, behind) = left, right
        not_below = Call(BOOL, "not", (Call(BOOL, "le", (b, a)),))  # greater, or one of them a NaN
        is_right = Call(BOOL, "and", (not_below, Call(BOOL, "eq", (a, a))))
        return Select(a.dtype, is_right, b, a), Select(I32, is_right, behind, before)

    numbered: list[Found] = [(value, Const(I32, number)) for number, value in enumerate(values)]
    return _in_pairs(numbered, better)


def _tap(places: Buffer, at: Affine) -> Scalar:
    """The number of a tap as an i32: as wide as an element, so that masks of both are alike."""
    return Cast(I32, Load(places.dtype, places, at))


def _is(place: Scalar, number: int) -> Scalar:
    return Call(BOOL, "eq", (place, Const(I32, number)))


def _sums_over(variables: list[Var], values: list[Scalar], vector: bool) -> tuple[For, list[Scalar]]:
    """(loops, the sums of the values over them); the innermost loop by vector if asked."""
    loop: For | None = None
    for depth, var in enumerate(reversed(variables)):
        temps = [Temp(value.dtype, f"sum{number}.{depth}") for number, value in enumerate(values)]
        folds = tuple(Fold(temp, "add", 0.0, value) for temp, value in zip(temps, values, strict=True))
        loop = For(var, () if loop is None else (loop,), vector=vector and depth == 0, folds=folds)
        values = list(temps)
    assert loop is not None, "an image has a spatial axis"
    return loop, values


__all__ = ["build", "is_depthwise"]
