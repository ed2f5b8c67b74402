"""Embeddings beside torch and NumPy: lookup, a step of gradient descent, a step of Adam; all on one thread.

    python tests/bench/embedding.py [--rows 20000] [--width 64] [--batch 32] [--length 80]

The model is the mean of the looked-up rows against a target, so that the table is nearly all there is to do.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from time import perf_counter

import numpy as np
import torch

import graphc
from graphc.runtime.model import Model

TEXT = """
use std.nn: embedding
dim B, T, V = {rows}, E = {width}
model look(i: i32[B, T]) -> (y: f32[B, T, E]):
    param words = embedding[V=V, E=E]
    y = words(i)
train look:
    input t: f32[B, E]
    loss = mse(mean(y, axis=T), t)
    optimizer = {optimizer}
"""


def in_turns(runs: dict[str, Callable[[], object]], rounds: int = 60) -> dict[str, float]:
    """The least time of each in seconds; they take turns, so that noise meets all of them."""
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(rounds):
        for name, run in runs.items():
            start = perf_counter()
            run()
            best[name] = min(best[name], perf_counter() - start)
    return best


def show(title: str, times: dict[str, float]) -> None:
    print(f"{title:18}" + "".join(f"  {name} {1e6 * seconds:9.1f} us" for name, seconds in times.items()))


def by_torch(
    table: np.ndarray, index: np.ndarray, target: np.ndarray, optimizer: str, sparse: bool
) -> Callable[[], object]:
    layer = torch.nn.Embedding.from_pretrained(torch.from_numpy(table.copy()), freeze=False, sparse=sparse)
    descent = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer](layer.parameters(), lr=1e-3)
    i, t = torch.from_numpy(index.astype(np.int64)), torch.from_numpy(target)

    def step() -> None:
        descent.zero_grad()
        ((layer(i).mean(1) - t) ** 2).mean().backward()
        descent.step()

    return step


def by_numpy(table: np.ndarray, index: np.ndarray, target: np.ndarray) -> Callable[[], object]:
    """Gradient descent on the rows of the batch, by np.add.at."""
    table = table.copy()

    def step() -> None:
        difference = table[index].mean(1) - target
        update = 2 * difference / np.float32(difference.size * index.shape[1])
        np.subtract.at(table, index, 1e-3 * update[:, None])

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    for name, size in (("rows", 20000), ("width", 64), ("batch", 32), ("length", 80)):
        parser.add_argument(f"--{name}", type=int, default=size)
    given = parser.parse_args()
    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    index = random.integers(0, given.rows, (given.batch, given.length)).astype(np.int32)
    target = random.normal(size=(given.batch, given.width)).astype(np.float32)
    models: dict[str, Model] = {}
    for optimizer in ("sgd", "adam"):
        text = TEXT.format(rows=given.rows, width=given.width, optimizer=f"{optimizer}(lr=1e-3)")
        models[optimizer] = graphc.compile_source(text)
        models[optimizer].init(0)
    table = np.array(models["sgd"].params["words.table"])
    looked = torch.nn.Embedding.from_pretrained(torch.from_numpy(table.copy()))
    wide = torch.from_numpy(index.astype(np.int64))
    numbers = {"i": index}
    with torch.no_grad():
        show(
            "lookup",
            in_turns(
                {
                    "graphc": lambda: models["sgd"](numbers),
                    "torch": lambda: looked(wide),
                    "numpy": lambda: table[index],
                }
            ),
        )
    batch = {"i": index, "t": target}
    descent = {
        "graphc": lambda: models["sgd"].step(batch),
        "torch sparse": by_torch(table, index, target, "sgd", True),
        "torch dense": by_torch(table, index, target, "sgd", False),
        "numpy": by_numpy(table, index, target),
    }
    show("gradient descent", in_turns(descent))
    adam = {"graphc": lambda: models["adam"].step(batch), "torch": by_torch(table, index, target, "adam", False)}
    show("Adam", in_turns(adam))


if __name__ == "__main__":
    main()
