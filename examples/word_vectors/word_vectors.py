"""Word vectors of Shakespeare's words: skip-gram with negative sampling, nearest neighbours, and sums of vectors.

    python examples/word_vectors/word_vectors.py [FILE] [--epochs 20] [--out runs/word_vectors]

FILE is any English text; by default it is `../shared/data/tinyshakespeare/input.txt` beside the repository.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

import graphc
from graphc.panels import Panel, lines, write
from graphc.pictures import COLOURS, INK
from graphc.runtime.model import Model

SOURCE = Path(__file__).with_suffix(".gc")
DATA = Path(__file__).parents[3] / "shared" / "data" / "tinyshakespeare" / "input.txt"
WINDOW, NOISE, BATCH, RATE = 5, 5, 256, 0.05
FREQUENT = 1e-3  # words more frequent than this are left out at times: they say little about their neighbours
ASKED = ("king", "queen", "romeo", "rome", "thou", "father", "blood", "night")
SUMS = (("king", "man", "woman"), ("son", "father", "mother"), ("thou", "thy", "your"))
SHOWN = {
    "thou": "thou thee thy thine art hast dost shalt wilt",
    "you": "you your are have do shall will",
    "England": "king queen henry richard edward warwick york lancaster crown england",
    "Verona": "romeo juliet nurse tybalt mercutio benvolio capulet laurence",
    "Rome": "rome marcius coriolanus aufidius menenius cominius tribunes senators consul",
    "family": "father mother son daughter brother sister wife husband",
    "body": "blood heart hand eyes tongue face head",
}


class Vocabulary:
    """The most frequent words of a text, numbered from the most frequent on; `text` is the text as numbers."""

    def __init__(self, text: str, size: int) -> None:
        found = re.findall(r"[a-z]+(?:'[a-z]+)?", text.lower())
        ranked = sorted(Counter(found).items(), key=lambda item: (-item[1], item[0]))
        self.words = [word for word, _ in ranked[:size]]
        self.number = {word: i for i, word in enumerate(self.words)}
        self.text = np.array([self.number[word] for word in found if word in self.number], np.int32)
        self.counts = np.bincount(self.text, minlength=size)

    def pairs(self, random: np.random.Generator) -> dict[str, np.ndarray]:
        """An epoch: words, a word near each, and for each pair words that are noise.

        Of the frequent words sqrt(FREQUENT / frequency) are kept; a word reaches 1 to WINDOW words to both sides;
        noise is drawn by counts^0.75 (Mikolov et al. 2013).
        """
        kept = np.sqrt(FREQUENT * len(self.text) / np.maximum(self.counts, 1))
        text = self.text[random.random(len(self.text)) < kept[self.text]]
        reach = random.integers(1, WINDOW + 1, len(text))
        words, near = [], []
        for distance in range(1, WINDOW + 1):
            left, right = text[:-distance], text[distance:]
            for word, other, far in ((left, right, reach[:-distance]), (right, left, reach[distance:])):
                words.append(word[far >= distance])
                near.append(other[far >= distance])
        word = np.concatenate(words)
        chances = np.cumsum(self.counts**0.75)
        noise = np.searchsorted(chances, random.random((len(word), NOISE)) * chances[-1], side="right")
        return {"word": word, "near": np.concatenate(near), "noise": noise.astype(np.int32)}


class Vectors:
    """Words as directions: vectors of length 1."""

    def __init__(self, vocabulary: Vocabulary, vectors: np.ndarray) -> None:
        self.vocabulary = vocabulary
        self.unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def __getitem__(self, word: str) -> np.ndarray:
        return np.asarray(self.unit[self.vocabulary.number[word]])

    def near(self, vector: np.ndarray, count: int = 8, without: tuple[str, ...] = ()) -> list[str]:
        """The words whose directions are nearest to that of a vector, the nearest first."""
        order = np.argsort(-(self.unit @ vector), kind="stable")
        words = (self.vocabulary.words[i] for i in order)
        return [word for _, word in zip(range(count + len(without)), words, strict=False) if word not in without][
            :count
        ]

    def sum(self, word: str, minus: str, plus: str, count: int = 8) -> list[str]:
        """The words nearest to word - minus + plus, such as king - man + woman; the three themselves left out."""
        return self.near(self[word] - self[minus] + self[plus], count, (word, minus, plus))


def train(model: Model, vocabulary: Vocabulary, epochs: int) -> list[float]:
    """The cost of a pair and its noise in each epoch; every epoch draws pairs and noise anew."""
    random, costs = np.random.default_rng(0), []
    model.init(seed=0)
    for epoch in range(epochs):
        model.hyper["lr"] = RATE * max(1 - epoch / epochs, 0.05)
        history = model.fit(vocabulary.pairs(random), batch=BATCH, epochs=1, seed=epoch, progress=False)
        costs.append(history["pair"][-1])
    return costs


def map_of(vectors: Vectors, groups: dict[str, list[str]]) -> Panel:
    """Words on the plane of their two principal components."""
    every = [word for words in groups.values() for word in words]
    x = np.stack([vectors[word] for word in every]).astype(np.float64)
    centred = x - x.mean(axis=0)
    plane = centred @ np.linalg.eigh(centred.T @ centred)[1][:, [-1, -2]]

    def draw(axes: Any) -> None:
        place = dict(zip(every, plane, strict=True))
        colours = (*COLOURS, INK)
        colour_of = {}
        for colour, (name, words) in zip(colours, groups.items(), strict=False):
            axes.scatter(*np.stack([place[word] for word in words]).T, s=9, color=colour, label=name)
            colour_of.update(dict.fromkeys(words, colour))
        axes.legend(frameon=False, fontsize=8)
        write_beside(axes, place, colour_of)

    return Panel(draw, "two principal components of the vectors", size=(8.4, 7.4))


def write_beside(axes: Any, place: dict[str, Any], colour_of: dict[str, Any]) -> None:
    """Each word beside its point, on the first side where it covers no other word."""
    taken: list[Any] = []
    for word, colour in colour_of.items():
        text = axes.annotate(word, place[word], color=colour, fontsize=8, xytext=(0, 0), textcoords="offset points")
        for height in (2, -7, 10, -15, 18, -23, 26, -31):
            for side, away in (("left", 3), ("right", -3)):
                text.set(position=(away, height), horizontalalignment=side)
                box = text.get_window_extent().expanded(1.15, 1.15)  # the page may be set smaller
                if not any(box.overlaps(other) for other in taken):
                    break
            else:
                continue
            break
        taken.append(box)


def likeness(vectors: Vectors, groups: dict[str, list[str]]) -> Panel:
    """The cosine of each two words."""
    every = [word for words in groups.values() for word in words]
    x = np.stack([vectors[word] for word in every])

    def draw(axes: Any) -> None:
        axes.grid(visible=False)
        axes.imshow(x @ x.T, cmap="RdBu", vmin=-1, vmax=1)
        axes.set_xticks(range(len(every)), every, rotation=90, fontsize=6)
        axes.set_yticks(range(len(every)), every, fontsize=6)

    return Panel(draw, "the cosine of each two words", size=(7.6, 7.4))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("file", type=Path, nargs="?", default=DATA, metavar="FILE", help="a text")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("runs/word_vectors"))
    arguments = parser.parse_args()
    if not arguments.file.exists():
        parser.error(f"there is no {arguments.file}: give a text")

    model = graphc.compile(SOURCE, dims={"N": NOISE})
    vocabulary = Vocabulary(arguments.file.read_text(encoding="utf-8"), len(model.params["words"]))
    print(f"{len(vocabulary.text)} words, {len(vocabulary.words)} of them different")
    costs = train(model, vocabulary, arguments.epochs)
    print(f"cost of a pair: {costs[0]:.3f} in the first epoch, {costs[-1]:.3f} in the last")

    vectors = Vectors(vocabulary, model.params["words"])
    for word in (word for word in ASKED if word in vocabulary.number):
        print(f"near {word}: {' '.join(vectors.near(vectors[word], without=(word,)))}")
    for word, minus, plus in SUMS:
        if all(one in vocabulary.number for one in (word, minus, plus)):
            print(f"{word} - {minus} + {plus}: {' '.join(vectors.sum(word, minus, plus))}")

    groups = {name: [word for word in words.split() if word in vocabulary.number] for name, words in SHOWN.items()}
    groups = {name: words for name, words in groups.items() if words}
    panels = [lines({"mean of an epoch": costs}, title="cost of a pair and its noise")]
    if len(groups) > 1:
        panels += [map_of(vectors, groups), likeness(vectors, groups)]
    print(write(arguments.out / "word_vectors.png", panels))


if __name__ == "__main__":
    main()
