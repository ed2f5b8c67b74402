"""Handwritten digits, from the model file to predictions in a process that has no compiler.

    python examples/digits/digits.py [--epochs 15] [--out runs/digits]

Holds out a fifth of the 1,797 digits, trains on the rest (and on copies of them shifted by a pixel), prints the
accuracy on the held-out fifth, writes a run folder, and lets a fresh process load the artifact and predict.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import graphc

HERE = Path(__file__).parent
SOURCE = HERE / "digits.gc"


def load_digits(seed: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """(training part, held-out fifth) by a seeded permutation; each {"image": u8[N, 8, 8], "label": u8[N]}."""
    with np.load(HERE / "digits.npz") as data:
        images, labels = data["images"], data["labels"]
    order = np.random.default_rng(seed).permutation(len(images))
    test, train = order[: len(order) // 5], order[len(order) // 5 :]
    return {"image": images[train], "label": labels[train]}, {"image": images[test], "label": labels[test]}


def with_shifted_copies(part: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Five times the examples: as they are, and moved by one pixel up, down, left and right."""
    padded = np.pad(part["image"], ((0, 0), (1, 1), (1, 1)))
    corners = [(1, 1), (0, 1), (2, 1), (1, 0), (1, 2)]
    images = [padded[:, y : y + 8, x : x + 8] for y, x in corners]
    return {"image": np.concatenate(images), "label": np.tile(part["label"], len(corners))}


def picture(image: np.ndarray) -> list[str]:
    """A digit as eight lines of text, darker characters for more ink."""
    return ["".join(" .:-=+*#%@"[pixel * 9 // 16] * 2 for pixel in row) for row in image]


def train(out: Path, epochs: int, seed: int) -> float:
    """Compiles, trains, tests and writes the run folder; returns the accuracy on the held-out fifth."""
    from graphc.driver import stage_graph
    from graphc.run_folder import write_run_folder

    training, test = load_digits(seed)
    start = time.perf_counter()
    model = graphc.compile(SOURCE)
    count = sum(array.size for array in model.params.values())
    print(f"compiled {SOURCE.name} in {time.perf_counter() - start:.2f} s: {count:,} parameters")
    print(f"{len(training['label'])} digits to train on, {len(test['label'])} held out")

    model.init(seed=seed)
    history = model.fit(with_shifted_copies(training), batch=32, epochs=epochs, validation=test, seed=seed)
    accuracy = float(model.evaluate(**test)["accuracy"])
    print(f"test accuracy: {100 * accuracy:.2f} % of {len(test['label'])} digits never trained on")

    graphs = {
        "graph": stage_graph(SOURCE, "graph", entry="forward"),
        "step": stage_graph(SOURCE, "optimised", entry="step"),
    }
    print(f"{out}/")
    for line in write_run_folder(out, model, history, graphs):
        print(f"  {line}")
    return accuracy


def predict(out: Path, seed: int) -> None:
    """What a program that uses the model does: it loads the artifact and the weights, and never the compiler."""
    model = graphc.load(out / "digits.gca")
    model.load_weights(out / "weights.safetensors")
    _, test = load_digits(seed)
    probs = model(image=test["image"])["probs"]
    right = int((probs.argmax(axis=1) == test["label"]).sum())
    print(f"a fresh process loaded {out / 'digits.gca'}: right on {right} of {len(probs)} held-out digits, such as")
    first = [int(np.flatnonzero(test["label"] == digit)[0]) for digit in range(6)]
    for rows in zip(*(picture(test["image"][index]) for index in first), strict=True):
        print("  " + "  ".join(rows))
    answers = (f"{probs[i].argmax()} ({100 * probs[i].max():.0f} %), is {test['label'][i]}" for i in first)
    print("  " + "  ".join(f"{answer:16}" for answer in answers).rstrip())
    loaded = [name for name in ("graphc.driver", "graphc.frontend", "lark") if name in sys.modules]
    print(f"compiler modules loaded: {', '.join(loaded) or 'none'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0, help="of the split, the initial values and the order")
    parser.add_argument("--out", type=Path, default=Path("runs/digits"), help="the run folder")
    parser.add_argument("--predict", action="store_true", help="only predict, with the artifact of an earlier run")
    arguments = parser.parse_args()
    if arguments.predict:
        predict(arguments.out, arguments.seed)
        return
    train(arguments.out, arguments.epochs, arguments.seed)
    again = [sys.executable, __file__, "--predict", "--out", str(arguments.out), "--seed", str(arguments.seed)]
    sys.stdout.flush()
    subprocess.run(again, check=True)


if __name__ == "__main__":
    main()
