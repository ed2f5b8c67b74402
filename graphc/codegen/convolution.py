"""Convolution and its gradients on the one contraction skeleton: direct, without unfolding images into matrices.

With channels innermost, a row of pixels is a matrix whose rows overlap: row o is the run of (tap, channel) from
o * stride * channels on, and the weights are the other operand as they lie.  All taps are summed in registers.

- conv: for every image and output row one contraction of [width] x [outputs] over (taps .., channels).
- conv_data: the same on dy with weights turned round and transposed (a small copy); for strides above 1 one for each
  phase (graphc.codegen.convolution_phases), so that no product with an inserted zero is computed.
- conv_weights: for every image and outer tap one contraction of [tap and channel] x [outputs] over the pixels, added up
  image by image.

Groups are a loop around; with one channel in each group the loops of graphc.codegen.convolution_window do better.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from graphc.codegen import loops
from graphc.codegen.convolution_image import Image, bordered
from graphc.codegen.convolution_phases import AxisPhases, Phase, axis_phases
from graphc.codegen.epilogue import epilogue
from graphc.codegen.kernel import Affine, Buffer, Const, Contract, For, KAxis, Load, Stmt, Store, Temp, Var, affine
from graphc.codegen.loop_code import workspace_elements
from graphc.codegen.target import Target
from graphc.ir.dims import Dim, product
from graphc.ir.node import Node

Body = tuple[tuple[Stmt, ...], list[Buffer]]


def build(node: Node, outputs: Mapping[Node, Buffer], inputs: Mapping[Node, Buffer], target: Target) -> Body:
    """(statements, scratch buffers) of a group around a conv, conv_data or conv_weights."""
    kind = {"conv": _Forward, "conv_data": _Data, "conv_weights": _Weights}[node.op]
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
        self.g = Var("g", self.groups)
        self.temp = Temp(node.dtype, "acc")
        self.scratch: list[Buffer] = []

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
        found = Contract(a[0], b[0], a[1], b[1], row, column, tuple(k), a[2], 1, self.temp, stores)
        elements = workspace_elements(found, self.target)
        if elements == 0:
            return found
        workspace = Buffer(f"workspace{len(self.scratch)}", self.node.dtype, (elements,), "scratch")
        self.scratch.append(workspace)
        return replace(found, workspace=workspace)

    def bordered(self, x: Buffer, low: tuple[int, ...], high: tuple[int, ...]) -> Image:
        image = bordered(x, self.n, low, high)
        self.scratch += image.scratch
        return image


class _Forward(_Convolution):
    def build(self) -> Body:
        image = self.bordered(self.first, self.low, self.high)
        w, strides = self.second, self.second.strides()
        outer = [Var(f"o{axis}", extent) for axis, extent in enumerate(self.node.shape[1:-2])]
        row, column = Var("o", self.node.shape[-2]), Var("f", self.part(self.node.shape[-1]))
        k = [
            KAxis(_known(w.shape[axis]), image.strides[axis] * self.dilation[axis], strides[axis])
            for axis in range(self.rank)
        ]
        k.append(KAxis(w.shape[-2], 1, strides[-2]))
        first = [affine(var) * step for var, step in zip(outer, self.stride, strict=False)]
        a_at = image.at(*first, 0, self.group(w.shape[-2]))
        channel = self.group(column.extent) + affine(column)
        index = (affine(self.n), *map(affine, outer), affine(row), channel)
        stores = epilogue(self.node, self.outputs, self.inputs, index, self.temp)
        a = image.buffer, a_at, image.strides[-2] * self.stride[-1]
        contract = self.contract(a, (w, self.group(column.extent)), row, column, k, stores)
        body = self.over_groups(_nest(outer, (contract,)))
        return (*image.before, For(self.n, (*image.each, *body))), self.scratch


class _Data(_Convolution):
    def build(self) -> Body:
        w = self.second
        rows = zip(self.node.shape[1:-1], w.shape[:-2], self.stride, self.low, self.high, self.dilation, strict=True)
        self.axes: list[AxisPhases] = [axis_phases(n, _known(k), s, a, b, d) for n, k, s, a, b, d in rows]
        self.image = self.bordered(self.first, tuple(x.low for x in self.axes), tuple(x.high for x in self.axes))
        self.turned = Buffer("turned", w.dtype, (*w.shape[:-2], w.shape[-1], w.shape[-2]), "scratch")
        self.scratch.append(self.turned)
        body = self.over_groups(self.phases(0, [], []))
        return (self.turn(), *self.image.before, For(self.n, (*self.image.each, *body))), self.scratch

    def turn(self) -> Stmt:
        """Copies the weights with taps in the opposite order, outputs before channels."""
        w, strides, turned = self.second, self.second.strides(), self.turned.strides()
        source, target = Affine(), Affine()
        taps = [Var(f"k{axis}", extent) for axis, extent in enumerate(w.shape[:-2])]
        for axis, var in enumerate(taps):
            source = source + (affine(var) * -1 + (var.extent - 1)) * strides[axis]
            target = target + affine(var) * turned[axis]
        channel, output = Var("c", w.shape[-2]), Var("f", w.shape[-1])
        source = source + affine(channel) * strides[-2] + affine(output)
        target = target + affine(output) * turned[-2] + affine(channel)
        copy = Store(self.turned, target, Load(w.dtype, w, source))
        return _nest([*taps, output], (For(channel, (copy,), vector=True),))[0]

    def phases(self, axis: int, chosen: list[Phase], outer: list[Var]) -> tuple[Stmt, ...]:
        """The statements for all phases of the axes from `axis` on; the loop over a row's pixels is the innermost."""
        found: list[Stmt] = []
        for number, phase in enumerate(self.axes[axis].phases):
            var = Var(f"j{axis}p{number}", phase.count)
            if axis == self.rank - 1:
                found.append(self.row([*chosen, phase], outer, var))
            else:
                found.append(For(var, self.phases(axis + 1, [*chosen, phase], [*outer, var])))
        return tuple(found)

    def row(self, phases: list[Phase], outer: list[Var], row: Var) -> Stmt:
        """The pixels of one phase of one row."""
        channels, outputs = self.second.shape[-2], self.part(self.second.shape[-1])
        column, every = Var("c", channels), [*outer, row]
        places = zip(every, phases, self.stride, strict=True)
        spatial = [affine(var) * step + phase.first for var, phase, step in places]
        index = (affine(self.n), *spatial, self.group(channels) + affine(column))
        if not all(p.taps for p in phases):
            stores = epilogue(self.node, self.outputs, self.inputs, index, Const(self.node.dtype, 0.0))
            return For(row, (For(column, stores, vector=True),))
        stores = epilogue(self.node, self.outputs, self.inputs, index, self.temp)
        image, turned = self.image, self.turned.strides()
        start: list[Affine] = []
        b_at = self.group(outputs) * turned[-2]
        k: list[KAxis] = []
        for axis, p in enumerate(phases):
            last = p.taps - 1  # taps are walked backwards, as the windows they meet ascend then
            moved = affine(every[axis]) if axis < self.rank - 1 else Affine()
            start.append(moved + (p.window - p.window_step * last + self.axes[axis].low))
            size = _known(self.second.shape[axis])
            b_at = b_at + (size - 1 - p.tap - p.tap_step * last) * turned[axis]
            k.append(KAxis(p.taps, image.strides[axis] * p.window_step, turned[axis] * p.tap_step))
        k.append(KAxis(outputs, 1, turned[-2]))
        a = image.buffer, image.at(*start, self.group(outputs)), image.strides[-2]
        return self.contract(a, (self.turned, b_at), row, column, k, stores)


