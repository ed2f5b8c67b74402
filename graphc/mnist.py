"""MNIST's digits from the four IDX files as LeCun, Cortes and Burges distribute them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc.runtime.data import read
from graphc.runtime.errors import DataError

Part = dict[str, NDArray[Any]]


def load_mnist(
    folder: str | os.PathLike[str], training: int | None = None, test: int | None = None
) -> tuple[Part, Part]:
    """(digits to train on, digits to test with), each {"image": u8[N, 28, 28], "label": u8[N]}.

    With the files `train-images-idx3-ubyte.gz`, `train-labels-idx1-ubyte.gz` and the two `t10k-...` in the folder these
    are the 60,000 and the 10,000. With `t10k-...` alone its 10,000 are divided by a fixed permutation: 8,000 and 2,000.
    `training` and `test` take the first so many of each.  Raises DataError if a file is missing or is not MNIST's.
    """
    last = _part(Path(folder), "t10k")
    if (Path(folder) / "train-images-idx3-ubyte.gz").exists():
        return _first(_part(Path(folder), "train"), training), _first(last, test)
    order = np.random.default_rng(0).permutation(len(last["label"]))
    chosen, rest = np.split(order, [len(order) * 4 // 5])
    return _taken(last, chosen[:training]), _taken(last, rest[:test])


def _first(part: Part, count: int | None) -> Part:
    return {name: array[:count] for name, array in part.items()}


def _taken(part: Part, rows: NDArray[np.int64]) -> Part:
    return {name: array[rows] for name, array in part.items()}


def _part(folder: Path, name: str) -> Part:
    image = read(folder / f"{name}-images-idx3-ubyte.gz")
    label = read(folder / f"{name}-labels-idx1-ubyte.gz")
    if image.shape != (len(label), 28, 28) or image.dtype != np.uint8 or label.dtype != np.uint8:
        raise DataError(f"{folder}: the `{name}` files are not MNIST's: {image.shape} images, {label.shape} labels")
    return {"image": image, "label": label}
