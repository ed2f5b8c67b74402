"""The cells of std.nn, one step and in a scan with lengths, against formulas of their own in NumPy; in f64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import graphc

Array = NDArray[Any]
B, E, H = 3, 5, 4
GATES = {"rnn_cell": 1, "lstm_cell": 4, "gru_cell": 3}
STATES = {"rnn_cell": 1, "lstm_cell": 2, "gru_cell": 1}

STEP = """
use std.nn: {cell}
precision params = f64, compute = f64
dim B, E = 5, H = 4
model net(x: f64[B, E], h: f64[B, H]{more_in}) -> (y: f64[B, H]{more_out}):
    param cell = {cell}
    {results} = cell(x, h{more})
"""
SEQUENCE = """
use std.nn: {cell}
precision params = f64, compute = f64
dim B, T, E = 5, H = 4
model net(x: f64[B, T, E], length: i32[B]) -> (last: f64[B, H], hs: f64[B, T, H]):
    param cell = {cell}
    scan t in T:
        carry h: f64[B, H] = zeros(){carry}
        {new} = cell(x[:, t], h{more})
        live = (t < length)[:, None]
        h = where(live, h1, h)
        {rest}
        emit hs: f64[B, T, H] = h
    last = h
train net:
    input p: f64[B, H], q: f64[B, T, H]
    loss = sum(last * p) + sum(hs * q)
    optimizer = sgd(lr=0.1)
"""


def sigmoid(x: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-x))


def rnn(p: dict[str, Array], x: Array, h: Array) -> tuple[Array, ...]:
    return (np.tanh(x @ p["cell.wx"] + h @ p["cell.wh"] + p["cell.b"]),)


def lstm(p: dict[str, Array], x: Array, h: Array, c: Array) -> tuple[Array, ...]:
    def gate(k: int) -> Array:
        at = slice(k * H, (k + 1) * H)
        return x @ p["cell.wx"][:, at] + h @ p["cell.wh"][:, at] + p["cell.b"][at]

    keep, write, show = sigmoid(gate(1) + 1.0), sigmoid(gate(0)), sigmoid(gate(3))
    new = keep * c + write * np.tanh(gate(2))
    return show * np.tanh(new), new


def gru(p: dict[str, Array], x: Array, h: Array) -> tuple[Array, ...]:
    def halves(k: int) -> tuple[Array, Array]:
        at = slice(k * H, (k + 1) * H)
        return x @ p["cell.wx"][:, at] + p["cell.b"][at], h @ p["cell.wh"][:, at]

    reset, update = (sigmoid(sum(halves(k))) for k in (0, 1))
    ahead, back = halves(2)
    return (update * h + (1.0 - update) * np.tanh(ahead + reset * (back + p["cell.bh"])),)


CELLS: dict[str, Callable[..., tuple[Array, ...]]] = {"rnn_cell": rnn, "lstm_cell": lstm, "gru_cell": gru}


def randomised(model: graphc.Model) -> dict[str, Array]:
    rng = np.random.default_rng(3)
    for name in model.params:
        model.params[name][...] = rng.normal(size=model.params[name].shape) * 0.7
    return dict(model.params)


@pytest.mark.parametrize("cell", CELLS)
def test_one_step(cell: str) -> None:
    is_lstm = cell == "lstm_cell"
    parts = {"more_in": ", c: f64[B, H]", "more_out": ", z: f64[B, H]", "results": "y, z", "more": ", c"}
    text = STEP.format(cell=cell, **(parts if is_lstm else {**dict.fromkeys(parts, ""), "results": "y"}))
    model = graphc.compile_source(text)
    assert model.params["cell.wx"].shape == (E, GATES[cell] * H)
    assert model.params["cell.wh"].shape == (H, GATES[cell] * H)
    params, rng = randomised(model), np.random.default_rng(0)
    x, *states = rng.normal(size=(B, E)), *rng.normal(size=(STATES[cell], B, H))
    found = model(x=x, **dict(zip("hc", states, strict=False)))
    for got, wanted in zip(found.values(), CELLS[cell](params, x, *states), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-13)


def unrolled(cell: str, params: dict[str, Array], x: Array, length: Array) -> Array:
    """hs of shape (B, T, H); past its length a row keeps its state."""
    states = [np.zeros((B, H)) for _ in range(STATES[cell])]
    rows = []
    for t in range(x.shape[1]):
        live = (t < length)[:, None]
        states = [
            np.where(live, new, old) for new, old in zip(CELLS[cell](params, x[:, t], *states), states, strict=True)
        ]
        rows.append(states[0])
    return np.stack(rows, 1)


def sequence_model(cell: str) -> graphc.Model:
    parts = {"carry": ", c: f64[B, H] = zeros()", "new": "h1, c1", "more": ", c", "rest": "c = where(live, c1, c)"}
    if cell != "lstm_cell":
        parts = {"carry": "", "new": "h1", "more": "", "rest": "pass_on = h"}
    return graphc.compile_source(SEQUENCE.format(cell=cell, **parts))


@pytest.mark.parametrize("cell", CELLS)
def test_a_sequence_and_its_gradient(cell: str) -> None:
    """One compiled model at several lengths; its derivatives against difference quotients of the NumPy loop."""
    model = sequence_model(cell)
    params = randomised(model)
    for steps in (1, 2, 7):
        rng = np.random.default_rng(steps)
        x, p, q = rng.normal(size=(B, steps, E)), rng.normal(size=(B, H)), rng.normal(size=(B, steps, H))
        length = np.array([1, steps, (steps + 1) // 2], np.int32)
        found = model(x=x, length=length)
        hs = unrolled(cell, params, x, length)
        np.testing.assert_allclose(found["hs"], hs, rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(found["last"], hs[:, -1], rtol=1e-11, atol=1e-12)
        _, grads = model.gradients(x=x, length=length, p=p, q=q)
        for name in params:
            weight = params[name].copy()
            for at in [tuple(rng.integers(0, n) for n in weight.shape) for _ in range(4)]:
                losses = []
                for sign in (1.0, -1.0):
                    moved = weight.copy()
                    moved[at] += sign * 1e-5
                    hs = unrolled(cell, {**params, name: moved}, x, length)
                    losses.append(np.sum(hs[:, -1] * p) + np.sum(hs * q))
                np.testing.assert_allclose(grads[name][at], (losses[0] - losses[1]) / 2e-5, rtol=1e-5, atol=1e-8)


LAYER = """
use std.nn: {layer}
precision params = f64, compute = f64
dim B, T, E = 5, H = 4
model net(x: f64[B, T, E]) -> (y: f64[B, T, H]):
    param layer = {layer}[H=H]
    y = layer(x)
