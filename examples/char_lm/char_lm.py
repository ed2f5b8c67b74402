"""A language model of characters: trained on Shakespeare, then it writes, a character at a time.

    python examples/char_lm/char_lm.py [FILE] [--epochs 2] [--temperature 0.7] [--out runs/char_lm]

FILE is any text of 65 different characters at most; by default it is `../shared/data/tinyshakespeare/input.txt` beside
the repository. Its last tenth is held out.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

import graphc
from graphc.panels import Panel, lines, write
from graphc.pictures import COLOURS
from graphc.runtime.errors import DataError
from graphc.runtime.model import Model

SOURCE = Path(__file__).with_suffix(".gc")
DATA = Path(__file__).parents[3] / "shared" / "data" / "tinyshakespeare" / "input.txt"
ROWS, PIECE, LETTERS, STATES = 32, 64, 65, 128


def numbered(text: str) -> tuple[np.ndarray, list[str]]:
    """The text as numbers of its characters, and the characters."""
    letters = sorted(set(text))
    if not letters or len(letters) > LETTERS:
        raise DataError(f"the text has {len(letters)} different characters; it must be from 1 to {LETTERS}")
    number = {letter: i for i, letter in enumerate(letters)}
    return np.array([number[letter] for letter in text], np.uint8), letters


def pieces(text: np.ndarray) -> dict[str, np.ndarray]:
    """The text cut into 32 rows and those into pieces of 64: piece 0 of every row, then piece 1 of every row, ...

    So a batch goes on where the one before ends, row by row, which is what states that are carried on need.
    """
    count = (len(text) - 1) // (ROWS * PIECE)

    def cut(one: np.ndarray) -> np.ndarray:
        return one[: ROWS * count * PIECE].reshape(ROWS, count, PIECE).transpose(1, 0, 2).reshape(-1, PIECE)

    return {"text": cut(text), "next": cut(text[1:])}


def held_out_loss(speaker: Model, text: np.ndarray) -> float:
    """The mean of -log p(next character) over a text, in eight long rows."""
    rows = text[: len(text) // 8 * 8].reshape(8, -1)
    state = np.zeros((8, STATES), np.float32)
    logits = speaker(text=rows[:, :-1], h0=state, c0=state)["logits"].astype(np.float64)
    log_sum = np.log(np.exp(logits).sum(axis=-1))
    right = np.take_along_axis(logits, rows[:, 1:, None].astype(np.int64), axis=-1)[..., 0]
    return float(np.mean(log_sum - right))


def say(speaker: Model, start: np.ndarray, count: int, temperature: float, random: np.random.Generator) -> list[int]:
    """`count` characters after `start`, drawn from softmax(logits / temperature); the states go from call to call."""
    state = np.zeros((1, STATES), np.float32)
    seen = speaker(text=start[None], h0=state, c0=state)
    said: list[int] = []
    for _ in range(count):
        logits = seen["logits"][0, -1].astype(np.float64)
        chance = np.exp((logits - logits.max()) / temperature)
        said.append(int(random.choice(LETTERS, p=chance / chance.sum())))
        seen = speaker(text=np.array([[said[-1]]], np.uint8), h0=seen["h"], c0=seen["c"])
    return said


def letters_panel(speaker: Model, letters: list[str]) -> Panel:
    """The characters' vectors on their two main axes: what the model takes for alike."""
    centred = speaker.params["read.letters.table"] - speaker.params["read.letters.table"].mean(axis=0)
    places = centred @ np.linalg.svd(centred)[2][:2].T

    def draw(axes: Any) -> None:
        axes.scatter(*places.T, s=1, alpha=0.0)
        for place, letter in zip(places, letters, strict=False):
            kind = 0 if letter in "aeiou" else 1 if letter.islower() else 2 if letter.isupper() else 3
            axes.text(*place, repr(letter)[1:-1], color=COLOURS[kind], ha="center", va="center")

    return Panel(draw, "the characters' vectors on two axes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("file", type=Path, nargs="?", default=DATA, metavar="FILE")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--train", type=int, default=1_000_000, help="how many characters to train on")
    parser.add_argument("--temperature", type=float, default=0.7, help="below 1 it dares less, above 1 more")
    parser.add_argument("--length", type=int, default=300, help="how many characters it says")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/char_lm"))
    arguments = parser.parse_args()
    if not arguments.file.exists():
        parser.error(f"there is no {arguments.file}: give a text")

    text, letters = numbered(arguments.file.read_text(encoding="utf-8"))
    cut = len(text) * 9 // 10
    data, held_out = pieces(text[:cut][: arguments.train]), text[cut:]
    model, speaker = graphc.compile(SOURCE, model="char_lm"), graphc.compile(SOURCE, model="speaker")
    model.init(seed=arguments.seed)
    steps = len(data["text"]) // ROWS
    model.hyper["steps"] = arguments.epochs * steps
    losses: list[float] = []
    start = time.perf_counter()
    for _ in range(arguments.epochs):
        for name in ("h", "c"):
            model.states[name][...] = 0.0  # the text begins again
        for at in range(0, len(data["text"]), ROWS):
            batch = {name: rows[at : at + ROWS] for name, rows in data.items()}
            losses.append(float(model.step(batch)["loss"]))
    seconds = time.perf_counter() - start
    for name, value in model.params.items():
        speaker.params[name][...] = value
    print(f"{len(losses)} steps of {ROWS} x {PIECE} characters in {seconds:.1f} s")
    print(f"loss {np.mean(losses[-50:]):.3f}, held out {held_out_loss(speaker, held_out):.3f} nats a character")

    for temperature in (0.3, arguments.temperature, 1.2):
        said = say(speaker, held_out[:50], arguments.length, temperature, np.random.default_rng(arguments.seed))
        print(f"\nat temperature {temperature}:", "".join(letters[i] for i in said))

    smooth = np.convolve(losses, np.full(10, 0.1), "valid")
    curve = lines({"mean of ten steps": smooth}, title="loss, nats a character", names=("step", ""))
    print(write(arguments.out / "char_lm.png", [curve, letters_panel(speaker, letters)]))


if __name__ == "__main__":
    main()
