"""Convolution and its gradients on the one contraction skeleton: direct, without unfolding images into matrices.

With channels innermost, a row of pixels is a matrix whose rows overlap: row o is the run of (tap, channel) from
o * stride * channels on, and the weights are the other operand as they lie.  All taps are summed in registers.

- conv: for every image and output row one contraction of [width] x [outputs] over (taps .., channels).
- conv_data: the same on dy with weights turned round and transposed (a small copy); for strides above 1 one for each
  run of pixels (graphc.codegen.convolution_runs), so that no product with an inserted zero is computed.
- conv_weights: for every image and outer tap one contraction of [tap and channel] x [outputs] over the pixels, added up
  image by image.

Groups are a loop around; with one channel in each group the loops of graphc.codegen.convolution_window do better.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from graphc.codegen import loops
from graphc.codegen.convolution_blocks import block_size, narrowed, tiles, widened
from graphc.codegen.convolution_image import Image, bordered
from graphc.codegen.convolution_runs import Axis, Run, cut, image_runs, rows_inside, window_runs
from graphc.codegen.epilogue import epilogue
from graphc.codegen.kernel import (
    Affine,
    Buffer,
    Const,
    Contract,
    Fetch,
    For,
    KAxis,
    Load,
    Stmt,
    Store,
    Temp,
    Var,
    affine,
)
from graphc.codegen.loop_code import workspace_elements
from graphc.codegen.target import LINE, Target
from graphc.ir.dims import Dim, product
from graphc.ir.node import Node
from graphc.ops.bfloat import elements_of

NEAR_BYTES = 1 << 18  # of an image, at most: two of them and more stay in the second-level cache
PANEL_BYTES = 1 << 19  # weights beyond are cut into panels: half of a second-level cache

Body = tuple[tuple[Stmt, ...], list[Buffer]]


def build(node: Node, outputs: Mapping[Node, Buffer], inputs: Mapping[Node, Buffer], target: Target) -> Body:
    """(statements, scratch buffers) of a group around a conv, conv_data or conv_weights."""
    kind = _Weights if node.op == "conv_weights" else _Images
    return kind(node, outputs, inputs, target).build()


class _Convolution:
    """What the three have in common; `node` is the one of the group that they compute."""

    def __init__(
        self, node: Node, outputs: Mapping[Node, Buffer], inputs: Mapping[Node, Buffer], target: Target
    ) -> None:
        self.node, self.outputs, self.inputs, self.target = node, outputs, inputs, target
        self.first, self.second = (inputs[x] for x in node.inputs)
        self.groups: int = node.attr("groups")
        self.stride, self.low, self.high, self.dilation = (
            node.attr(name) for name in ("stride", "low", "high", "dilation")
        )
        self.rank = len(self.stride)
        self.n = Var("n", self.first.shape[0])
        self.number = Affine() if self.first.shape[0] == 1 else affine(self.n)
        self.g, self.q = Var("g", self.groups), Var("q", 1)  # the group, and the panel of columns
        self.temp = Temp(node.dtype, "acc")
        self.pairs = elements_of(node) == "bf16_pairs"
        self.scratch: list[Buffer] = []
        self.tiles: dict[Node, Buffer] = {}

    def build(self) -> Body:
        raise NotImplementedError

    def group(self, step: Dim) -> Affine:
        """The first channel of the group, where groups have `step` each."""
        return affine(self.g) * step if self.groups > 1 else Affine()

    def over_groups(self, body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
        return (For(self.g, body),) if self.groups > 1 else body

    def part(self, channels: Dim) -> Dim:
        """The channels of one group."""
        return channels if self.groups == 1 else channels // self.groups

    def contract(
        self,
        a: tuple[Buffer, Affine, Dim],
        b: tuple[Buffer, Affine],
        row: Var,
        column: Var,
        k: list[KAxis],
        stores: tuple[Store, ...],
    ) -> Contract:
        """The contraction of rows at (buffer, start, distance) with neighbouring columns at (buffer, start)."""
        found = Contract(a[0], b[0], a[1], b[1], row, column, tuple(k), a[2], 1, self.temp, stores, pairs=self.pairs)
        elements = workspace_elements(found, self.target)
        if elements == 0:
            return found
        workspace = Buffer(f"workspace{len(self.scratch)}", self.node.dtype, (elements,), "scratch")
        self.scratch.append(workspace)
        return replace(found, workspace=workspace)

    def with_fetches(self, found: Contract, image: Image, fetch: Fetch | None) -> Contract:
        """The contraction, which asks for a part of the next image, so that to copy that will not be to wait."""
        asks = image.each and _is_near(self.first) and isinstance(found.column.extent, int)
        return replace(found, fetches=(fetch,)) if asks and fetch is not None else found

    def bordered(self, x: Buffer, low: tuple[int, ...], high: tuple[int, ...]) -> Image:
        image = bordered(x, self.number, low, high)
        self.scratch += image.scratch
        return image


class _Images(_Convolution):
    """conv and conv_data: for every image and row of the result one contraction, whose rows are pixels."""

    def build(self) -> Body:
        forward, w = self.node.op == "conv", self.second
        axes = self.axes(forward)
        image = self.bordered(self.first, tuple(x.low for x in axes), tuple(x.high for x in axes))
        before = () if forward else (self.turn(),)
        weights = _Weighting(w if forward else self.turned, forward, self.part(w.shape[-1]), w.shape[-2])
        blocked = self.in_blocks(weights, axes)
        if blocked is not None:
            weights, axes, more = blocked
            before = (*before, *more)
        weights, copies = self.in_panels(weights)
        body = self.over_groups(self.rows(image, weights, axes, [], []))
        if weights.panel:
            body = (For(self.q, body),)
        if self.first.shape[0] == 1:  # no loop around: what threads share then are rows
            return (*before, *copies, *image.before, *image.each, *body), self.scratch
        return (*before, *copies, *image.before, For(self.n, (*image.each, *body))), self.scratch

    def in_panels(self, weights: _Weighting) -> tuple[_Weighting, tuple[Stmt, ...]]:
        """The weights cut into panels of columns, each for all rows of an image, if they are too many for the cache.

        A row of the result would otherwise read all of them from far, and neighbours in k a page apart.
        """
        width, columns = 2 * self.target.lanes(self.node.dtype.size), weights.columns
        size = product(weights.shape) * self.node.dtype.size
        if self.groups > 1 or weights.block > 1 or not isinstance(size, int) or not isinstance(columns, int):
            return weights, ()
        if size < PANEL_BYTES or columns % width or columns == width:
            return weights, ()
        packed = Buffer("panels", weights.buffer.dtype, (columns // width, *weights.shape[:-1], width), "scratch")
        self.scratch.append(packed)
        self.q = Var("q", columns // width)
        k, column = Var("k", product(weights.shape[:-1])), Var("f", width)
        source = affine(self.q) * width + affine(k) * columns + affine(column)
        target = affine(self.q) * packed.strides()[0] + affine(k) * width + affine(column)
        copy = Store(packed, target, Load(packed.dtype, weights.buffer, source))
        return replace(weights, buffer=packed, panel=width), (
            For(self.q, (For(k, (For(column, (copy,), vector=True),)),)),
        )

    def in_blocks(
        self, weights: _Weighting, axes: list[Axis]
    ) -> tuple[_Weighting, list[Axis], tuple[Stmt, ...]] | None:
        """Weights and runs for vectors of several pixels, with the statements before; None if they do not pay."""
        run = axes[-1].runs[0]
        plain = len(axes[-1].runs) == run.step == run.source_step == run.source_tap_step == abs(run.tap_step) == 1
        if self.groups > 1 or not plain:
            return None
        lanes = self.target.lanes(self.node.dtype.size)
        block = block_size(run.count, run.taps, weights.columns, lanes)
        tiled = tiles(self.node, self.outputs, self.inputs, block) if block > 1 else None
        if tiled is None:
            return None
        wide, copies = widened(weights.buffer, block)
        self.scratch += [wide, *tiled.given.values()]
        self.tiles = dict(tiled.given)
        taps = run.taps + block - 1
        run = replace(
            run,
            step=block,
            count=run.count // block,
            source_step=block,
            taps=taps,
            tap=0 if weights.forward else taps - 1,
        )
        axes = [*axes[:-1], replace(axes[-1], runs=(run,))]
        return replace(weights, buffer=wide, block=block), axes, (*copies, *tiled.before)

    def axes(self, forward: bool) -> list[Axis]:
        """The runs of the result's pixels along every axis; those of rows have as few taps as possible."""
        make = window_runs if forward else image_runs
        sizes = zip(self.node.shape[1:-1], self.weights_shape[:-2], strict=True)
        attrs = zip(self.stride, self.low, self.high, self.dilation, strict=True)
        axes = [make(n, _known(k), *given) for (n, k), given in zip(sizes, attrs, strict=True)]
        outer = zip(axes[:-1], self.first.shape[1:], strict=False)
        return [*(cut(axis, n) for axis, n in outer), axes[-1]]

    @property
    def weights_shape(self) -> tuple[Dim, ...]:
        return self.second.shape

    def turn(self) -> Stmt:
        """Copies the weights with taps in the opposite order, outputs before channels."""
        w, strides = self.second, self.second.strides()
        self.turned = Buffer("turned", w.dtype, (*w.shape[:-2], w.shape[-1], w.shape[-2]), "scratch")
        self.scratch.append(self.turned)
        source, target, turned = Affine(), Affine(), self.turned.strides()
        taps = [Var(f"k{axis}", extent) for axis, extent in enumerate(w.shape[:-2])]
        for axis, var in enumerate(taps):
            source = source + (affine(var) * -1 + (var.extent - 1)) * strides[axis]
            target = target + affine(var) * turned[axis]
        channel, output = Var("c", w.shape[-2]), Var("f", w.shape[-1])
        source = source + affine(channel) * strides[-2] + affine(output)
        target = target + affine(output) * turned[-2] + affine(channel)
        copy = Store(self.turned, target, Load(w.dtype, w, source))
        # The lines that a vector gathers from hold the next outputs, too.
        return _nest(taps, (For(channel, (For(output, (copy,)),), vector=True),))[0]

    def rows(
        self, image: Image, weights: _Weighting, axes: list[Axis], chosen: list[Run], outer: list[Var]
    ) -> tuple[Stmt, ...]:
        """The statements for all runs of the axes that are not chosen yet; a row's pixels are the innermost."""
        axis = len(chosen)
        found: list[Stmt] = []
        for number, run in enumerate(axes[axis].runs):
            var = Var(f"o{axis}r{number}", run.count)
            if axis == self.rank - 1:
                found.append(self.row(image, weights, axes, [*chosen, run], [*outer, var]))
            else:
                found.append(For(var, self.rows(image, weights, axes, [*chosen, run], [*outer, var])))
        return tuple(found)

    def next_image(self, runs: list[Run], outer: list[Var]) -> Fetch | None:
        """For every pixel a part of the image that is copied next; of several phases one asks for it."""
        x, strides, pixels = self.first, self.first.strides(), runs[-1].count
        if any(run.first % run.step for run in runs[:-1]) or runs[-1].first:
            return None
        start = (self.number + 1) * strides[0]
        rows: Dim = 1
        for var, run, stride in zip(outer, runs, strides[1:], strict=False):
            start, rows = start + (affine(var) + run.first // run.step) * run.source_step * stride, run.source_step
        size = rows * strides[len(outer)] * x.dtype.size
        if not isinstance(pixels, int) or not isinstance(size, int):
            return None
        return Fetch(x, size // pixels, start) if size >= pixels else None

    def row(self, image: Image, weights: _Weighting, axes: list[Axis], runs: list[Run], pixel: list[Var]) -> Stmt:
        """The pixels of one run of a row."""
        column, row = Var("f", weights.panel or weights.columns * weights.block), pixel[-1]
        channel = self.group(weights.columns) + affine(self.q) * weights.panel + affine(column)
        spatial = [affine(var) * run.step + run.first for var, run in zip(pixel, runs, strict=True)]
        index = (self.number, *spatial, channel)
        given = {x: Load(x.dtype, tile, affine(column)) for x, tile in self.tiles.items()}
        if not all(run.taps for run in runs):
            stores = epilogue(self.node, self.outputs, self.inputs, index, Const(self.node.dtype, 0.0), given)
            return For(row, (For(column, stores, vector=True),))
        stores = epilogue(self.node, self.outputs, self.inputs, index, self.temp, given)
        start = [
            (affine(var) * run.source_step if var is not row else Affine()) + (run.source + axis.low)
            for var, run, axis in zip(pixel, runs, axes, strict=True)
        ]
        k = [
            KAxis(run.taps, stride * run.source_tap_step, b_stride * abs(run.tap_step))
            for run, stride, b_stride in zip(runs, image.strides, weights.strides, strict=False)
        ]
        k.append(KAxis(weights.depth, 1, weights.strides[-2]))
        a_at = image.at(*start, self.group(weights.depth))
        b_at = weights.at(runs) + self.group(1) * weights.group_step + affine(self.q) * weights.panel_step
        a = image.buffer, a_at, image.strides[-2] * runs[-1].source_step
        found = self.contract(a, (weights.buffer, b_at), row, column, k, stores)
        return self.with_fetches(found, image, self.next_image(runs, pixel[:-1]))


@dataclass(frozen=True)
class _Weighting:
    """The weights as the contraction reads them: [taps .., depth, columns], turned round for the gradient."""

    buffer: Buffer
    forward: bool
    outputs: Dim  # of a group
    channels: Dim  # of a group
    block: int = 1  # pixels in a row of columns
    panel: int = 0  # columns of a panel, if the buffer is [panels, taps .., depth, columns of a panel]

    @property
    def shape(self) -> tuple[Dim, ...]:
        """Of the whole, or of a panel."""
        return self.buffer.shape[1:] if self.panel else self.buffer.shape

    @property
    def strides(self) -> tuple[Dim, ...]:
        return self.buffer.strides()[1:] if self.panel else self.buffer.strides()

    @property
    def panel_step(self) -> Dim:
        return self.buffer.strides()[0] if self.panel else 0

    @property
    def depth(self) -> Dim:
        return self.channels if self.forward else self.outputs

    @property
    def columns(self) -> Dim:
        return self.outputs if self.forward else self.channels

    @property
    def group_step(self) -> Dim:
        """From the weights of one group to those of the next."""
        return self.outputs if self.forward else self.outputs * self.strides[-2]

    def at(self, runs: list[Run]) -> Affine:
        """The first taps of runs."""
        total = Affine()
        for run, stride, size in zip(runs, self.strides, self.shape, strict=False):
            total = total + (run.tap if self.forward else _known(size) - 1 - run.tap) * stride
        return total


class _Weights(_Convolution):
    def build(self) -> Body:
        node, dy = self.node, self.second
        image = self.bordered(self.first, self.low, self.high)
        total = self.outputs.get(node) or Buffer("total", node.dtype, node.shape, "scratch")
        if total.role == "scratch":
            self.scratch.append(total)
        fill = Var("z", product(node.shape))
        block, turned = self.block(), False
        sums = total
        after: tuple[Stmt, ...] = ()
        if block > 1:
            *outer, size, depth, outputs = node.shape
            sums = Buffer("sums", node.dtype, (*outer, size + (block - 1), depth, outputs * block), "scratch")
            self.scratch.append(sums)
            after = (narrowed(sums, total, block),)
        elif turned := self.turns():
            *outer, size, depth, outputs = node.shape
            sums = Buffer("sums", node.dtype, (*outer, outputs, size * depth), "scratch")
            self.scratch.append(sums)
            after = (_turned_back(sums, total),)
        fill = Var("z", product(sums.shape))
        clear = For(fill, (Store(sums, affine(fill), Const(node.dtype, 0.0)),), vector=True)
        add = self.turned_sums(image, dy, sums) if turned else self.image_sums(image, dy, sums, block)
        each = For(self.n, (*image.each, *self.over_groups(add)))
        rest = {x: buffer for x, buffer in self.outputs.items() if x is not node}
        if rest:
            update, more = loops.build(rest, {**self.inputs, node: total})
            after, self.scratch = (*after, *update), self.scratch + more
        return (clear, *image.before, each, *after), self.scratch

    def block(self) -> int:
        """How many pixels a vector of columns holds."""
        sizes, lanes = self.node.shape, self.target.lanes(self.node.dtype.size)
        if self.groups > 1 or self.dilation[-1] > 1 or self.stride[-1] > 1 or not isinstance(sizes[-2], int):
            return 1
        return block_size(self.second.shape[-2], _known(sizes[-3]), sizes[-1], lanes, sizes[-2])

    def turns(self) -> bool:
        """Whether vectors should run along taps and channels: they fill whole ones, and outputs no more than one."""
        *_, size, depth, outputs = self.node.shape
        lanes = self.target.lanes(self.node.dtype.size)
        if self.groups > 1 or self.dilation[-1] > 1 or not isinstance(depth, int) or not isinstance(outputs, int):
            return False
        return bool(outputs <= lanes < size * depth and size * depth % lanes == 0)

    def inside(self, rows: KAxis, taps: list[Affine], dy: Buffer) -> tuple[Affine, KAxis]:
        """The first of the rows that the outermost tap does not take to padding, and the axis of these alone."""
        if self.rank == 1 or self.stride[0] > 1 or not (self.low[0] or self.high[0]):
            return Affine(), rows
        first, count = rows_inside(taps[0], dy.shape[1], self.first.shape[1], self.low[0])
        return first, replace(rows, count=count)

    def turned_sums(self, image: Image, dy: Buffer, sums: Buffer) -> tuple[Stmt, ...]:
        """Adds the products of one image to `sums`, [outer taps .., output, (tap, channel)]."""
        y_strides, strides = dy.strides(), sums.strides()
        taps = [Var(f"k{axis}", extent) for axis, extent in enumerate(sums.shape[:-2])]
        row, column = Var("f", sums.shape[-2]), Var("c", sums.shape[-1])
        first = [affine(var) * step for var, step in zip(taps, self.dilation, strict=False)]
        at = affine(row) * strides[-2] + affine(column)
        for var, stride in zip(taps, strides, strict=False):
            at = at + affine(var) * stride
        k = [
            KAxis(dy.shape[1 + axis], y_strides[1 + axis], image.strides[axis] * self.stride[axis])
            for axis in range(self.rank)
        ]
        start, k[0] = self.inside(k[0], first, dy)
        first[:1] = [tap + start for tap in first[:1]]
        b = image.buffer, image.at(*first, 0, 0)
        a = dy, affine(self.n) * y_strides[0] + start * y_strides[1], 1
        store = Store(sums, at, self.temp, add=True)
        found = self.contract(a, b, row, column, k, (store,))
        return _nest(taps, (self.with_fetches(found, image, self.next_image(taps, row)),))

    def image_sums(self, image: Image, dy: Buffer, total: Buffer, block: int) -> tuple[Stmt, ...]:
        """Adds the products of one image and group to `total`, pixels of a block to columns of their own."""
        strides, y_strides, sizes = total.strides(), dy.strides(), total.shape
        joined = self.dilation[-1] == 1 and self.groups == 1  # neighbouring taps and channels are one run of memory
        taps = [Var(f"k{axis}", extent) for axis, extent in enumerate(sizes[: self.rank - joined])]
        row = Var("c", sizes[-3] * sizes[-2] if joined else sizes[-2])
        column = Var("f", self.part(sizes[-1]))
        first = [affine(var) * step for var, step in zip(taps, self.dilation, strict=False)]
        outputs = self.group(column.extent)
        at = affine(row) * strides[-2] + affine(column) + outputs
        for var, stride in zip(taps, strides, strict=False):
            at = at + affine(var) * stride
        k = [
            KAxis(dy.shape[1 + axis], image.strides[axis] * self.stride[axis], y_strides[1 + axis])
            for axis in range(self.rank)
        ]
        if block > 1:
            last = k.pop()
            k.append(KAxis(last.extent // block, last.a_stride * block, last.b_stride * block))
        start, k[0] = self.inside(k[0], first, dy)
        first[:1] = [tap + start for tap in first[:1]]
        a_at = image.at(*first, *[0] * joined, self.group(sizes[-2]))
        b = dy, affine(self.n) * y_strides[0] + start * y_strides[1] + outputs
        store = Store(total, at, self.temp, add=True)
        found = self.contract((image.buffer, a_at, 1), b, row, column, k, (store,))
        return _nest(taps, (self.with_fetches(found, image, self.next_image(taps, row)),))

    def next_image(self, taps: list[Var], row: Var) -> Fetch | None:
        """For every row of the sums at every outer tap a part of the image that is copied next."""
        x, parts, size = self.first, product(var.extent for var in (*taps, row)), self.first.strides()[0]
        if not isinstance(parts, int) or not isinstance(size, int):
            return None
        line = LINE // x.dtype.size
        part = -(-size // (parts * line)) * line
        at, step = (affine(self.n) + 1) * size, row.extent * part
        for var in reversed(taps):
            at, step = at + affine(var) * step, step * var.extent
        return Fetch(x, part * x.dtype.size, at)


def _turned_back(sums: Buffer, total: Buffer) -> Stmt:
    """Copies sums [outer taps .., output, (tap, channel)] to [taps .., channel, output]."""
    taps = [Var(f"k{axis}", extent) for axis, extent in enumerate(sums.shape[:-2])]
    output, row = Var("f", sums.shape[-2]), Var("c", sums.shape[-1])
    source = affine(output) * sums.strides()[-2] + affine(row)
    target = affine(row) * sums.shape[-2] + affine(output)
    for var, far in zip(taps, sums.strides(), strict=False):
        source, target = source + affine(var) * far, target + affine(var) * far
    copy = Store(total, target, Load(total.dtype, sums, source))
    return _nest(taps, (For(row, (For(output, (copy,), vector=True),)),))[0]


def _is_near(x: Buffer) -> bool:
    """Whether x is a batch of images of which the second-level cache holds a few."""
    size = x.strides()[0] * x.dtype.size
    return x.shape[0] != 1 and isinstance(size, int) and size <= NEAR_BYTES


def _nest(variables: list[Var], body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
    """Loops around a body, the first variable outermost."""
    for var in reversed(variables):
        body = (For(var, body),)
    return body


def _known(size: Any) -> int:
    """The size of a kernel along an axis: always known at compile time."""
    assert isinstance(size, int)
    return size
