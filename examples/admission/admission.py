"""Who is admitted: one sigmoid neuron on the marks of 100 applicants, fitted by gradient descent.

    python examples/admission/admission.py [FILE.csv] [--steps 400] [--out runs/admission]

FILE has a head line and three columns: the marks of two exams, and 1 for admitted or 0. By default it is
`../shared/data/admission/admission.csv` beside the repository.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import graphc
from graphc.panels import lines, regions, valley, write
from graphc.runtime.data import read

SOURCE = Path(__file__).with_suffix(".gc")
DATA = Path(__file__).parents[3] / "shared" / "data" / "admission" / "admission.csv"
START = (-1.0, 5.5)  # up the slope, so that the picture shows how a descent bends into the valley


def load(path: Path) -> dict[str, np.ndarray]:
    """{"marks": f32[N, 2], "y": f32[N]}."""
    table = read(path, "f32")
    return {"marks": table[:, :2], "y": table[:, 2]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("file", type=Path, nargs="?", default=DATA, metavar="FILE.csv")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--out", type=Path, default=Path("runs/admission"))
    arguments = parser.parse_args()
    if not arguments.file.exists():
        parser.error(f"there is no {arguments.file}: give the path of the applicants' marks as CSV")

    data = load(arguments.file)
    model = graphc.compile(SOURCE)
    model.params["w"][...] = START
    path, costs = [model.params["w"].copy()], []
    for _ in range(arguments.steps):
        costs.append(model.step(data)["loss"])
        path.append(model.params["w"].copy())
    figures = model.evaluate(data)
    w, b = model.params["w"], float(model.params["b"])
    print(f"p = sigma({w[0]:.2f} x1 + {w[1]:.2f} x2 + {b:.2f}), x = (marks - 65) / 20, after {arguments.steps} steps")
    print(f"log-likelihood {figures['log_likelihood']:.4f} an applicant")
    print(f"accuracy {100 * figures['accuracy']:.0f} % of {len(data['y'])} at threshold 0.5")
    print(f"marks of 45 and 85: admitted with probability {model.predict(np.array([[45, 85]], np.float32))[0]:.2f}")

    def cost(w1: float, w2: float) -> float:
        model.params["w"][...] = w1, w2
        return float(model.evaluate(data)["loss"])

    across = np.linspace(-2.0, 7.0, 60)
    panels = [
        regions(
            model.predict,
            data["marks"],
            data["y"],
            threshold=0.5,
            title="the boundary p = 0.5",
            names=("first exam", "second exam"),
            classes=("not admitted", "admitted"),
        ),
        lines({"-log-likelihood": costs}, title="the cost of each step", names=("step", "")),
    ]
    panels += valley(cost, across, across, path, title=f"the cost over the weights, b = {b:.2f}", is_surface=True)
    print(write(arguments.out / "admission.png", panels, columns=2))


if __name__ == "__main__":
    main()
