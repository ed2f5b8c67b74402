"""Trains a network from C, and once more from Python: the weights are the same bits.

    python examples/embed_c/embed_c.py [FOLDER] [--epochs 3] [--out runs/embed_c]

Compiles embed_c.gc to a library for C, train.c with the system's C compiler, and runs the program on MNIST's IDX files
of FOLDER (by default `../shared/data/mnist` beside the repository), or, without them, on the 8x8 digits of
examples/digits.
"""

from __future__ import annotations

import argparse
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import graphc
from graphc.driver import compile_for_c
from graphc.runtime.data import read

HERE = Path(__file__).parent
MNIST = HERE.parents[2] / "shared" / "data" / "mnist"
BATCH = 32
Bytes = NDArray[np.uint8]


def digits(folder: Path) -> tuple[Bytes, Bytes]:
    """Images u8[N, S, S] and labels u8[N]: MNIST's test files if they are there, else the small digits."""
    path = folder / "t10k-images-idx3-ubyte.gz"
    if path.exists():
        return read(path), read(folder / "t10k-labels-idx1-ubyte.gz")
    data = np.load(HERE.parent / "digits" / "digits.npz")
    return data["images"].astype(np.uint8) * 15, data["labels"].astype(np.uint8)


def write_idx(path: Path, array: Bytes) -> None:
    """An IDX file, not compressed."""
    path.write_bytes(struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape) + array.tobytes())


def train_in_c(out: Path, images: Bytes, labels: Bytes, epochs: int, static: bool) -> str:
    """Builds the library and the program in the folder `out` and runs it; returns what it prints."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        sys.exit("embed_c: there is no C compiler here: install one, or set CC")
    products = ("object" if static else "shared", "header", "flat")
    for name, data in compile_for_c(HERE / "embed_c.gc", products, dims={"S": images.shape[1]}).items():
        (out / name).write_bytes(data)
    write_idx(out / "images.idx", images)
    write_idx(out / "labels.idx", labels)
    library = ["embed_c.o"] if static else ["-L.", "-lembed_c", "-Wl,-rpath,$ORIGIN"]
    warnings = ["-std=c11", "-Wall", "-Wextra", "-Werror"]
    build = [compiler, *warnings, "-O2", "-I.", "-o", "train", str(HERE / "train.c"), *library]
    subprocess.run(build, cwd=out, check=True)
    run = ["./train", "embed_c.flat", "images.idx", "labels.idx", str(epochs), "trained.flat"]
    return subprocess.run(run, cwd=out, check=True, stdout=subprocess.PIPE, text=True).stdout


def train_in_python(out: Path, images: Bytes, labels: Bytes, epochs: int) -> None:
    """The same steps with the same library's twin, the artifact."""
    model = graphc.compile(HERE / "embed_c.gc", dims={"S": images.shape[1]}, threads=1)
    model.load_flat(out / "embed_c.flat")
    training = len(images) - len(images) // 5
    for _ in range(epochs):
        for start in range(0, training, BATCH):
            rows = slice(start, min(start + BATCH, training))
            model.step(image=images[rows], label=labels[rows])
    model.save_flat(out / "python.flat")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, nargs="?", default=MNIST, metavar="FOLDER", help="with MNIST's IDX files")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--static", action="store_true", help="link the object file instead of the shared object")
    parser.add_argument("--out", type=Path, default=Path("runs/embed_c"), help="where everything is built")
    arguments = parser.parse_args()

    arguments.out.mkdir(parents=True, exist_ok=True)
    images, labels = digits(arguments.folder)
    print(train_in_c(arguments.out, images, labels, arguments.epochs, arguments.static), end="")
    train_in_python(arguments.out, images, labels, arguments.epochs)
    trained = [(arguments.out / name).read_bytes() for name in ("trained.flat", "python.flat")]
    if trained[0] != trained[1]:
        sys.exit("the weights from C and from Python differ")
    print(f"Python trains to the same {len(trained[0]):,} bytes")


if __name__ == "__main__":
    main()
