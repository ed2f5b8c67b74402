"""A convolutional network on MNIST: its accuracy, the kernels it has learnt, and what they find in a digit.

    python examples/lenet/lenet.py [FOLDER] [--epochs 10] [--out runs/lenet]

FOLDER holds MNIST's IDX files; by default it is `../shared/data/mnist` beside the repository.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np

import graphc
from graphc.mnist import load_mnist
from graphc.panels import Panel, lines, write
from graphc.runtime.model import Model
from graphc.tiles import mistakes, tiles

SOURCE = Path(__file__).with_suffix(".gc")
DATA = Path(__file__).parents[3] / "shared" / "data" / "mnist"
BATCH = 32


def kernels_and_maps(model: Model, image: np.ndarray) -> list[Panel]:
    """The first layer's kernels, and all that the network sees on the way of one digit u8[28, 28]."""
    seen = model(image=image[None])
    kernels = model.params["first.filters.w"][:, :, 0].transpose(2, 0, 1)
    maps = {name: seen[f"probe/{name}"][0].transpose(2, 0, 1) for name in ("found", "pooled", "found2", "pooled2")}
    first, second = [*maps["found"], *maps["pooled"]], [*maps["found2"], *maps["pooled2"]]
    rows = ["detected", "pooled"]
    return [
        tiles([image], title="a held-out digit", side=1.8),
        tiles(kernels, columns=4, is_signed=True, title="the first layer's 8 kernels, 5x5 (blue wants ink)", side=0.9),
        tiles(first, columns=8, rows=rows, title="what each of them finds, 24x24 and 12x12", side=1.2),
        tiles(second, columns=16, rows=rows, title="the 16 maps of the second layer, 8x8 and 4x4", side=0.6),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, nargs="?", default=DATA, metavar="FOLDER", help="with MNIST's IDX files")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--train", type=int, default=8000, help="how many digits to train on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/lenet"))
    arguments = parser.parse_args()
    if not arguments.folder.exists():
        parser.error(f"there is no {arguments.folder}: give the folder of MNIST's IDX files")

    training, test = load_mnist(arguments.folder, arguments.train, 2000)
    model = graphc.compile(SOURCE)
    model.init(seed=arguments.seed)
    model.hyper["steps"] = math.ceil(len(training["label"]) / BATCH) * arguments.epochs
    start = time.perf_counter()
    history = model.fit(training, batch=BATCH, epochs=arguments.epochs, validation=test, seed=arguments.seed)
    seconds = time.perf_counter() - start
    accuracy = float(model.evaluate(test, batch=500)["accuracy"])
    print(f"trained on {len(training['label'])} digits for {arguments.epochs} epochs in {seconds:.1f} s")
    print(f"test accuracy: {100 * accuracy:.2f} % of {len(test['label'])}")

    curves = lines(
        {"training, with dropout": history["accuracy"], "held out": history["val_accuracy"]},
        title="accuracy",
        level=("98 %", 0.98),
    )
    one = int(np.flatnonzero(test["label"] == 4)[0])
    digit, kernels, first, second = kernels_and_maps(model, test["image"][one])
    print(write(arguments.out / "maps.png", [digit, first, kernels, second], columns=2))
    probs = model.predict(test["image"], output="probs", batch=500)
    print(write(arguments.out / "lenet.png", [curves, mistakes(test["image"], test["label"], probs)]))


if __name__ == "__main__":
    main()
