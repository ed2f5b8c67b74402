"""A small GoogLeNet on MNIST: inception blocks, and what their four ways see.

    python examples/inception/inception.py [FOLDER] [--epochs 8] [--out runs/inception]

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


def maps(model: Model, image: np.ndarray) -> list[Panel]:
    """What the first inception block makes of a digit u8[28, 28], way by way."""
    channels = model(image=image[None])["probe/first"][0].transpose(2, 0, 1)
    ways = {"1x1": 16, "3x3": 16, "5x5": 8, "3x3 pool, 1x1": 8}
    parts = np.split(channels, np.cumsum(list(ways.values()))[:-1])
    shown = np.concatenate([part[:8] for part in parts])
    title = "the first inception block: 8 channels of each way, 14x14"
    return [tiles([image], title="a held-out digit", side=2.2), tiles(shown, columns=8, rows=list(ways), title=title)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, nargs="?", default=DATA, metavar="FOLDER", help="with MNIST's IDX files")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--train", type=int, default=8000, help="how many digits to train on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/inception"))
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
    count = sum(array.size for array in model.params.values())
    print(f"{count:,} parameters")
    print(f"trained on {len(training['label'])} digits for {arguments.epochs} epochs in {seconds:.1f} s")
    print(f"test accuracy: {100 * accuracy:.2f} % of {len(test['label'])}")

    curves = lines(
        {"training, with dropout": history["accuracy"], "held out": history["val_accuracy"]},
        title="accuracy",
        level=("98 %", 0.98),
    )
    one = int(np.flatnonzero(test["label"] == 4)[0])
    print(write(arguments.out / "maps.png", maps(model, test["image"][one])))
    probs = model.predict(test["image"], output="probs", batch=500)
    print(write(arguments.out / "inception.png", [curves, mistakes(test["image"], test["label"], probs)]))


if __name__ == "__main__":
    main()
