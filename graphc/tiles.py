"""Pictures of images: digits, kernels and feature maps as tiles of one panel (for `graphc.panels.write`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc.panels import Panel
from graphc.pictures import INK

Array = NDArray[Any]
GAP = 0.12
"""Between two tiles, as a part of a tile's side."""
NAME = 0.26
"""Room for a name below a tile."""


def tiles(
    images: Array | Sequence[Array],
    *,
    columns: int = 0,
    title: str = "",
    names: Sequence[str] = (),
    rows: Sequence[str] = (),
    is_signed: bool | None = None,
    is_shared: bool = False,
    side: float = 0.7,
) -> Panel:
    """Images [height, width], not all of one size, side by side in rows of `columns` (all in one row).

    names       below each tile, in order
    rows        to the left of each row
    is_signed   blue above 0, red below, white at 0; else from black (the least) to white. By default as each tile's
                values ask for: signed if any of them is below 0
    is_shared   one scale of greys for all tiles; else each has its own
    side        of a tile, in inches
    """
    arrays = [np.asarray(image, np.float64) for image in images]
    columns = columns or len(arrays)
    top = max(float(np.abs(array).max()) for array in arrays)
    low = min(float(array.min()) for array in arrays)

    def limits(array: Array, is_signed: bool) -> tuple[float, float]:
        if is_signed:
            most = (top if is_shared else float(np.abs(array).max())) or 1.0
            return -most, most
        least, most = (low, top) if is_shared else (float(array.min()), float(array.max()))
        return least, most if most > least else least + 1.0

    count, height = math.ceil(len(arrays) / columns), 1 + GAP + (NAME if names else 0.0)

    def draw(axes: Any) -> None:
        for index, array in enumerate(arrays):
            x, y = index % columns * (1 + GAP), index // columns * height
            tall, wide = (size / max(array.shape) for size in array.shape)
            place = (x + (1 - wide) / 2, x + (1 + wide) / 2, y + (1 + tall) / 2, y + (1 - tall) / 2)
            signed = bool(array.min() < 0) if is_signed is None else is_signed
            least, most = limits(array, signed)
            cmap = "RdBu" if signed else "gray"
            axes.imshow(array, cmap=cmap, vmin=least, vmax=most, extent=place, interpolation="nearest")
            if index < len(names):
                axes.text(x + 0.5, y + 1.05, names[index], ha="center", va="top", fontsize=8, color=INK)
        for index, row in enumerate(rows):
            axes.text(-0.12, index * height + 0.5, row, ha="right", va="center", fontsize=9, color=INK)
        axes.set_xlim(-0.02, columns * (1 + GAP) - GAP + 0.02)
        axes.set_ylim(count * height - GAP + 0.02, -0.02)
        axes.set_aspect("equal")
        axes.set_axis_off()

    margin = 0.09 * max((len(line) for row in rows for line in row.split("\n")), default=0) + 0.2
    width = max(columns * (1 + GAP) * side + margin, 0.085 * len(title))
    return Panel(draw, title, size=(width, count * height * side + 0.4))


def mistakes(images: Array, labels: Array, probs: Array, *, count: int = 16, columns: int = 8) -> Panel:
    """The examples that a classifier is most wrong about, named by what it says and what they are.

    images      [N, height, width]
    labels      [N], the class numbers that are right
    probs       [N, classes]
    """
    said, label = probs.argmax(axis=1), np.asarray(labels).astype(np.int64)
    wrong = np.flatnonzero(said != label)
    if not len(wrong):
        return tiles(images[:count], columns=columns, title="no mistakes")
    worst = wrong[np.argsort(probs[wrong, label[wrong]], kind="stable")][:count]
    names = [f"{said[one]}, is {label[one]}" for one in worst]
    title = "its only mistake" if len(wrong) == 1 else f"the worst of its {len(wrong)} mistakes"
    return tiles(images[worst], columns=min(columns, len(worst)), names=names, title=title)
