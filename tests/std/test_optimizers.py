"""Every optimizer of std.optim against the textbook formula in NumPy: ten steps in f64, the parameters within 1e-11.

The model is a small network with four parameters; its gradient is written out by hand, so nothing here is graphc's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from importlib import resources
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import graphc

Array = NDArray[np.float64]
Params = dict[str, Array]
Slots = dict[str, Array]
Rule = Callable[[Array, Array, int, Slots], Array]  # parameter, gradient, step from 1, slots -> parameter

MODEL = """
precision params = f64, compute = f64
dim B
model net(x: real[B, 3]) -> (y: real[B, 2]):
    param w1: real[3, 4] = glorot_uniform(), b1: real[4] = normal(std=0.3)
    param w2: real[4, 2] = glorot_uniform(), b2: real[2] = normal(std=0.3)
    y = tanh(x @ w1 + b1) @ w2 + b2
train net:
    input t: real[B, 2]
    loss = mse(y, t){penalty}
    {clip}
    {optimizers}
"""


def compiled(optimizers: str, clip: str = "", penalty: str = "") -> graphc.Model:
    model = graphc.compile_source(MODEL.format(optimizers=optimizers, clip=clip, penalty=penalty))
    model.init(seed=3)
    return model


def batches(count: int = 10) -> Iterator[tuple[Array, Array]]:
    rng = np.random.default_rng(0)
    for _ in range(count):
        yield rng.normal(size=(5, 3)), rng.normal(size=(5, 2))


def gradient(p: Params, x: Array, t: Array, penalty: float = 0.0) -> Params:
    """d/dp of mean((tanh(x @ w1 + b1) @ w2 + b2 - t) ** 2) + penalty * (sum(w1 ** 2) + sum(w2 ** 2))."""
    hidden = np.tanh(x @ p["w1"] + p["b1"])
    dy = 2.0 * (hidden @ p["w2"] + p["b2"] - t) / t.size
    dh = dy @ p["w2"].T * (1.0 - hidden**2)
    weights = {"w1": x.T @ dh + 2.0 * penalty * p["w1"], "w2": hidden.T @ dy + 2.0 * penalty * p["w2"]}
    return {**weights, "b1": dh.sum(0), "b2": dy.sum(0)}


def trajectory(
    start: Params,
    rule: Callable[[str], Rule],
    clip: Callable[[Params], Params] = lambda grads: grads,
    penalty: float = 0.0,
) -> list[Params]:
    """The parameters after each step; `rule(name)` is the optimizer of a parameter."""
    params, slots, path = dict(start), {name: {} for name in start}, []
    for step, (x, t) in enumerate(batches(), 1):
        grads = clip(gradient(params, x, t, penalty))
        params = {name: rule(name)(params[name], grads[name], step, slots[name]) for name in params}
        path.append(params)
    return path


def check(model: graphc.Model, path: list[Params]) -> None:
    start = {name: np.array(model.params[name]) for name in model.params}
    for (x, t), wanted in zip(batches(), path, strict=True):
        model.step(x=x, t=t)
        for name, value in wanted.items():
            np.testing.assert_allclose(model.params[name], value, rtol=1e-11, atol=1e-11, err_msg=name)
    for name, value in start.items():
        assert np.abs(model.params[name] - value).max() > 1e-4, f"{name} did not move"


def first_values(model: graphc.Model) -> Params:
    return {name: np.array(model.params[name]) for name in model.params}


def average(slots: Slots, name: str, rate: float, value: Array) -> Array:
    """slots[name] = rate * slots[name] + (1 - rate) * value, from 0."""
    slots[name] = rate * slots.get(name, np.zeros_like(value)) + (1.0 - rate) * value
    return slots[name]


def sgd(lr: float, decay: float = 0.0) -> Rule:
    return lambda p, g, t, slots: p - lr * (g + decay * p)


def momentum(lr: float, mu: float = 0.9, decay: float = 0.0, ahead: bool = False) -> Rule:
    def rule(p: Array, g: Array, t: int, slots: Slots) -> Array:
        g = g + decay * p
        slots["v"] = mu * slots.get("v", 0.0) + g
        return p - lr * (g + mu * slots["v"] if ahead else slots["v"])

    return rule


def adagrad(lr: float, eps: float) -> Rule:
    def rule(p: Array, g: Array, t: int, slots: Slots) -> Array:
        slots["s"] = slots.get("s", 0.0) + g**2
        return p - lr * g / (np.sqrt(slots["s"]) + eps)

    return rule


def rmsprop(lr: float, rho: float, eps: float) -> Rule:
    return lambda p, g, t, slots: p - lr * g / (np.sqrt(average(slots, "s", rho, g**2)) + eps)


def rmsprop_centred(lr: float, rho: float, eps: float) -> Rule:
    def rule(p: Array, g: Array, t: int, slots: Slots) -> Array:
        variance = average(slots, "s", rho, g**2) - average(slots, "m", rho, g) ** 2
        return p - lr * g / np.sqrt(variance + eps)

    return rule


def adadelta(lr: float, rho: float, eps: float) -> Rule:
    def rule(p: Array, g: Array, t: int, slots: Slots) -> Array:
        before = slots.get("u", np.zeros_like(g))
        delta = np.sqrt(before + eps) / np.sqrt(average(slots, "s", rho, g**2) + eps) * g
        average(slots, "u", rho, delta**2)
        return p - lr * delta

    return rule


def adam(lr: float, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, decay: float = 0.0) -> Rule:
    """Algorithm 1 of the paper, with the decoupled decay of AdamW."""

    def rule(p: Array, g: Array, t: int, slots: Slots) -> Array:
        m, v = average(slots, "m", b1, g), average(slots, "v", b2, g**2)
        return p - lr * decay * p - lr * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)

    return rule


def nadam(lr: float, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, psi: float = 0.004) -> Rule:
    """With the schedule mu(t) = b1 (1 - 0.96 ** (t psi) / 2)."""
    mu = [b1 * (1 - 0.5 * 0.96 ** (t * psi)) for t in range(12)]

    def rule(p: Array, g: Array, t: int, slots: Slots) -> Array:
        m, v = average(slots, "m", b1, g), average(slots, "v", b2, g**2)
        ahead = mu[t + 1] * m / (1 - math.prod(mu[1 : t + 2])) + (1 - mu[t]) * g / (1 - math.prod(mu[1 : t + 1]))
        return p - lr * ahead / (np.sqrt(v / (1 - b2**t)) + eps)

    return rule


def adasecant(first: float = 0.1, most: float = 1.8, eps: float = 1e-6) -> Rule:
    """Algorithm 1 of arXiv:1412.7419, weight by weight in plain Python."""

    def one(g: float, e: dict[str, float], t: int) -> float:
        """The move of one weight; `e` holds its averages, time constant and last values."""
        before, alpha = e["g_before"], g - e["g_before"]
        tau = e["tau"]
        if abs(g - e["g"]) > 2 * math.sqrt(max(e["g2"] - e["g"] ** 2, 0)):
            tau = 2.2
        if abs(alpha - e["alpha"]) > 2 * math.sqrt(max(e["alpha2"] - e["alpha"] ** 2, 0)):
            tau = 2.2
        delta = e["delta_before"] if t > 1 else -first * g
        e["tau"] = max(1.5, 1 + (tau * (1 - e["delta"] ** 2 / (e["delta2"] + 1e-30)) if t > 1 else 0.0))
        observed = {
            "num": (before - g) * (before - e["g"]),
            "den": (before - e["g"]) * (g - e["g"]),
            "g": g,
            "g2": g * g,
            "alpha": alpha,
            "alpha2": alpha**2,
            "delta": delta,
            "delta2": delta**2,
            "product": alpha * delta,
        }
        for name, value in observed.items():
            e[name] += (value - e[name]) / (tau if t > 1 else 1.0)
        gamma = min(most, max(e["num"], 0) / max(e["den"], 1e-30))
        corrected = (g + gamma * e["g"]) / (1 + gamma)
        rms = math.sqrt(e["delta2"] + eps) / math.sqrt(e["alpha2"] + eps)
        e["total"] += g * g
        e["g_before"] = g
        e["delta_before"] = -(rms - e["product"] / (e["alpha2"] + eps)) * corrected / max(1, math.sqrt(e["total"]))
        return e["delta_before"]

    names = ("g", "g2", "alpha", "alpha2", "delta", "delta2", "product", "num", "den", "total", "g_before")

    def rule(p: Array, g: Array, t: int, slots: Slots) -> Array:
        weights: Any = slots.setdefault("weights", [dict.fromkeys(names, 0.0) | {"tau": 2.2} for _ in g.flat])
        normed = (g / (np.linalg.norm(g) + 1e-12)).ravel()
        moves = [one(float(value), weight, t) for value, weight in zip(normed, weights, strict=True)]
        return p + np.reshape(moves, p.shape)

    return rule


CASES: dict[str, Rule] = {
    "sgd(lr = 0.1)": sgd(0.1),
    "sgd(lr = 0.1, decay = 0.01)": sgd(0.1, 0.01),
    "momentum(lr = 0.05)": momentum(0.05),
    "momentum(lr = 0.05, mu = 0.8, decay = 0.02)": momentum(0.05, 0.8, 0.02),
    "nesterov(lr = 0.05)": momentum(0.05, ahead=True),
    "nesterov(lr = 0.05, mu = 0.7, decay = 0.02)": momentum(0.05, 0.7, 0.02, ahead=True),
    "adagrad(lr = 0.1)": adagrad(0.1, 1e-10),
    "adagrad()": adagrad(0.01, 1e-10),
    "rmsprop()": rmsprop(0.01, 0.99, 1e-8),
    "rmsprop(lr = 0.02, rho = 0.9, eps = 1e-3)": rmsprop(0.02, 0.9, 1e-3),
    "rmsprop_centred()": rmsprop_centred(1e-3, 0.95, 1e-4),
    "rmsprop_centred(lr = 0.01, rho = 0.9, eps = 1e-2)": rmsprop_centred(0.01, 0.9, 1e-2),
    "adadelta()": adadelta(1.0, 0.9, 1e-6),
    "adadelta(lr = 0.5, rho = 0.95, eps = 1e-3)": adadelta(0.5, 0.95, 1e-3),
    "adam()": adam(1e-3),
    "adam(lr = 0.01, b1 = 0.8, b2 = 0.99, eps = 0.1)": adam(0.01, 0.8, 0.99, 0.1),
    "adamw()": adam(1e-3, decay=0.01),
    "adamw(lr = 0.01, b1 = 0.8, b2 = 0.99, eps = 0.1, decay = 0.1)": adam(0.01, 0.8, 0.99, 0.1, 0.1),
    "nadam()": nadam(2e-3),
    "nadam(lr = 0.01, b1 = 0.8, b2 = 0.99, eps = 0.1, psi = 0.1)": nadam(0.01, 0.8, 0.99, 0.1, 0.1),
    "adasecant()": adasecant(),
    "adasecant(first = 0.3, most = 0.5, eps = 1e-3)": adasecant(0.3, 0.5, 1e-3),
}


@pytest.mark.parametrize("call", CASES)
def test_ten_steps(call: str) -> None:
    model = compiled(f"optimizer = {call}")
    check(model, trajectory(first_values(model), lambda name: CASES[call]))


def test_every_optimizer_of_the_library_is_tested() -> None:
    text = resources.files("graphc.frontend").joinpath("std/optim.gc").read_text(encoding="utf-8")
    defined = [line.split()[1].partition("(")[0] for line in text.splitlines() if line.startswith("optimizer ")]
    assert sorted(defined) == sorted({call.partition("(")[0] for call in CASES})


def by_norm(limit: float) -> Callable[[Params], Params]:
    def clip(grads: Params) -> Params:
        norm = math.sqrt(sum(float((g**2).sum()) for g in grads.values()))
        return {name: g * min(1.0, limit / norm) for name, g in grads.items()}

    return clip


@pytest.mark.parametrize("limit", [0.3, 1e6])
def test_clipping_by_the_norm_of_all_gradients_together(limit: float) -> None:
    model = compiled("optimizer = momentum(lr = 0.1)", f"clip = global_norm({limit})")
    check(model, trajectory(first_values(model), lambda name: momentum(0.1), by_norm(limit)))


def test_clipping_by_value() -> None:
    model = compiled("optimizer = sgd(lr = 0.2)", "clip = value(0.05)")

    def clip(grads: Params) -> Params:
        return {name: np.clip(g, -0.05, 0.05) for name, g in grads.items()}

    check(model, trajectory(first_values(model), lambda name: sgd(0.2), clip))


def test_a_penalty_by_pattern_spares_the_biases() -> None:
    model = compiled("optimizer = sgd(lr = 0.1)", penalty=' + 0.3 * sum_squares("w*")')
    check(model, trajectory(first_values(model), lambda name: sgd(0.1), penalty=0.3))


def test_decay_by_pattern_spares_the_biases() -> None:
    lines = 'optimizer = adamw(lr = 0.01, decay = 0.5)\n    optimizer for "b*" = adamw(lr = 0.01, decay = 0.0)'
    model = compiled(lines)
    decay = {"w": 0.5, "b": 0.0}
    check(model, trajectory(first_values(model), lambda name: adam(0.01, decay=decay[name[0]])))


def test_an_optimizer_for_some_parameters() -> None:
    model = compiled('optimizer for "*2" = sgd(lr = 0.2)\n    optimizer = adam(lr = 0.01)')
    check(model, trajectory(first_values(model), lambda name: sgd(0.2) if name.endswith("2") else adam(0.01)))
    assert {name.split("/")[1] for name in model.slots} == {"w1", "b1"}


SCHEDULES: dict[str, Callable[[int], float]] = {  # as in docs/training.md
    "0.1 * 0.5 ** floor((step - 1.0) / 3.0)": lambda t: 0.1 * 0.5 ** ((t - 1) // 3),
    "where(step <= 4.0, 0.1, 0.01)": lambda t: 0.1 if t <= 4 else 0.01,
    "0.1 * 0.9 ** (step / 2.0)": lambda t: 0.1 * 0.9 ** (t / 2),
    "0.1 * cosine(step, 8)": lambda t: 0.05 * (1 + math.cos(math.pi * min(t / 8, 1))),
    "0.1 * min(step / 5.0, 1.0)": lambda t: 0.1 * min(t / 5, 1),
    "0.1 * min(step / 3.0, 1.0) * cosine(max(step - 3.0, 0.0), 7)": lambda t: (
        0.1 * min(t / 3, 1) * 0.5 * (1 + math.cos(math.pi * min(max(t - 3, 0) / 7, 1)))
    ),
    "0.1 / sqrt(step)": lambda t: 0.1 / math.sqrt(t),
}


@pytest.mark.parametrize("first", [0, 4])
def test_schedules_are_expressions_of_the_step(first: int) -> None:
    """Each parameter follows a schedule of its own."""
    chosen = dict(zip(("w1", "b1", "w2", "b2"), [*SCHEDULES, *SCHEDULES][first:], strict=False))
    lines = [f'optimizer for "{name}" = momentum(lr = {expression})' for name, expression in chosen.items()]
    model = compiled("\n    ".join([*lines, "optimizer = sgd(lr = 0.0)"]))

    def rule(name: str) -> Rule:
        rate = SCHEDULES[chosen[name]]

        def one(p: Array, g: Array, t: int, slots: Slots) -> Array:
            slots["v"] = 0.9 * slots.get("v", 0.0) + g
            return p - rate(t) * slots["v"]

        return one

    check(model, trajectory(first_values(model), rule))


def test_a_hyper_parameter_takes_effect_at_the_next_step() -> None:
    model = compiled("hyper lr: f64 = 0.1\n    optimizer = sgd(lr = lr * 0.5)")
    path = trajectory(first_values(model), lambda name: lambda p, g, t, s: p - (0.05 if t <= 5 else 0.005) * g)
    for step, ((x, t), wanted) in enumerate(zip(batches(), path, strict=True), 1):
        if step == 6:
            model.hyper["lr"] = 0.01
        model.step(x=x, t=t)
        np.testing.assert_allclose(model.params["w1"], wanted["w1"], rtol=1e-11, atol=1e-11)


def test_single_precision_follows_the_formula_to_its_own_accuracy() -> None:
    """Ten steps of Adam in f32: within 2e-6 of the f64 trajectory from the same start (weights of about 0.5)."""
    text = MODEL.replace("f64", "f32").format(optimizers="optimizer = adam(lr = 0.01)", clip="", penalty="")
    model = graphc.compile_source(text)
    model.init(seed=3)
    path = trajectory({n: np.array(model.params[n], np.float64) for n in model.params}, lambda name: adam(0.01))
    for x, t in batches():
        model.step(x=x.astype("f4"), t=t.astype("f4"))
    for name, value in path[-1].items():
        np.testing.assert_allclose(model.params[name], value, rtol=0, atol=2e-6)