"""


@pytest.mark.parametrize("layer", ["rnn", "lstm", "gru"])
def test_a_layer_is_all_steps_of_its_cell(layer: str) -> None:
    model = graphc.compile_source(LAYER.format(layer=layer))
    params = {name.removeprefix("layer."): array for name, array in randomised(model).items()}
    for steps in (1, 2, 7):
        x = np.random.default_rng(steps).normal(size=(B, steps, E))
        wanted = unrolled(f"{layer}_cell", params, x, np.full(B, steps, np.int32))
        np.testing.assert_allclose(model(x=x)["y"], wanted, rtol=1e-11, atol=1e-12)


def test_layers_stand_behind_each_other() -> None:
    """Three layers, trained together: the loss falls."""
    model = graphc.compile_source(
        """
use std.nn: lstm, gru, rnn, dense
dim B, T, E = 3
model net(x: f32[B, T, E]) -> (y: f32[B, T, 1]):
    param a = lstm[H=6], b = gru[H=5], c = rnn[H=4], out = dense[O=1]
    y = x |> a |> b |> c |> out
train net:
    input p: f32[B, T, 1]
    loss = mse(y, p)
    optimizer = adam(lr=0.01)
"""
    )
    x = np.random.default_rng(0).normal(size=(8, 6, 3)).astype(np.float32)
    p = np.cumsum(x.sum(axis=2, keepdims=True), axis=1) * np.float32(0.3)
    losses = [float(model.step(x=x, p=p)["loss"]) for _ in range(150)]
    assert losses[-1] < 0.25 * losses[0]


@pytest.mark.parametrize("note", ["", "@recompute "])
@pytest.mark.parametrize("order", ["", "reverse "])
def test_dropout_in_a_scan_is_the_same_in_the_backward_pass(note: str, order: str) -> None:
    """Masks of every step, and of the state: the derivative of the loss that was drawn."""
    text = SEQUENCE.replace("    scan t in T", f"    {note}scan t in {order}T")
    parts = {"carry": "", "new": "h1", "more": "", "rest": "h = dropout(h, rate=0.3)"}
    text = text.format(cell="gru_cell", **parts).replace("cell(x[:, t], h", "cell(dropout(x[:, t], rate=0.4), h")
    model, rng = graphc.compile_source(text), np.random.default_rng(8)
    params = randomised(model)
    for steps in (1, 7, 50):
        batch = {"x": rng.normal(size=(B, steps, E)), "length": np.array([1, steps, (steps + 1) // 2], np.int32)}
        batch |= {"p": rng.normal(size=(B, H)), "q": rng.normal(size=(B, steps, H))}
        _, grads = model.gradients(batch)
        for name in params:
            weight, way, losses = params[name].copy(), rng.normal(size=params[name].shape), []
            for sign in (1.0, -1.0):
                model.params[name][...] = weight + sign * 1e-5 * way
                losses.append(model.gradients(batch)[0]["loss"])
            model.params[name][...] = weight
            np.testing.assert_allclose(np.sum(grads[name] * way), (losses[0] - losses[1]) / 2e-5, rtol=1e-5, atol=1e-7)


def test_the_forget_gate_begins_open() -> None:
    """With all parameters 0 the forget gate is sigmoid(1), so that half a memory is not lost at every step."""
    parts = {"more_in": ", c: f64[B, H]", "more_out": ", z: f64[B, H]", "results": "y, z", "more": ", c"}
    model = graphc.compile_source(STEP.format(cell="lstm_cell", **parts))
    for name in model.params:
        model.params[name][...] = 0.0
    found = model(x=np.zeros((B, E)), h=np.zeros((B, H)), c=np.ones((B, H)))
    np.testing.assert_allclose(found["z"], sigmoid(np.array(1.0)))
