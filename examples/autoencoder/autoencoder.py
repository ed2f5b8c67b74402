"""An autoencoder on MNIST: digits through a code of 16 numbers and back, beside the best linear code of that size.

    python examples/autoencoder/autoencoder.py [FOLDER] [--epochs 20] [--out runs/autoencoder]

FOLDER holds MNIST's IDX files; by default it is `../shared/data/mnist` beside the repository.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np

import graphc
from graphc.mnist import load_mnist
from graphc.panels import lines, write
from graphc.runtime.model import Model
from graphc.tiles import tiles

SOURCE = Path(__file__).with_suffix(".gc")
DATA = Path(__file__).parents[3] / "shared" / "data" / "mnist"
SHOWN, STEPS = 12, 12


def by_principal_components(training: np.ndarray, test: np.ndarray, count: int) -> np.ndarray:
    """u8 images [N, 28, 28] through the `count` directions of most variance and back, f32[N, 784] of 0..1."""
    x, given = (images.reshape(len(images), -1) / 255 for images in (training, test))
    mean = x.mean(axis=0)
    _, directions = np.linalg.eigh((x - mean).T @ (x - mean))
    best = directions[:, -count:]
    return (given - mean) @ best @ best.T + mean


def between(trained: Model, codes: np.ndarray) -> np.ndarray:
    """Images [pairs * STEPS, 28, 28] on straight lines between neighbouring codes f32[pairs + 1, K]."""
    model = graphc.compile(SOURCE, model="decoder")
    for name in model.params:
        model.params[name][...] = trained.params[name]
    part = np.linspace(0, 1, STEPS, dtype=np.float32)[:, None]
    code = np.concatenate([(1 - part) * a + part * b for a, b in itertools.pairwise(codes)])
    return model(code=code)["image"].reshape(-1, 28, 28)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, nargs="?", default=DATA, metavar="FOLDER", help="with MNIST's IDX files")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--train", type=int, default=8000, help="how many digits to train on")
    parser.add_argument("--out", type=Path, default=Path("runs/autoencoder"))
    arguments = parser.parse_args()
    if not arguments.folder.exists():
        parser.error(f"there is no {arguments.folder}: give the folder of MNIST's IDX files")

    training, test = load_mnist(arguments.folder, arguments.train, 2000)
    model = graphc.compile(SOURCE)
    model.init(seed=0)
    images = {"image": training["image"]}
    held_out = {"image": test["image"]}
    history = model.fit(images, batch=32, epochs=arguments.epochs, validation=held_out, seed=0)

    seen = model(image=test["image"])
    count = seen["code"].shape[1]
    linear = by_principal_components(training["image"], test["image"], count)
    level = float(np.mean((linear - test["image"].reshape(-1, 784) / 255) ** 2))
    error = model.evaluate(image=test["image"])["squared_error"]
    by = f"{error:.4f} by the autoencoder, {level:.4f} by {count} principal components"
    print(f"squared error of a held-out pixel: {by}")

    first = [int(np.flatnonzero(test["label"] == digit)[0]) for digit in range(10)] + list(range(SHOWN - 10))
    rows = [test["image"][first] / 255, seen["again"][first], linear[first].clip(0, 1)]
    shown = np.concatenate([row.reshape(-1, 28, 28) for row in rows])
    names = ["held out", f"from {count} numbers", f"{count} principal\ncomponents"]
    panels = [
        tiles(shown, columns=SHOWN, rows=names, title="digits, and what comes through"),
        lines(
            {"training": history["squared_error"], "held out": history["val_squared_error"]},
            title="squared error of a pixel",
            level=("principal components", level),
        ),
        tiles(between(model, seen["code"][first[:5]]), columns=STEPS, title="on straight lines from code to code"),
    ]
    print(write(arguments.out / "autoencoder.png", panels, columns=2))


if __name__ == "__main__":
    main()
