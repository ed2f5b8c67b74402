"""Softmax regression on MNIST: what a linear classifier sees in a digit.

    python examples/softmax_regression/softmax_regression.py [FOLDER] [--epochs 20] [--out runs/softmax_regression]

FOLDER holds MNIST's IDX files; by default it is `../shared/data/mnist` beside the repository.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import graphc
from graphc.mnist import load_mnist
from graphc.panels import Panel, lines, write

SOURCE = Path(__file__).with_suffix(".gc")
DATA = Path(__file__).parents[3] / "shared" / "data" / "mnist"


def draw(axes: Any, image: np.ndarray, colours: str, limit: float) -> None:
    """An image f32[28, 28] between -limit and limit (weights), or 0 and limit (ink)."""
    axes.imshow(image, cmap=colours, vmin=-limit if colours == "RdBu" else 0, vmax=limit, interpolation="nearest")
    axes.set_axis_off()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, nargs="?", default=DATA, metavar="FOLDER")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("runs/softmax_regression"))
    arguments = parser.parse_args()
    if not arguments.folder.exists():
        parser.error(f"there is no {arguments.folder}: give the folder of MNIST's IDX files")

    training, test = load_mnist(arguments.folder)
    model = graphc.compile(SOURCE)
    history = model.fit(training, batch=50, epochs=arguments.epochs, validation=test, seed=0)
    accuracy = float(model.evaluate(test)["accuracy"])
    print(f"test accuracy: {100 * accuracy:.2f} % of {len(test['label'])}")

    probs = model(image=test["image"])["probs"]
    wrong = np.flatnonzero(probs.argmax(axis=1) != test["label"])
    worst = wrong[np.argsort(-probs[wrong].max(axis=1))][:4]
    weights = np.array(model.params["w"]).T.reshape(10, 28, 28)
    panels = [
        Panel(partial(draw, image=image, colours="RdBu", limit=0.8), f"weights of {digit}")
        for digit, image in enumerate(weights)
    ]
    panels += [
        Panel(
            partial(draw, image=test["image"][i], colours="gray_r", limit=255.0),
            f"a {test['label'][i]}, said to be {probs[i].argmax()} ({100 * probs[i].max():.0f} %)",
        )
        for i in worst
    ]
    panels.append(lines({"training": history["accuracy"], "held out": history["val_accuracy"]}, title="accuracy"))
    print(write(arguments.out / "softmax_regression.png", panels, columns=5))


if __name__ == "__main__":
    main()
