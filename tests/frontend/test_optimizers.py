"""std.optim against the papers' formulas in NumPy, ten steps each, in f64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphc.frontend.build import elaborate
from graphc.ir.interpret import interpret
from graphc.source import Source

Array = Any
State = dict[str, Array]
X = np.array([0.5, 1.0, -2.0, 3.0])
START = np.array([0.1, -0.7, 1.3, 0.2])


def gradient(p: Array) -> Array:
    """Of sum(sin(y) * y) with y = p * x."""
    y = p * X
    return (np.cos(y) * y + np.sin(y)) * X


def momentum(p: Array, g: Array, t: int, s: State) -> Array:
    s["v"] = 0.9 * s["v"] + g
    return p - 0.1 * s["v"]


def nesterov(p: Array, g: Array, t: int, s: State) -> Array:
    s["v"] = 0.9 * s["v"] + g
    return p - 0.1 * (g + 0.9 * s["v"])


def adagrad(p: Array, g: Array, t: int, s: State) -> Array:
    s["v"] = s["v"] + g * g
    return p - 0.1 * g / (np.sqrt(s["v"]) + 1e-10)


def rmsprop(p: Array, g: Array, t: int, s: State) -> Array:
    s["v"] = 0.99 * s["v"] + 0.01 * g * g
    return p - 0.1 * g / (np.sqrt(s["v"]) + 1e-8)


def adadelta(p: Array, g: Array, t: int, s: State) -> Array:
    s["v"] = 0.9 * s["v"] + 0.1 * g * g
    delta = np.sqrt(s["m"] + 1e-6) / np.sqrt(s["v"] + 1e-6) * g
    s["m"] = 0.9 * s["m"] + 0.1 * delta * delta
    return p - 0.1 * delta


def moments(g: Array, t: int, s: State) -> tuple[Array, Array]:
    s["m"] = 0.9 * s["m"] + 0.1 * g
    s["v"] = 0.999 * s["v"] + 0.001 * g * g
    return s["m"], np.sqrt(s["v"] / (1 - 0.999**t)) + 1e-8


def adam(p: Array, g: Array, t: int, s: State) -> Array:
    m, root = moments(g, t, s)
    return p - 0.1 * (m / (1 - 0.9**t)) / root


def adamw(p: Array, g: Array, t: int, s: State) -> Array:
    m, root = moments(g, t, s)
    return p * (1 - 0.1 * 0.01) - 0.1 * (m / (1 - 0.9**t)) / root


def nadam(p: Array, g: Array, t: int, s: State) -> Array:
    m, root = moments(g, t, s)
    now, then = (0.9 * (1 - 0.5 * 0.96 ** (k * 0.004)) for k in (t, t + 1))
    s["k"] = s["k"] * now
    return p - 0.1 * ((1 - now) / (1 - s["k"]) * g + then / (1 - s["k"] * then) * m) / root


RULES: dict[str, Callable[[Array, Array, int, State], Array]] = {
    "sgd(lr = 0.1)": lambda p, g, t, s: p - 0.1 * g,
    "sgd(lr = 0.1, decay = 0.2)": lambda p, g, t, s: p - 0.1 * (g + 0.2 * p),
    "momentum(lr = 0.1)": momentum,
    "nesterov(lr = 0.1)": nesterov,
    "adagrad(lr = 0.1)": adagrad,
    "rmsprop(lr = 0.1)": rmsprop,
    "adadelta(lr = 0.1)": adadelta,
    "adam(lr = 0.1)": adam,
    "adamw(lr = 0.1)": adamw,
    "nadam(lr = 0.1)": nadam,
}


@pytest.mark.parametrize("text", RULES)
def test_ten_steps(text: str) -> None:
    made, diagnostics = elaborate(
        Source(
            "m.gc",
            "precision compute = f64\nmodel m(x: f64[4]) -> (y: f64[4]):\n"
            "    param p: f64[4] = zeros()\n    y = p * x\n"
            f"train m:\n    loss = sum(sin(y) * y)\n    optimizer = {text}\n",
        ),
        load=lambda path: Source(path, ""),
    )
    assert made is not None, diagnostics
    values: State = {"x": X, "p": START}
    for slot in made.slots:
        values[slot.name] = np.full(slot.leaf.shape, {"zeros": 0.0, "ones": 1.0}[slot.initializer.kind])
    wanted, state = START, {"m": np.zeros(4), "v": np.zeros(4), "k": np.ones(())}
    for t in range(1, 11):
        _, updates = interpret(made.entries["step"], {**values, "step": np.int64(t)}, {})
        values.update(updates)
        wanted = RULES[text](wanted, gradient(wanted), t, state)
        np.testing.assert_allclose(values["p"], wanted, rtol=1e-10, atol=1e-12)
