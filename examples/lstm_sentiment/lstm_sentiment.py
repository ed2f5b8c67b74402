"""Kind and unkind film reviews: an LSTM, a GRU and a plain recurrence over batches padded to the longest review.

    python examples/lstm_sentiment/lstm_sentiment.py [FILE.npz] [--epochs 5] [--out runs/lstm_sentiment]

FILE.npz holds for `train` and `test` all reviews' word numbers one after the other, where each review begins, and
whether it is kind; by default it is `../shared/data/imdb/imdb_subset.npz` beside the repository.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

import graphc
from graphc.panels import lines, write
from graphc.runtime.model import Model

SOURCE = Path(__file__).with_suffix(".gc")
DATA = Path(__file__).parents[3] / "shared" / "data" / "imdb" / "imdb_subset.npz"
BATCH, LONGEST = 32, 400
Reviews = tuple[list[np.ndarray], np.ndarray]  # the words of each, and 1 where it is kind
Batch = dict[str, np.ndarray]


def reviews(path: Path, part: str) -> Reviews:
    """Of each review its last 400 words, where the verdict usually stands."""
    with np.load(path, allow_pickle=False) as data:
        words, start, kind = (data[f"{part}_{name}"] for name in ("tokens", "offsets", "labels"))
    return [words[a:b][-LONGEST:].astype(np.int32) for a, b in pairwise(start)], kind


def batches(data: Reviews, size: int, random: np.random.Generator | None = None) -> Iterator[Batch]:
    """Reviews of about one length together, each batch as long as its longest; shuffled if `random`."""
    texts, kind = data
    length = np.array([len(text) for text in texts], np.int32)
    order = np.argsort(length if random is None else length + random.uniform(0, 30, len(texts)), kind="stable")
    parts = [order[start : start + size] for start in range(0, len(order), size)]
    if random is not None:
        random.shuffle(parts)
    for rows in parts:
        tokens = np.zeros((len(rows), length[rows].max()), np.int32)
        for row, text in zip(tokens, rows, strict=True):
            row[: length[text]] = texts[text]
        yield {"tokens": tokens, "length": length[rows], "label": kind[rows]}


def accuracy(model: Model, data: Reviews) -> float:
    right = sum(float(model.evaluate(batch)["accuracy"]) * len(batch["label"]) for batch in batches(data, 100))
    return right / len(data[1])


def train(model: Model, data: Reviews, test: Reviews, epochs: int, seed: int) -> dict[str, list[float]]:
    """The loss of each epoch, and the accuracy on the held-out reviews after it."""
    model.init(seed=seed)
    model.hyper["steps"] = epochs * math.ceil(len(data[1]) / BATCH)
    random = np.random.default_rng(seed)
    history: dict[str, list[float]] = {"loss": [], "accuracy": []}
    for _ in range(epochs):
        losses = [float(model.step(batch)["loss"]) for batch in batches(data, BATCH, random)]
        history["loss"].append(float(np.mean(losses)))
        history["accuracy"].append(accuracy(model, test))
    return history


def while_reading(model: Model, words: np.ndarray) -> np.ndarray:
    """The probability that a review is kind after 1, 2, ... all of its words: one batch of all its beginnings."""
    length = np.arange(1, len(words) + 1, dtype=np.int32)
    logit = model(tokens=np.tile(words, (len(words), 1)), length=length)["logit"]
    return np.asarray(1.0 / (1.0 + np.exp(-logit)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("file", type=Path, nargs="?", default=DATA, metavar="FILE.npz")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--train", type=int, default=5000, help="how many reviews to train on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/lstm_sentiment"))
    arguments = parser.parse_args()
    if not arguments.file.exists():
        parser.error(f"there is no {arguments.file}: give the reviews as .npz")

    texts, kind = reviews(arguments.file, "train")
    data, test = (texts[: arguments.train], kind[: arguments.train]), reviews(arguments.file, "test")
    models, histories = {}, {}
    for name in ("LSTM", "GRU", "RNN"):
        model = models[name] = graphc.compile(SOURCE, model=f"{name.lower()}_sentiment")
        start = time.perf_counter()
        histories[name] = history = train(model, data, test, arguments.epochs, arguments.seed)
        seconds = time.perf_counter() - start
        right = f"test accuracy: {100 * history['accuracy'][-1]:.1f} % of {len(test[1])}"
        print(f"{name:4}  loss {history['loss'][-1]:.3f}  {right}  ({seconds:.1f} s for {arguments.epochs} epochs)")

    long = [next(i for i, text in enumerate(test[0]) if len(text) >= 200 and test[1][i] == kind) for kind in (1, 0)]
    reading = {
        "kind": while_reading(models["LSTM"], test[0][long[0]]),
        "unkind": while_reading(models["LSTM"], test[0][long[1]]),
    }
    panels = [
        lines({name: history["loss"] for name, history in histories.items()}, title="training loss"),
        lines({name: history["accuracy"] for name, history in histories.items()}, title="accuracy, held out"),
        lines(reading, title="the LSTM's verdict while it reads", names=("word", "P(kind)"), level=("even", 0.5)),
    ]
    print(write(arguments.out / "lstm_sentiment.png", panels))


if __name__ == "__main__":
    main()
