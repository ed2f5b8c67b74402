"""Images as convolution and pooling read them: with a border of zeros, or of another value, along the spatial axes.

The border is real memory, so that the inner loops need no conditions.  One image at a time is copied into a scratch
buffer whose border is written once: it stays in the cache, and nothing of a batch's size is needed.  Without a border
an image is read where it lies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from graphc.codegen.kernel import Affine, Buffer, Const, For, Load, Stmt, Store, Var, affine
from graphc.ir.dims import Dim


@dataclass(frozen=True)
class Image:
    """One image of a batch, [spatial .., channels]; `strides` are those of its axes.

    `before` runs once, `each` for every image before it is read.
    """

    buffer: Buffer
    start: Affine
    strides: tuple[Dim, ...]
    before: tuple[Stmt, ...] = ()
    each: tuple[Stmt, ...] = ()

    @property
    def scratch(self) -> tuple[Buffer, ...]:
        return (self.buffer,) if self.each else ()

    def at(self, *indices: Affine | Dim) -> Affine:
        """The offset of an element; spatial indices count from the border's first element."""
        total = self.start
        for index, stride in zip(indices, self.strides, strict=True):
            total = total + affine(index) * stride
        return total


def bordered(
    x: Buffer, n: Affine, low: tuple[int, ...], high: tuple[int, ...], value: float = 0.0, name: str = "image"
) -> Image:
    """Image n of a batch with `low` and `high` elements of `value` before and behind its spatial axes."""
    strides = x.strides()
    start = n * strides[0]
    if not any(low) and not any(high):
        return Image(x, start, strides[1:])
    spatial, channels = x.shape[1:-1], x.shape[-1]
    shape = (*(d + a + b for d, a, b in zip(spatial, low, high, strict=True)), channels)
    copy = Buffer(name, x.dtype, shape, "scratch")
    image = Image(copy, Affine(), copy.strides())
    before = tuple(_border(copy, spatial, low, high, Const(x.dtype, value)))
    outer = [Var(f"r{axis}", extent) for axis, extent in enumerate(spatial[:-1])]
    line = Var("line", spatial[-1] * channels)  # a row of pixels is one run of memory
    source, target = start + affine(line), image.at(*low, 0) + affine(line)
    for axis, var in enumerate(outer):
        source = source + affine(var) * strides[1 + axis]
        target = target + affine(var) * image.strides[axis]
    body: Stmt = For(line, (Store(copy, target, Load(x.dtype, x, source)),), vector=True)
    for var in reversed(outer):
        body = For(var, (body,))
    return Image(copy, image.start, image.strides, before, (body,))


def _border(
    image: Buffer, spatial: tuple[Dim, ...], low: tuple[int, ...], high: tuple[int, ...], value: Const
) -> Iterator[Stmt]:
    """Fills what lies before and behind each spatial axis, within the inner part of the axes outside of it."""
    strides = image.strides()
    for axis, extent in enumerate(spatial):
        outer = [Var(f"r{n}", spatial[n]) for n in range(axis)]
        for first, count in ((0, low[axis]), (extent + low[axis], high[axis])):
            if count == 0:
                continue
            run = Var("z", strides[axis] * count)
            at = affine(run) + strides[axis] * first
            for n, var in enumerate(outer):
                at = at + (affine(var) + low[n]) * strides[n]
            body: Stmt = For(run, (Store(image, at, value),), vector=True)
            for var in reversed(outer):
                body = For(var, (body,))
            yield body
