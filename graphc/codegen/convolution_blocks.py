"""Few channels: vectors that hold several pixels.

With fewer output channels than lanes most of a vector would idle.  Neighbouring pixels of a row are neighbours in
memory, so that `block` of them with all their channels make a vector:

    y[block*j + p, f] = sum over u of x[block*j + u] * wide[u, (p, f)],   wide[u, (p, f)] = w[u - p, f], or 0 outside

That is a convolution of stride `block` with size + block - 1 taps and block * channels outputs, whose weights are a
small copy: (size + block - 1) products for `block` pixels instead of block * size.  The gradient by the weights is the
same turned round: sums for every (u, (p, f)), of which those with u - p = t add up to tap t.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from graphc.codegen import loops
from graphc.codegen.epilogue import epilogue
from graphc.codegen.kernel import (
    Affine,
    Buffer,
    Call,
    Const,
    For,
    Load,
    Scalar,
    Stmt,
    Store,
    Temp,
    Var,
    affine,
    closure,
    indices,
)
from graphc.codegen.scalars import Pull, merges
from graphc.ir.dims import Dim, product
from graphc.ir.node import Node

MOST_PIXELS = 16
CHAINS = 8  # accumulators that keep two units of four cycles' latency busy
MOST_ROWS = 14  # of a register tile
WORTH = 1.15  # how much faster a block must promise to be


def block_size(count: Dim, taps: int, channels: Dim, lanes: int, rows: int | None = None) -> int:
    """How many of a row's `count` pixels a vector should hold; 1 if blocks do not pay.

    `rows` are the rows of a contraction for each tap, if those are its rows; else its rows are the blocks.
    """
    if not isinstance(count, int) or not isinstance(channels, int):
        return 1
    costs = {}
    for block in range(1, min(MOST_PIXELS, count) + 1):
        if count % block == 0:
            vectors = -(-block * channels // lanes)
            height = count // block if rows is None else rows * (taps + block - 1)
            busy = min(1.0, min(height, MOST_ROWS) * vectors / CHAINS)
            costs[block] = vectors * (taps + block - 1) / block / busy
    best = min(costs, key=lambda block: costs[block])
    return best if costs[best] * WORTH <= costs[1] else 1


@dataclass(frozen=True)
class Tiles:
    """What an epilogue reads for each channel alone, once for every pixel of a block: `given` by node."""

    given: Mapping[Node, Buffer]
    before: tuple[Stmt, ...]


def tiles(node: Node, outputs: Mapping[Node, Buffer], inputs: Mapping[Node, Buffer], block: int) -> Tiles | None:
    """The tiles with which a group's epilogue may run over blocks; None if it reads something in another pattern."""
    last = len(node.shape) - 1
    spread = [
        x
        for x in loops.inner_nodes(list(outputs), inputs)
        if x.op == "broadcast" and x.shape == node.shape and x.attr("axes") == (last,)
    ]
    variables = [Var(f"i{axis}", extent) for axis, extent in enumerate(node.shape)]
    at = tuple(map(affine, variables))
    given = {x: Temp(x.dtype, f"tile{number}") for number, x in enumerate(spread)}
    draft = epilogue(node, outputs, inputs, at, Temp(node.dtype, "acc"), given)
    every = [i for s in closure(tuple(s.value for s in draft)) for i in indices(s)] + [s.at for s in draft]
    if not merges(every, variables[-2], variables[-1]):
        return None
    buffers: dict[Node, Buffer] = {}
    before: list[Stmt] = []
    for number, x in enumerate(spread):
        buffer = Buffer(f"tile{number}", x.dtype, (block, x.shape[-1]), "scratch")
        pixel, channel = Var("p", block), Var("c", x.shape[-1])
        value = Pull(inputs).read(x.inputs[0], (affine(channel),))
        place = affine(pixel) * x.shape[-1] + affine(channel)
        before.append(For(pixel, (For(channel, (Store(buffer, place, value),), vector=True),)))
        buffers[x] = buffer
    return Tiles(buffers, tuple(before))


def widened(w: Buffer, block: int) -> tuple[Buffer, tuple[Stmt, ...]]:
    """The weights [taps .., depth, channels] for blocks, and the statements that copy them."""
    *outer, size, depth, channels = w.shape
    wide = Buffer("wide", w.dtype, (*outer, size + block - 1, depth, channels * block), "scratch")
    fill = Var("z", product(wide.shape))
    clear = For(fill, (Store(wide, affine(fill), Const(w.dtype, 0.0)),), vector=True)
    pixel, column = Var("p", block), Var("c", channels)
    variables = [Var(f"k{axis}", extent) for axis, extent in enumerate((*outer, size, depth))]
    source, target = affine(column), affine(column) + affine(pixel) * (wide.strides()[-3] + channels)
    for var, near, far in zip(variables, w.strides(), wide.strides(), strict=False):
        source, target = source + affine(var) * near, target + affine(var) * far
    body: Stmt = For(column, (Store(wide, target, Load(w.dtype, w, source)),), vector=True)
    for var in (*reversed(variables), pixel):
        body = For(var, (body,))
    return wide, (clear, body)


def narrowed(wide: Buffer, total: Buffer, block: int) -> Stmt:
    """Adds up the sums of a block's pixels, [taps .., depth, (pixel, channel)], to those of the taps."""
    channels, strides = total.shape[-1], wide.strides()
    variables = [Var(f"k{axis}", extent) for axis, extent in enumerate(total.shape[:-1])]
    column = Var("c", channels)
    source, target = affine(column), affine(column)
    for var, far, near in zip(variables, strides, total.strides(), strict=False):
        source, target = source + affine(var) * far, target + affine(var) * near
    value: Scalar = Load(total.dtype, wide, source)
    for pixel in range(1, block):
        part: Affine = source + (strides[-3] + channels) * pixel
        value = Call(total.dtype, "add", (value, Load(total.dtype, wide, part)))
    body: Stmt = For(column, (Store(total, target, value),), vector=True)
    for var in reversed(variables):
        body = For(var, (body,))
    return body
