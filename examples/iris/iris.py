"""Three species of iris: K outputs one against all, and softmax, by gradient descent on all flowers at once.

    python examples/iris/iris.py [--steps 1000] [--out runs/iris]

100 flowers are trained on and 50 held out. The picture shows where the networks draw the lines between the species,
the costs, and what the regularisation does.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import graphc
from graphc.panels import Panel, lines, write
from graphc.pictures import COLOURS, INK
from graphc.runtime.data import read
from graphc.runtime.model import Model

SOURCE = Path(__file__).with_suffix(".gc")
DATA = Path(__file__).with_suffix(".csv")
SPECIES = ("setosa", "versicolor", "virginica")
Part = dict[str, np.ndarray]


def load(seed: int = 0) -> tuple[Part, Part]:
    """(100 flowers to train on, 50 held out), each {"flower": f32[N, 4], "species": u8[N]}, by a seeded permutation."""
    table = read(DATA, "f32")[np.random.default_rng(seed).permutation(150)]
    whole = {"flower": table[:, :4], "species": table[:, 4].astype(np.uint8)}
    return {n: array[:100] for n, array in whole.items()}, {n: array[100:] for n, array in whole.items()}


def descend(model: Model, training: Part, test: Part, steps: int, decay: float) -> dict[str, list[float]]:
    """Trains from the first values on; the costs J (without the penalty) of both parts after each step."""
    model.init(seed=0)
    model.hyper["lambda"] = decay
    history = model.fit(training, batch=len(training["species"]), epochs=steps, validation=test, progress=False)
    return {"training": history["j"], "held out": history["val_j"]}


def territories(decide: Callable[[np.ndarray], np.ndarray], part: Part, title: str) -> Panel:
    """Which species `decide` (f32[N, 4] -> [N, 3]) says of petals, the sepals being the average of all flowers'."""

    def draw(axes: Any) -> None:
        axes.grid(visible=False)
        x, y = np.linspace(0.5, 7.2, 301), np.linspace(-0.1, 2.8, 301)
        plane = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
        sepals = np.broadcast_to(part["flower"][:, :2].mean(axis=0), plane.shape)
        h = decide(np.concatenate([sepals, plane], axis=1).astype(np.float32)).reshape(301, 301, 3)
        axes.contourf(x, y, h.argmax(axis=2), levels=[-0.5, 0.5, 1.5, 2.5], colors=COLOURS[:3], alpha=0.22)
        axes.contour(x, y, h.argmax(axis=2), levels=[0.5, 1.5], colors=[INK], linewidths=1.0)
        for species, name in enumerate(SPECIES):
            points = part["flower"][part["species"] == species, 2:]
            axes.scatter(*points.T, s=26, color=COLOURS[species], edgecolors="white", linewidths=0.7, label=name)
        axes.set_xlabel("petal length (cm)")
        axes.set_ylabel("petal width (cm)")
        axes.legend(loc="upper left", frameon=False, fontsize=8)

    return Panel(draw, title)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("runs/iris"))
    arguments = parser.parse_args()
    training, test = load()
    whole = {name: np.concatenate([training[name], test[name]]) for name in training}

    panels = []
    for name, title in (("one_vs_all", "one against all"), ("softmax_net", "softmax")):
        model, held_out = graphc.compile(SOURCE, model=name), {}
        for decay in (1.0, 0.1, 0.0, 0.01):
            costs = descend(model, training, test, arguments.steps, decay)
            size = sum(float((w**2).sum()) for path, w in model.params.items() if path.endswith(".w"))
            print(
                f"{title}, lambda = {decay}: J = {costs['training'][-1]:.3f}, held out {costs['held out'][-1]:.3f}, "
                f"right on {100 * model.evaluate(test)['accuracy']:.0f} % of 50; sum of squared weights {size:.0f}"
            )
            held_out[f"lambda = {decay}"] = costs["held out"]
        panels.append(territories(model.predict, whole, f"{title}: the species by the petals"))
        panels.append(lines(costs, title="J, lambda = 0.01", names=("step", ""), is_log=True))
        panels.append(lines(held_out, title="J of the held-out flowers", names=("step", ""), is_log=True))
    print(write(arguments.out / "iris.png", panels, columns=3))


if __name__ == "__main__":
    main()
