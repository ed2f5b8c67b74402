"""A causal transformer on the characters of Shakespeare: its loss, and what it writes.

    python examples/transformer_lm/transformer_lm.py [FILE] [--steps 600] [--out runs/transformer_lm]

FILE is a text of at most 65 different characters; by default it is `../shared/data/tinyshakespeare/input.txt` beside
the repository.
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
DATA = Path(__file__).parents[3] / "shared" / "data" / "tinyshakespeare" / "input.txt"
LENGTH, BATCH = 64, 32


class Text:
    """A text as numbers of its characters, the last tenth held out."""

    def __init__(self, text: str) -> None:
        self.characters = sorted(set(text))
        numbers = {character: i for i, character in enumerate(self.characters)}
        every = np.array([numbers[character] for character in text], np.int32)
        cut = len(every) * 9 // 10
        self.training, self.held_out = every[:cut], every[cut:]

    def batch(self, random: np.random.Generator) -> dict[str, np.ndarray]:
        """BATCH windows from anywhere in the training part, and for each character the one that follows it."""
        first = random.integers(0, len(self.training) - LENGTH, BATCH)
        window = self.training[first[:, None] + np.arange(LENGTH + 1)]
        return {"text": window[:, :-1].copy(), "next": window[:, 1:].copy()}

    def windows(self) -> dict[str, np.ndarray]:
        """The held-out part cut into windows."""
        count = (len(self.held_out) - 1) // LENGTH
        text, following = (self.held_out[i : i + count * LENGTH].reshape(count, LENGTH) for i in (0, 1))
        return {"text": text, "next": following}


def train(model: Model, text: Text, steps: int, seed: int = 0) -> list[float]:
    """The training loss of every step."""
    random = np.random.default_rng(seed)
    model.hyper["steps"] = max(steps, 100)
    return [float(model.step(**text.batch(random))["loss"]) for _ in range(steps)]


def write_on(model: Model, text: Text, start: str, count: int, temperature: float = 0.8, seed: int = 0) -> str:
    """`start` and `count` characters more, each drawn from softmax(logits / temperature)."""
    random = np.random.default_rng(seed)
    numbers = [text.characters.index(character) for character in start]
    for _ in range(count):
        seen = np.array([numbers[-LENGTH:]], np.int32)
        logits = model.predict(seen)[0, -1, : len(text.characters)] / temperature
        chances = np.cumsum(np.exp(logits - logits.max()))
        numbers.append(int(np.searchsorted(chances, random.random() * chances[-1], side="right")))
    return "".join(text.characters[number] for number in numbers)


def smooth(values: list[float], width: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """(steps, means of the `width` values up to each)."""
    width = min(width, len(values))
    sums = np.cumsum(np.array([0.0, *values]))
    return np.arange(width, len(values) + 1), (sums[width:] - sums[:-width]) / width


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("file", type=Path, nargs="?", default=DATA, metavar="FILE", help="a text")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/transformer_lm"))
    arguments = parser.parse_args()
    if not arguments.file.exists():
        parser.error(f"there is no {arguments.file}: give a text")

    text = Text(arguments.file.read_text(encoding="utf-8"))
    model = graphc.compile(SOURCE)
    if len(text.characters) > model.params["table"].shape[0]:
        parser.error(f"the text has {len(text.characters)} different characters; V in {SOURCE.name} must be as many")
    model.init(seed=arguments.seed)
    weights = sum(value.size for value in model.params.values())
    print(f"{len(text.training)} characters to learn from, {weights} weights")
    start = time.perf_counter()
    losses = train(model, text, arguments.steps, arguments.seed)
    seconds = time.perf_counter() - start
    held_out = float(model.evaluate(text.windows(), batch=BATCH)["loss"])
    print(f"{arguments.steps} steps in {seconds:.1f} s")
    print(f"loss of the last 50 steps: {np.mean(losses[-50:]):.3f}, held out: {held_out:.3f}")
    print(write_on(model, text, "ROMEO:", 300))

    curves = {"a step": losses, "mean of 20 steps": smooth(losses)}
    level = (f"held out {held_out:.2f}", held_out)
    panel = lines(curves, title="loss of a character", names=("step", ""), level=level)
    print(write(arguments.out / "transformer_lm.png", [panel]))


if __name__ == "__main__":
    main()
