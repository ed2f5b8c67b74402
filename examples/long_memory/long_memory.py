"""The adding problem: what an LSTM remembers over 60 steps and a plain recurrence does not, and the gradients' norms.

python examples/long_memory/long_memory.py [--length 60] [--steps 1500] [--out runs/long_memory]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

import graphc
from graphc.panels import lines, write
from graphc.runtime.model import Model

SOURCE = Path(__file__).with_suffix(".gc")
GUESS = 1.0 / 6.0  # the variance of the sum of two uniform numbers: the error of who always says 1


def task(count: int, length: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Sequences of numbers and marks; one mark in the first half, one in the second; and the sum of the marked."""
    x = np.zeros((count, length, 2), np.float32)
    x[:, :, 0] = random.uniform(size=(count, length))
    rows, half = np.arange(count), length // 2
    marked = random.integers(0, half, count), random.integers(half, length, count)
    for places in marked:
        x[rows, places, 1] = 1.0
    return {"x": x, "y": sum(x[rows, places, 0] for places in marked)}


def train(model: Model, length: int, steps: int, seed: int) -> np.ndarray:
    """The error of each step."""
    model.init(seed=seed)
    random = np.random.default_rng(seed)
    return np.array([model.step(task(32, length, random))["loss"] for _ in range(steps)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--length", type=int, default=60)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/long_memory"))
    arguments = parser.parse_args()

    test = task(500, arguments.length, np.random.default_rng(arguments.seed + 1))
    errors, before, after = {}, {}, {}
    for name in ("LSTM", "RNN"):
        model = graphc.compile(SOURCE, model=f"{name.lower()}_adds")
        model.init(seed=arguments.seed)
        before[name] = model(test)["norm"]
        start = time.perf_counter()
        errors[name] = train(model, arguments.length, arguments.steps, arguments.seed)
        seconds = time.perf_counter() - start
        seen = model(test)
        after[name] = seen["norm"]
        print(
            f"{name:4}  error {float(seen['error']):.4f} on 500 others (always saying 1: {GUESS:.4f}), {seconds:.1f} s"
        )
        for when, norm in (("before", before[name]), ("after", after[name])):
            print(f"      |d error / d h| {when} training: {norm[0]:.1e} at the first step, {norm[-1]:.1e} at the last")

    smooth = {name: np.convolve(error, np.full(20, 0.05), "valid") for name, error in errors.items()}
    panels = [lines(smooth, title="error", names=("step", ""), is_log=True, level=("always saying 1", GUESS))]
    for title, norms in (("before training", before), ("after training", after)):
        panels.append(lines(norms, title=f"|d error / d h|, {title}", names=("t", ""), is_log=True))
    print(write(arguments.out / "long_memory.png", panels))


if __name__ == "__main__":
    main()
