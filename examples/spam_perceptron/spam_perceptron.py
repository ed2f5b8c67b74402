"""Is it spam? A perceptron that has learnt its weights decides on one mail, and on every other.

python examples/spam_perceptron/spam_perceptron.py [--out runs/spam_perceptron]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import graphc
from graphc.panels import regions, write

SOURCE = Path(__file__).with_suffix(".gc")
MAILS = np.array([[3, 4], [0, 0], [1, 0], [0, 2], [1, 1], [2, 1], [0, 4], [4, 0], [1, 3], [3, 1]], np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("runs/spam_perceptron"))
    arguments = parser.parse_args()
    model = graphc.compile(SOURCE)
    made = model(x=MAILS)
    for x, z, yhat in zip(MAILS, made["z"], made["yhat"], strict=True):
        verdict = "spam" if yhat > 0 else "no spam"
        print(f"z = 1.2 * {x[0]:.0f} + 0.7 * {x[1]:.0f} - 2.0 = {z:4.1f}   sgn(z) = {yhat:2.0f}   {verdict}")
    panel = regions(
        lambda points: model(x=points)["z"],
        MAILS,
        made["yhat"],
        title="1.2 x1 + 0.7 x2 - 2.0 = 0",
        names=("x1: the first word, times", "x2: the second word, times"),
        classes=("no spam", "spam"),
    )
    print(write(arguments.out / "spam_perceptron.png", [panel]))


if __name__ == "__main__":
    main()
