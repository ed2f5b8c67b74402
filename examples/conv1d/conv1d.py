"""A 1-D convolution and the banded matrix it is: equal results, equal gradients, and what sharing weights is good for.

python examples/conv1d/conv1d.py [--examples 20] [--out runs/conv1d]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import graphc
from graphc.panels import lines, write
from graphc.runtime.model import Model
from graphc.tiles import tiles

SOURCE = Path(__file__).with_suffix(".gc")
KERNEL = np.array([-1, 3, 4, 3, -1], np.float32) / 8  # a mean of neighbours that keeps corners
NOISE = 0.1
Task = dict[str, np.ndarray]


def draw(count: int, length: int, random: np.random.Generator) -> Task:
    """Random walks x f32[count, length], and under KERNEL with some noise `wanted` f32[count, length - 4]."""
    x = random.normal(size=(count, length)).cumsum(axis=1)
    x = (x - x.mean(axis=1, keepdims=True)).astype(np.float32)
    y = np.stack([np.correlate(row, KERNEL) for row in x])
    return {"x": x, "wanted": (y + random.normal(scale=NOISE, size=y.shape)).astype(np.float32)}


def say_band(matrix: np.ndarray) -> None:
    """The first rows and columns of the matrix."""
    print("the first 6 rows and 12 columns of the matrix:")
    for row in matrix[:6, :12]:
        print("  " + "".join(f"{value:6.2f}" if value else "     ." for value in row) + "   ..")


def learn(name: str, training: Task, test: Task, epochs: int) -> tuple[Model, dict[str, list[float]]]:
    """A trained model, and its losses by epoch."""
    model = graphc.compile(SOURCE, model=name)
    model.init(seed=0)
    batch = len(training["x"])
    history = model.fit(training, batch=batch, epochs=epochs, validation=test, seed=0, progress=False)
    count = sum(array.size for array in model.params.values())
    losses = {"training": history["loss"], "held out": history["val_loss"]}
    errors = f"{losses['training'][-1]:.4f} on the examples it has seen, {losses['held out'][-1]:.4f} on others"
    print(f"{name:7} {count:4} weights: squared error {errors}")
    return model, losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--examples", type=int, default=20, help="how many there are to learn from")
    parser.add_argument("--out", type=Path, default=Path("runs/conv1d"))
    arguments = parser.parse_args()

    random = np.random.default_rng(0)
    training, test = draw(arguments.examples, 32, random), draw(500, 32, random)
    model = graphc.compile(SOURCE, model="conv1d")
    model.params["w"][...] = KERNEL
    seen = model(x=test["x"])
    say_band(seen["matrix"])
    print(f"convolution against matrix: they differ by at most {np.abs(seen['y'] - seen['by_matrix']).max():.1e}")

    back = graphc.compile(SOURCE, model="gradients")(**test, w=np.zeros(5, np.float32))
    over_diagonals = np.array([np.trace(back["by_matrix"], offset) for offset in range(len(KERNEL))])
    print("gradient by the shared weights     " + "".join(f"{value:9.4f}" for value in back["by_w"]))
    print("sums over the matrix's diagonals   " + "".join(f"{value:9.4f}" for value in over_diagonals))

    shared, few = learn("conv1d", training, test, 400)
    free, many = learn("free", training, test, 400)
    print("the kernel it was made with   " + "".join(f"{value:8.3f}" for value in KERNEL))
    print("                   learnt     " + "".join(f"{value:8.3f}" for value in shared.params["w"]))
    steps = {
        "shared, held out": few["held out"],
        "free, held out": many["held out"],
        "free, training": many["training"],
    }
    curves = {name: (np.arange(1, len(values) + 1), values) for name, values in steps.items()}
    panels = [
        tiles([seen["matrix"]], title="a convolution as a matrix: 5 weights, shared along diagonals", side=3.6),
        tiles([back["by_matrix"]], title="the gradient by a matrix whose entries are free", side=3.6),
        tiles([free.params["matrix"]], title=f"896 free weights after {arguments.examples} examples", side=3.6),
        lines(curves, title="squared error", names=("step", ""), is_log=True, level=("noise", NOISE**2)),
    ]
    print(write(arguments.out / "conv1d.png", panels, columns=2))


if __name__ == "__main__":
    main()
