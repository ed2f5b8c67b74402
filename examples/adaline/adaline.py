"""Adaline on applicants: the LMS rule, one example at a time, against the least squares in closed form.

    python examples/adaline/adaline.py [--epochs 30] [--seed 0] [--out runs/adaline]

The applicants are drawn from the seed: two marks, admitted when their sum and some luck pass a bar.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import graphc
from graphc.panels import lines, regions, valley, write

SOURCE = Path(__file__).with_suffix(".gc")


def applicants(seed: int) -> dict[str, np.ndarray]:
    """{"marks": f32[100, 2] from 30 to 100, "y": f32[100] of -1 and +1}."""
    generator = np.random.default_rng(seed)
    marks = generator.uniform(30.0, 100.0, (100, 2))
    luck = generator.normal(0.0, 10.0, 100)
    return {
        "marks": marks.astype(np.float32),
        "y": np.where(marks.sum(axis=1) + luck > 130.0, 1.0, -1.0).astype(np.float32),
    }


def least_squares(data: dict[str, np.ndarray]) -> np.ndarray:
    """(w1, w2, b) that minimise the squared error, from the normal equations in float64."""
    x = np.column_stack([(data["marks"].astype(np.float64) - 65.0) / 20.0, np.ones(len(data["y"]))])
    return np.linalg.solve(x.T @ x, x.T @ data["y"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0, help="of the applicants and their order")
    parser.add_argument("--out", type=Path, default=Path("runs/adaline"))
    arguments = parser.parse_args()

    data = applicants(arguments.seed)
    best = least_squares(data)
    model = graphc.compile(SOURCE)
    weights, costs = [model.params["w"].copy()], []
    order = np.random.default_rng(arguments.seed)
    for _ in range(arguments.epochs):
        for row in order.permutation(len(data["y"])):
            model.step({name: array[row : row + 1] for name, array in data.items()})
            weights.append(model.params["w"].copy())
        costs.append(model.evaluate(data)["loss"])
    figures = model.evaluate(data)
    w, b = model.params["w"].copy(), float(model.params["b"])
    print(f"LMS, {arguments.epochs} epochs: w = ({w[0]:.3f}, {w[1]:.3f})  b = {b:.3f}  cost {figures['loss']:.4f}")
    model.params["w"][...], model.params["b"][...] = best[:2], best[2]
    least = float(model.evaluate(data)["loss"])
    print(f"least squares:  w = ({best[0]:.3f}, {best[1]:.3f})  b = {best[2]:.3f}  cost {least:.4f}")
    print(f"accuracy {100 * figures['accuracy']:.0f} % of {len(data['y'])}")

    def cost(w1: float, w2: float) -> float:
        model.params["w"][...] = w1, w2
        return float(model.evaluate(data)["loss"])

    across = np.linspace(-0.3, 1.3, 60)
    panels = valley(cost, across, across, weights, title="the weights after every example", best=(best[0], best[1]))
    panels.append(lines({"cost": costs}, title="the cost after each epoch", level=("least squares", least)))
    model.params["w"][...], model.params["b"][...] = w, b
    boundary = regions(
        lambda marks: model(marks=marks)["z"],
        data["marks"],
        data["y"],
        title="the boundary z = 0",
        names=("first exam", "second exam"),
        classes=("not admitted", "admitted"),
    )
    print(write(arguments.out / "adaline.png", [boundary, *panels]))


if __name__ == "__main__":
    main()
