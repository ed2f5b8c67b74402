"""Overfitting on 500 digits, and what helps: more of them, less weight, dropout, stopping early, smaller steps.

    python examples/generalisation/generalisation.py [FOLDER] [--epochs 60] [--out runs/generalisation]

FOLDER holds MNIST's IDX files; by default it is `../shared/data/mnist` beside the repository. The figure is the
cross-entropy, without penalties, of digits held out; every network starts from the same weights.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import graphc
from graphc.mnist import Part, load_mnist
from graphc.panels import Panel, lines, write
from graphc.runtime.history import History
from graphc.runtime.model import Model

SOURCE = Path(__file__).with_suffix(".gc")
DATA = Path(__file__).parents[3] / "shared" / "data" / "mnist"
DIGITS, LR = 500, 0.02


class Comparison:
    """Runs of models on the first digits of MNIST, each told in one line."""

    def __init__(self, training: Part, test: Part, epochs: int) -> None:
        self.training, self.test, self.epochs = training, test, epochs

    def run(
        self,
        model: Model,
        name: str,
        digits: int = DIGITS,
        batch: int = 20,
        patience: int | None = None,
        **hyper: float,
    ) -> History:
        """Trains from the first values on, with the hyper-parameters of the file but for those given."""
        model.init(seed=0)
        for key, value in ({"lr": LR, "decay": 0.0, "half": 1e9} | hyper).items():
            if key in model.hyper:
                model.hyper[key] = value
        part = {key: array[:digits] for key, array in self.training.items()}
        history = model.fit(
            part, batch=batch, epochs=self.epochs, validation=self.test, patience=patience, seed=0, progress=False
        )
        right = 100 * model.evaluate(self.test)["accuracy"]
        cost = history["val_cost"]
        print(
            f"{name:32} training cost {history['cost'][-1]:.4f}, held out {cost[-1]:.3f} "
            f"(least {min(cost):.3f} in epoch {cost.index(min(cost)) + 1}), right on {right:.1f} %"
        )
        return history


def held_out(histories: dict[str, History], title: str) -> Panel:
    """The cost on the held-out digits, on the same scale in every panel."""
    inner = lines({name: history["val_cost"] for name, history in histories.items()}, title=title)

    def draw(axes: Any) -> None:
        inner.draw(axes)
        axes.set_ylim(0.1, 1.1)
        axes.set_ylabel("cost, held out")

    return Panel(draw, title)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, nargs="?", default=DATA, metavar="FOLDER")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--out", type=Path, default=Path("runs/generalisation"))
    arguments = parser.parse_args()
    if not arguments.folder.exists():
        parser.error(f"there is no {arguments.folder}: give the folder of MNIST's IDX files")
    compare = Comparison(*load_mnist(arguments.folder), arguments.epochs)
    plain, dropped = (graphc.compile(SOURCE, model=name) for name in ("plain", "dropped"))

    base = compare.run(plain, f"{DIGITS} digits")
    early = compare.run(plain, "early stopping, patience 5", patience=5)
    sizes = {f"{n:,} digits": compare.run(plain, f"{n} digits", digits=n) for n in (100, 2000, 8000)}
    decays = {f"decay {d:g}": compare.run(plain, f"weight decay {d:g}", decay=d) for d in (1e-3, 3e-3, 1e-2)}
    dropout = {"dropout 0.5": compare.run(dropped, "dropout 0.5")}
    rates = {
        "learning rate 0.1": compare.run(plain, "learning rate 0.1", lr=0.1),
        "0.1, halved every 8 epochs": compare.run(plain, "0.1, halved every 8 epochs", lr=0.1, half=200.0),
        "0.1, halved every 3 epochs": compare.run(plain, "0.1, halved every 3 epochs", lr=0.1, half=75.0),
    }
    batches = {f"batches of {b}": compare.run(plain, f"mini-batches of {b}", batch=b) for b in (5, 100, 500)}

    least = min(early["val_cost"])
    overfit = {"training": base["cost"], "held out": base["val_cost"]}
    panels = [
        lines(
            overfit,
            title=f"{DIGITS} digits for {sum(w.size for w in plain.params.values()):,} weights",
            level=(f"early stopping: epoch {early.best_epoch}", least),
            names=("epoch", "cost"),
        ),
        held_out({"100 digits": sizes.pop("100 digits"), f"{DIGITS} digits": base, **sizes}, "more digits"),
        held_out({"no decay": base, **decays}, "weight decay"),
        held_out({"no dropout": base, **dropout}, "dropout"),
        held_out(rates, "learning-rate decay"),
        held_out(
            {"batches of 5": batches.pop("batches of 5"), "batches of 20": base, **batches}, "size of the mini-batch"
        ),
    ]
    print(write(arguments.out / "generalisation.png", panels, columns=3))


if __name__ == "__main__":
    main()
