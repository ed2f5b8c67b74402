"""A restricted Boltzmann machine on MNIST, trained by contrastive divergence, and what it dreams.

    python examples/rbm/rbm.py [FOLDER] [--epochs 40] [--out runs/rbm]

FOLDER holds MNIST's IDX files; by default it is `../shared/data/mnist` beside the repository.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import graphc
from graphc.mnist import load_mnist
from graphc.panels import lines, write
from graphc.runtime.model import Model
from graphc.tiles import tiles

SOURCE = Path(__file__).with_suffix(".gc")
DATA = Path(__file__).parents[3] / "shared" / "data" / "mnist"
SWEEPS = (0, 10, 50, 200)


def set_visible_biases(model: Model, images: np.ndarray) -> None:
    """log p / (1 - p) of each pixel: no weight need say how often a pixel is on (Hinton 2012)."""
    chance = (images >= 128).reshape(len(images), -1).mean(axis=0).clip(0.001, 0.999)
    model.params["layer.b"][...] = np.log(chance / (1 - chance))


def dream(trained: Model, v: np.ndarray) -> list[np.ndarray]:
    """What is expected to be seen after each count of SWEEPS, from v f32[N, 784] on; every ten have their own seed."""
    model = graphc.compile(SOURCE, model="dream")
    seen, expected = [], v
    for count in range(0, SWEEPS[-1] + 1, 10):
        if count in SWEEPS:
            seen.append(expected)
        model.init(seed=count)
        for name, array in trained.params.items():
            model.params[name][...] = array
        result = model(v=v)
        v, expected = result["swept"], result["expected"]
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, nargs="?", default=DATA, metavar="FOLDER", help="with MNIST's IDX files")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--train", type=int, default=8000, help="how many digits to train on")
    parser.add_argument("--out", type=Path, default=Path("runs/rbm"))
    arguments = parser.parse_args()
    if not arguments.folder.exists():
        parser.error(f"there is no {arguments.folder}: give the folder of MNIST's IDX files")

    training, test = load_mnist(arguments.folder, arguments.train)
    model = graphc.compile(SOURCE)
    model.init(seed=0)
    set_visible_biases(model, training["image"])
    digits = {"image": training["image"]}
    history = model.fit(digits, batch=32, epochs=arguments.epochs, seed=0)

    seen = model(image=test["image"])
    shuffled = np.random.default_rng(0).permuted(test["image"].reshape(-1, 784), axis=1).reshape(-1, 28, 28)
    error = model.evaluate(image=test["image"])["error"]
    print(f"a held-out digit, once up and down: {100 * error:.2f} % squared error a pixel")
    print(f"mean free energy of training digits   {model(image=digits['image'][:2000])['free'].mean():8.1f}")
    print(f"                 of held-out digits   {seen['free'].mean():8.1f}")
    print(f"                 of shuffled pixels   {model(image=shuffled)['free'].mean():8.1f}")

    start = seen["v0"][:10]
    dreams = [image.reshape(28, 28) for row in dream(model, start) for image in row]
    w = model.params["layer.w"]
    strong = np.argsort(-np.abs(w).sum(axis=0), kind="stable")[:60]
    panels = [
        tiles(dreams, columns=10, rows=[f"{count} sweeps" for count in SWEEPS], title="held-out digits, and dreams"),
        lines({"training": history["error"]}, title="squared error of a pixel, up and down once"),
        tiles(
            w.T[strong].reshape(-1, 28, 28),
            columns=15,
            is_signed=True,
            title="what 60 hidden units look for: columns of W",
        ),
    ]
    print(write(arguments.out / "rbm.png", panels, columns=2))


if __name__ == "__main__":
    main()
