"""Linear regression by incremental gradient descent, and with basis functions a curve and a curved boundary.

python examples/linear_regression/linear_regression.py [--seed 0] [--out runs/linear_regression]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import graphc
from graphc.panels import Panel, lines, regions, valley, write

SOURCE = Path(__file__).with_suffix(".gc")


def line(generator: np.random.Generator) -> list[Panel]:
    """h(x) = w0 + w1 x, one example at a time, beside the closed form."""
    x = generator.uniform(-1.0, 2.0, 80).astype(np.float32)
    y = (1.0 + 2.0 * x + generator.normal(0.0, 0.5, 80)).astype(np.float32)
    design = np.column_stack([np.ones(80), x])
    best = np.linalg.solve(design.T @ design, design.T @ y)
    model = graphc.compile(SOURCE, model="line")
    path = [(0.0, 0.0)]
    for _ in range(50):
        for row in generator.permutation(80):
            model.step(x=x[row : row + 1], y=y[row : row + 1])
            path.append((float(model.params["w0"]), float(model.params["w1"])))
    w0, w1 = path[-1]
    print(
        f"line:          h = {w0:.3f} + {w1:.3f} x example by example, {best[0]:.3f} + {best[1]:.3f} x in closed form"
    )
    ends = np.array([-1.0, 2.0], np.float32)
    fitted = lines({"h(x)": (ends, model.predict(ends))}, points=(x, y), title="a line", names=("x", "y"))

    def cost(w0: float, w1: float) -> float:
        model.params["w0"][...], model.params["w1"][...] = w0, w1
        return float(model.evaluate(x=x, y=y)["loss"])

    across, up = np.linspace(-0.6, 2.6, 60), np.linspace(-0.4, 3.2, 60)
    names, minimum = ("w0", "w1"), (float(best[0]), float(best[1]))
    return [fitted, *valley(cost, across, up, path, title="its descent, example by example", names=names, best=minimum)]


def curve(generator: np.random.Generator) -> Panel:
    """A curve by bumps: linear in w, so that the closed form is there too."""
    x = np.sort(generator.uniform(0.0, 1.0, 100)).astype(np.float32)
    y = (np.sin(2.0 * np.pi * x) + generator.normal(0.0, 0.2, 100)).astype(np.float32)
    model = graphc.compile(SOURCE, model="curve")
    history = model.fit({"x": x, "y": y}, batch=100, epochs=2000, progress=False)
    design = np.column_stack([model(x=x)["phi"], np.ones(100)]).astype(np.float64)
    best = np.linalg.lstsq(design, y, rcond=None)[0]
    least = float(np.mean((design @ best - y) ** 2) / 2.0)
    print(f"curve:         cost {history['loss'][-1]:.4f} by descent, {least:.4f} in closed form")
    across = np.linspace(0.0, 1.0, 300, dtype=np.float32)
    made, w = model(x=across), model.params["w"]
    shown: dict[str, tuple[np.ndarray, np.ndarray]] = {"h(x)": (across, made["h"])}
    shown |= {f"w{k + 1} phi{k + 1}(x)": (across, made["phi"][:, k] * w[k]) for k in (1, 4, 8)}
    return lines(shown, points=(x, y), title="a curve: 12 bumps, three of them shown", names=("x", "y"))


def discriminant(generator: np.random.Generator) -> Panel:
    """A class inside of an ellipse and one around it."""
    x = generator.uniform(-1.0, 1.0, (200, 2)).astype(np.float32)
    inside = (x[:, 0] - 0.1) ** 2 + 2.0 * (x[:, 1] + 0.1) ** 2 + x[:, 0] * x[:, 1] < 0.4
    y = np.where(inside, 1.0, -1.0).astype(np.float32)
    model = graphc.compile(SOURCE, model="discriminant")
    model.fit({"x": x, "y": y}, batch=200, epochs=1000, progress=False)
    accuracy = model.evaluate(x=x, y=y)["accuracy"]
    w = " ".join(
        f"{number:+.2f} {name}"
        for number, name in zip(model.params["w"], ("x1", "x2", "x1x2", "x1^2", "x2^2"), strict=True)
    )
    print(f"discriminant:  g = {float(model.params['w0']):.2f} {w}, right on {100 * accuracy:.0f} % of 200")
    return regions(model.predict, x, y, title="a discriminant: g(x) = 0 is a conic")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, default=0, help="of the examples and their order")
    parser.add_argument("--out", type=Path, default=Path("runs/linear_regression"))
    arguments = parser.parse_args()
    generator = np.random.default_rng(arguments.seed)
    panels = [*line(generator), curve(generator), discriminant(generator)]
    print(write(arguments.out / "linear_regression.png", panels, columns=2))


if __name__ == "__main__":
    main()
