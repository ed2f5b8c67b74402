"""A perceptron on MNIST's IDX files.

    python examples/mnist_mlp/mnist_mlp.py FOLDER [--epochs 10]

FOLDER holds `train-images-idx3-ubyte.gz` and `train-labels-idx1-ubyte.gz` and the two `t10k-...` files. With only the
`t10k` files there, its 10,000 digits are divided: 8,000 to train on, 2,000 to test.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

import graphc
from graphc.run_folder import write_run_folder
from graphc.runtime.data import read

SOURCE = Path(__file__).with_suffix(".gc")
Part = dict[str, np.ndarray]


def load(folder: Path, part: str) -> Part:
    """{"image": u8[N, 28, 28], "label": u8[N]} of `train` or `t10k`."""
    return {
        "image": read(str(folder / f"{part}-images-idx3-ubyte.gz")),
        "label": read(str(folder / f"{part}-labels-idx1-ubyte.gz")),
    }


def load_parts(folder: Path) -> tuple[Part, Part]:
    """(training part, test part)."""
    test = load(folder, "t10k")
    if (folder / "train-images-idx3-ubyte.gz").exists():
        return load(folder, "train"), test
    order = np.random.default_rng(0).permutation(len(test["label"]))
    first, rest = order[: len(order) * 4 // 5], order[len(order) * 4 // 5 :]
    return {name: array[first] for name, array in test.items()}, {name: array[rest] for name, array in test.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="with MNIST's IDX files, as they are distributed")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--out", type=Path, default=Path("runs/mnist_mlp"), help="the run folder")
    arguments = parser.parse_args()

    training, test = load_parts(arguments.folder)
    model = graphc.compile(SOURCE)
    model.init(seed=0)
    start = time.perf_counter()
    history = model.fit(training, batch=arguments.batch, epochs=arguments.epochs, validation=test, seed=0)
    seconds = time.perf_counter() - start
    accuracy = float(model.evaluate(**test)["accuracy"])
    print(f"trained on {len(training['label'])} digits in {seconds:.1f} s")
    print(f"test accuracy: {100 * accuracy:.2f} % of {len(test['label'])}")
    print(f"{arguments.out}/")
    for line in write_run_folder(arguments.out, model, history):
        print(f"  {line}")


if __name__ == "__main__":
    main()
