"""The same network under every optimizer of std.optim: from the same first weights, on the same batches.

    python examples/optimizers/optimizers.py [FOLDER] [--epochs 10] [--out runs/optimizers]

FOLDER holds MNIST's IDX files; by default it is `../shared/data/mnist` beside the repository. The optimizers are
written in the language, so each is one line of the model file; this program puts them there in turn.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import graphc
from graphc.mnist import load_mnist
from graphc.panels import Panel, lines, write
from graphc.pictures import COLOURS

SOURCE = Path(__file__).with_suffix(".gc")
DATA = Path(__file__).parents[3] / "shared" / "data" / "mnist"
LINE = "optimizer = sgd(lr = 0.3)"
LEFT = (  # in two panels; of the rates 1, 0.3, 0.1, ... each has the one that ends lowest
    *("sgd(lr = 0.3)", "momentum(lr = 0.1)", "nesterov(lr = 0.1)"),
    *("adagrad(lr = 0.1)", "rmsprop(lr = 0.003)", "rmsprop_centred(lr = 0.01)"),
)
RIGHT = ("adadelta()", "adam(lr = 0.003)", "adamw(lr = 0.003)", "nadam(lr = 0.003)", "adasecant()")
TICKS = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005)


def losses_of(losses: dict[str, list[float]]) -> Panel:
    """The training loss of each optimizer, on one scale."""
    inner = lines(losses, is_log=True)

    def draw(axes: Any) -> None:
        inner.draw(axes)
        axes.set_yticks(TICKS, [f"{tick:g}" for tick in TICKS])
        axes.minorticks_off()
        axes.set_ylim(0.004, 1.0)

    return Panel(draw, "training loss")


def bars(values: dict[str, float], title: str) -> Panel:
    """A bar from 90 to 100 % for each name."""

    def draw(axes: Any) -> None:
        names = list(values)[::-1]
        axes.barh(names, [100 * values[name] for name in names], color=COLOURS[0], height=0.62)
        for row, name in enumerate(names):
            axes.text(100 * values[name] + 0.1, row, f"{100 * values[name]:.1f}", va="center", fontsize=8)
        axes.set_xlim(90, 97)
        axes.tick_params(axis="y", labelsize=8)
        axes.grid(visible=False, axis="y")

    return Panel(draw, title)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, nargs="?", default=DATA, metavar="FOLDER")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("runs/optimizers"))
    arguments = parser.parse_args()
    if not arguments.folder.exists():
        parser.error(f"there is no {arguments.folder}: give the folder of MNIST's IDX files")

    training, test = load_mnist(arguments.folder)
    text = SOURCE.read_text(encoding="utf-8")
    losses, right = {}, {}
    for call in (*LEFT, *RIGHT):
        model = graphc.compile_source(text.replace(LINE, f"optimizer = {call}"))
        model.init(seed=0)
        history = model.fit(training, batch=64, epochs=arguments.epochs, validation=test, seed=0, progress=False)
        losses[call], right[call] = history["loss"], history["val_accuracy"][-1]
        seconds = sum(history["seconds"])
        print(f"{call:30} loss {losses[call][0]:.3f} ... {losses[call][-1]:.4f}, ", end="")
        print(f"right on {100 * right[call]:.2f} % held out, {seconds:.2f} s")
    panels = [losses_of({call: losses[call] for call in calls}) for calls in (LEFT, RIGHT)]
    panels.append(bars(right, f"% right of {len(test['label'])} held-out digits"))
    print(write(arguments.out / "optimizers.png", panels))


if __name__ == "__main__":
    main()
