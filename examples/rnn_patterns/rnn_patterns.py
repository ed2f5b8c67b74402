"""Recurrences, each on a task that it learns: the slots of a sentence, the parity of bits, the kind of a sentence.

    python examples/rnn_patterns/rnn_patterns.py [--epochs 12] [--out runs/rnn_patterns]

The sentences are made from a seed: journeys such as "llegaría a Neuquén el 2 de noviembre".
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import graphc
from graphc.driver import stage_graph
from graphc.ir.view import picture
from graphc.panels import Panel, lines, write
from graphc.pictures import INK
from graphc.runtime.model import Model

SOURCE = Path(__file__).with_suffix(".gc")
SLOTS = ("-", "origin", "destination", "date")
KINDS = ("arrives", "departs", "both")
VERBS = {
    "origin": ("saldría de", "quiero salir de", "parto de"),
    "destination": ("llegaría a", "quiero llegar a", "viajo a"),
}
CITIES = ("Neuquén", "Salta", "Rosario", "Córdoba", "Mendoza", "Ushuaia", "Paraná", "Posadas", "Formosa", "Viedma")
MONTHS = ("enero", "marzo", "abril", "junio", "julio", "agosto", "octubre", "noviembre")
DAYS = tuple(map(str, range(1, 29)))
OTHERS = ("la", "ciudad", "el", "de", "a", "y", "con", "amigos", "saldría", "quiero", "salir", "parto", "llegaría")
WORDS = ("", *CITIES, *MONTHS, *DAYS, *OTHERS, "llegar", "viajo")  # 0 stands behind the end of a sentence
NUMBER = {word: number for number, word in enumerate(WORDS)}
SENTENCE = "llegaría a la ciudad de Neuquén el 2 de noviembre y saldría de la ciudad de Salta con 2 amigos"
Part = dict[str, np.ndarray]
Tagged = list[tuple[str, int]]


def journey(random: np.random.Generator) -> tuple[Tagged, int]:
    """A sentence as pairs of word and slot, and its kind."""
    kind = int(random.integers(3))
    slots = [["destination"], ["origin"], ["origin", "destination"]][kind]
    tagged: Tagged = []
    for place, slot in enumerate(random.permutation(slots)):
        words = ["y"] if place else []
        words += str(random.choice(VERBS[slot])).split()
        words += ["la", "ciudad", "de"] if random.random() < 0.5 else []
        tagged += [*((word, 0) for word in words), (str(random.choice(CITIES)), SLOTS.index(slot))]
        if random.random() < 0.5:
            day, month = str(random.choice(DAYS)), str(random.choice(MONTHS))
            tagged += [("el", 0), (day, 3), ("de", 0), (month, 3)]
    if random.random() < 0.5:
        tagged += [("con", 0), (str(random.integers(2, 9)), 0), ("amigos", 0)]
    return tagged, kind


def sentences(count: int, seed: int) -> Part:
    """{"words": i32[count, T], "tag": i32[count, T], "length": i32[count], "what": i32[count]}, T the longest."""
    random = np.random.default_rng(seed)
    made = [journey(random) for _ in range(count)]
    longest = max(len(tagged) for tagged, _ in made)
    words, slot = np.zeros((count, longest), np.int32), np.full((count, longest), -1, np.int32)
    for row, (tagged, _) in enumerate(made):
        words[row, : len(tagged)] = [NUMBER[word] for word, _ in tagged]
        slot[row, : len(tagged)] = [number for _, number in tagged]
    length = np.array([len(tagged) for tagged, _ in made], np.int32)
    return {"words": words, "tag": slot, "length": length, "what": np.array([kind for _, kind in made], np.int32)}


def right(model: Model, part: Part) -> tuple[float, float]:
    """How many of all words, and how many of the cities, get their slot."""
    found, tag = model(words=part["words"])["z"].argmax(-1), part["tag"]
    is_city = (tag == 1) | (tag == 2)
    return float((found == tag)[tag >= 0].mean()), float((found == tag)[is_city].mean())


def backwards(part: Part) -> Part:
    """The same sentences from their last word to their first, so that the verb comes behind the city."""
    turned = {name: part[name].copy() for name in ("words", "tag")}
    for row, length in enumerate(part["length"]):
        for array in turned.values():
            array[row, :length] = array[row, :length][::-1]
    return turned


def learn(name: str, training: Part, test: Part, epochs: int, of: str = "") -> tuple[Model, list[float]]:
    """A tagger, and how many of the held-out cities get their slot after each epoch."""
    model, curve = graphc.compile(SOURCE, model=name), []
    for epoch in range(epochs):
        data = {key: training[key] for key in ("words", "tag")}
        model.fit(data, batch=32, epochs=1, seed=epoch, progress=False)
        curve.append(right(model, test)[1])
    words, cities = right(model, test)
    print(f"{name.replace('_', ' ')}{of}: {100 * words:.1f} % of all words, {100 * cities:.1f} % of the cities")
    return model, curve


def fill_slots(training: Part, test: Part, epochs: int) -> list[Panel]:
    """Hidden to hidden, beside a network without memory; then on sentences whose verb comes last, beside both ways."""
    cities = {"without memory": learn("without_memory", training, test, epochs)[1]}
    model, cities["slots"] = learn("slots", training, test, epochs)
    of, turned, held_out = ", verb last", backwards(training), backwards(test)
    for name in ("slots", "both_ways"):
        cities[name.replace("_", " ") + of] = learn(name, turned, held_out, epochs, of)[1]
    sentence = SENTENCE.split()
    z = model(words=np.array([[NUMBER[word] for word in sentence]], np.int32))["z"][0]
    print("; ".join(f"{word}: {SLOTS[k]}" for word, k in zip(sentence, z.argmax(-1), strict=True) if k))
    p = np.exp(z - z.max(-1, keepdims=True))
    table = grid(p / p.sum(-1, keepdims=True), sentence, SLOTS, "the slots of a sentence")
    return [table, lines(cities, title="cities that get their slot, held out")]


def grid(p: np.ndarray, rows: list[str], columns: tuple[str, ...], title: str) -> Panel:
    """Probabilities [rows, columns] as shades."""

    def draw(axes: Any) -> None:
        axes.grid(visible=False)
        axes.imshow(p, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
        axes.set_yticks(range(len(rows)), rows, fontsize=8, color=INK)
        axes.set_xticks(range(len(columns)), columns, fontsize=8, color=INK)

    return Panel(draw, title)


def count_parity(epochs: int) -> Panel:
    """Output to hidden: taught with the right outputs at 8 bits, then on its own at up to 400."""
    random = np.random.default_rng(0)

    def bits(count: int, length: int) -> tuple[np.ndarray, np.ndarray]:
        drawn = random.integers(0, 2, (count, length))
        return drawn.astype(np.float32), (drawn.cumsum(axis=1) % 2).astype(np.float32)

    x, y = bits(500, 8)
    taught, alone = graphc.compile(SOURCE, model="parity_taught"), graphc.compile(SOURCE, model="parity")
    before = np.concatenate([np.zeros((500, 1), np.float32), y[:, :-1]], axis=1)
    history = taught.fit({"bits": x, "before": before, "y": y}, batch=20, epochs=epochs, progress=False)
    for name, array in taught.params.items():
        alone.params[name][...] = array
    for length in (8, 50, 400):
        x, y = bits(100, length)
        print(f"parity of {length} bits: {100 * (alone(bits=x)['parities'] == y).mean():.1f} % right at every step")
    return lines({"accuracy": history["accuracy"]}, title="parity with the right output before: accuracy")


def tell_kind(training: Part, test: Part, epochs: int) -> Panel:
    """One output at the end; the panel asks after every word, by giving the sentence one more each time."""
    model = graphc.compile(SOURCE, model="kind")
    names = ("words", "length", "what")
    model.fit({name: training[name] for name in names}, batch=32, epochs=epochs, progress=False)
    figures = model.evaluate({name: test[name] for name in names})
    print(f"kind of a sentence: {100 * figures['accuracy']:.1f} % right")
    sentence = SENTENCE.split()
    words = np.array([[NUMBER[word] for word in sentence]] * len(sentence), np.int32)
    p = model(words=words, length=np.arange(1, len(sentence) + 1, dtype=np.int32))["p"]
    return grid(p, sentence, KINDS, "the kind, had the sentence ended here")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--out", type=Path, default=Path("runs/rnn_patterns"))
    arguments = parser.parse_args()
    training, test = sentences(500, seed=1), sentences(500, seed=2)
    panels = fill_slots(training, test, arguments.epochs)
    panels += [tell_kind(training, test, arguments.epochs), count_parity(2 * arguments.epochs)]
    print(write(arguments.out / "rnn_patterns.png", panels, columns=4))
    unrolled = arguments.out / "unrolled.svg"
    unrolled.write_bytes(picture(stage_graph(SOURCE, "graph", model="unrolled"), "svg"))
    print(unrolled)


if __name__ == "__main__":
    main()