class _Weights(_Convolution):
    def build(self) -> Body:
        node, dy = self.node, self.second
        image = self.bordered(self.first, self.low, self.high)
        total = self.outputs.get(node) or Buffer("total", node.dtype, node.shape, "scratch")
        if total.role == "scratch":
            self.scratch.append(total)
        fill = Var("z", product(node.shape))
        clear = For(fill, (Store(total, affine(fill), Const(node.dtype, 0.0)),), vector=True)
        each = For(self.n, (*image.each, *self.over_groups(self.image_sums(image, dy, total))))
        after: tuple[Stmt, ...] = ()
        rest = {x: buffer for x, buffer in self.outputs.items() if x is not node}
        if rest:
            after, more = loops.build(rest, {**self.inputs, node: total})
            self.scratch += more
        return (clear, *image.before, each, *after), self.scratch

    def image_sums(self, image: Image, dy: Buffer, total: Buffer) -> tuple[Stmt, ...]:
        """Adds the products of one image and group to `total`."""
        strides, y_strides, sizes = total.strides(), dy.strides(), self.node.shape
        joined = self.dilation[-1] == 1 and self.groups == 1  # neighbouring taps and channels are one run of memory
        taps = [Var(f"k{axis}", extent) for axis, extent in enumerate(sizes[: self.rank - joined])]
        row = Var("c", sizes[-3] * sizes[-2] if joined else sizes[-2])
        column = Var("f", self.part(sizes[-1]))
        first = [affine(var) * step for var, step in zip(taps, self.dilation, strict=False)]
        a_at = image.at(*first, *[0] * joined, self.group(sizes[-2]))
        outputs = self.group(column.extent)
        at = affine(row) * strides[-2] + affine(column) + outputs
        for var, stride in zip(taps, strides, strict=False):
            at = at + affine(var) * stride
        k = [
            KAxis(dy.shape[1 + axis], image.strides[axis] * self.stride[axis], y_strides[1 + axis])
            for axis in range(self.rank)
        ]
        b = dy, affine(self.n) * y_strides[0] + outputs
        store = Store(total, at, self.temp, add=True)
        return _nest(taps, (self.contract((image.buffer, a_at, 1), b, row, column, k, (store,)),))


def _nest(variables: list[Var], body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
    """Loops around a body, the first variable outermost."""
    for var in reversed(variables):
        body = (For(var, body),)
    return body


def _known(size: Any) -> int:
    """The size of a kernel along an axis: always known at compile time."""
    assert isinstance(size, int)
    return size
