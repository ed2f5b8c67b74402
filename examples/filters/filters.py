"""Kernels set by hand on real digits, and the worked examples of convolution: padding, stride, flip, equivariance.

    python examples/filters/filters.py [FOLDER] [--out runs/filters]

FOLDER holds MNIST's IDX files; by default it is `../shared/data/mnist` beside the repository. Without them the digits
of `examples/digits`, 8x8, are taken: the model file works on images of any size.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import graphc
from graphc.mnist import load_mnist
from graphc.panels import write
from graphc.runtime.model import Model
from graphc.tiles import tiles

SOURCE = Path(__file__).with_suffix(".gc")
DATA = Path(__file__).parents[3] / "shared" / "data" / "mnist"
SMALL = Path(__file__).parents[1] / "digits" / "digits.npz"
ROWS = {
    "image": "digit",
    "shifted": "shifted right\nby one pixel",
    "blurred": "3x3 blur",
    "edges": "edges",
    "gx": "Sobel Gx",
    "gy": "Sobel Gy",
    "magnitude": "√(Gx² + Gy²)",
}


def load(folder: Path) -> np.ndarray:
    """Ten digits, 0 to 9, f32[10, N, N] of 0..1."""
    if folder.exists():
        _, test = load_mnist(folder)
        images, labels, most = test["image"], test["label"], 255
    else:
        with np.load(SMALL) as data:
            images, labels, most = data["images"], data["labels"], 16
    first = [int(np.flatnonzero(labels == digit)[0]) for digit in range(10)]
    return images[first].astype(np.float32) / most


def say(title: str, *matrices: np.ndarray) -> None:
    """Small integer matrices side by side."""
    print(title)
    for row in range(max(len(matrix) for matrix in matrices)):
        cells = ["".join(f"{value:4.0f}" for value in matrix[row]) if row < len(matrix) else "" for matrix in matrices]
        widths = [4 * matrix.shape[1] + 4 for matrix in matrices]
        print("  " + "".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())


def counting(first: int, side: int) -> np.ndarray:
    """f32[side, side] of first, first + 1, ... row by row."""
    return np.arange(first, first + side * side, dtype=np.float32).reshape(side, side)


def worked_examples() -> None:
    """The slide's numbers."""
    x, kernel = counting(0, 3), counting(0, 2)
    y = graphc.compile(SOURCE, model="padded")(x=x, kernel=kernel)["y"]
    say("3x3 with a border of zeros, under a 2x2 kernel:", x, kernel, y)

    x7, ones = counting(0, 7), np.ones((3, 3), np.float32)
    y = graphc.compile(SOURCE, model="strided")(x=x7, kernel=ones)["y"]
    say(f"7x7 under 3x3 ones with a stride of 2 is {y.shape[0]}x{y.shape[1]}:", x7, y)

    spot, kernel = np.zeros((5, 5), np.float32), counting(1, 3)
    spot[2, 2] = 1
    y = graphc.compile(SOURCE, model="turned")(x=spot, kernel=kernel)
    print("a single 1 under a kernel: correlation turns the kernel round, convolution copies it:")
    say("  the kernel      correlation     convolution", kernel, y["correlation"], y["convolution"])


def equivariance(model: Model, images: np.ndarray) -> None:
    """Moving an image and then filtering it is filtering it and then moving the result; turning it is not."""
    wide = np.pad(images, ((0, 0), (4, 4), (4, 4)))
    here = model(image=wide)["edges"]
    moved = model(image=np.roll(wide, (3, -2), axis=(1, 2)))["edges"]
    gx, turned = model(image=wide)["gx"], model(image=np.rot90(wide, axes=(1, 2)).copy())["gx"]
    same = np.abs(moved - np.roll(here, (3, -2), axis=(1, 2))).max()
    other = np.abs(turned - np.rot90(gx, axes=(1, 2))).max()
    print(f"moved by (3, -2), then filtered, against filtered, then moved: they differ by {same:.1f}")
    print(f"turned by 90 degrees and Sobel Gx: they differ by {other:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, nargs="?", default=DATA, metavar="FOLDER", help="with MNIST's IDX files")
    parser.add_argument("--out", type=Path, default=Path("runs/filters"))
    arguments = parser.parse_args()

    worked_examples()
    images = load(arguments.folder)
    model = graphc.compile(SOURCE, model="filters")
    equivariance(model, images)
    seen = {"image": images, **model(image=images)}
    rows = np.concatenate([seen[name] for name in ROWS])
    panel = tiles(rows, columns=10, rows=list(ROWS.values()), title="digits under kernels (blue above 0, red below)")
    print(write(arguments.out / "filters.png", [panel]))


if __name__ == "__main__":
    main()
