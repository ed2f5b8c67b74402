"""Scans on several threads: the same bits for any number of them, and all of them at work."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from many_threads import bits, needs_pool, pool, variants

import graphc

BOTH_WAYS = """
use std.nn: lstm_cell
dim B, T, E = 96, H = 80
model seq(x: f32[B, T, E], length: i32[B]) -> (y: f32[B, T, H], last: f32[B, H]):
    param forth = lstm_cell[H=H], back = lstm_cell[H=H]
    scan t in T:
        carry h: f32[B, H] = zeros(), c: f32[B, H] = zeros()
        h1, c1 = forth(x[:, t], h, c)
        live = (t < length)[:, None]
        h = where(live, h1, h)
        c = where(live, c1, c)
        emit before: f32[B, T, H] = dropout(h, rate=0.2)
    last = h
    scan t in reverse T:
        carry g: f32[B, H] = last, d: f32[B, H] = zeros()
        g, d = back(concat([x[:, t, :16], before[:, t]], axis=1), g, d)
        emit behind: f32[B, T, H] = g
    y = before + behind
train seq:
    input target: f32[B, T, H]
    loss = mse(y, target) + mean(last * last)
    clip = global_norm(1.0)
    optimizer = adam(lr = 0.01)
"""
NESTED = """
dim B, T, S, H = 128
model m(x: f32[B, T, H], y: f32[B, S, H]) -> (out: f32[B, T, H], last: f32[B, H], total: f32):
    param w: f32[H, H] = orthogonal(), v: f32[H, H] = orthogonal()
    scan t in T:
        carry h: f32[B, H] = zeros(), q: f32 = 0.0
        scan s in reverse S:
            carry g: f32[B, H] = h
            g = tanh(g @ v + y[:, s] * x[:, t])
            emit gs: f32[B, S, H] = softmax(g, axis=-1)
        h = tanh(h @ w + g) + mean(gs, axis=S)
        q = 0.5 * q + mean(h)
        emit out: f32[B, T, H] = (h - mean(h, axis=-1)[:, None]) * q
    last = h
    total = q
train m:
    input p: f32[B, T, H]
    loss = mse(out, p) + mean(last) + total
    optimizer = sgd(lr = 0.1)
"""


def results(model: graphc.Model, given: dict[str, Any], wanted: dict[str, Any], steps: int = 2) -> str:
    """The bits of everything after some steps of training, and of an inference."""
    model.init(seed=3)
    losses = np.array([model.step(**given, **wanted)["loss"] for _ in range(steps)])
    assert np.isfinite(losses).all()
    return bits({**model.params, **model.slots, "loss": losses, **model(**given)})


@pytest.fixture(scope="module")
def both_ways() -> list[graphc.Model]:
    return variants(graphc.compile_source(BOTH_WAYS))


@pytest.fixture(scope="module")
def nested() -> list[graphc.Model]:
    return variants(graphc.compile_source(NESTED))


@pytest.mark.parametrize(("rows", "length"), [(32, 1), (1, 40), (2, 700), (33, 17), (130, 5)])
def test_recurrences_both_ways_have_the_same_bits(both_ways: list[graphc.Model], rows: int, length: int) -> None:
    rng = np.random.default_rng(rows)
    x, target = (rng.normal(size=(rows, length, size)).astype("f4") for size in (96, 80))
    given = {"x": x, "length": rng.integers(1, length + 1, rows).astype("i4")}
    assert len({results(model, given, {"target": target}) for model in both_ways}) == 1


@pytest.mark.parametrize(("rows", "outer", "inner"), [(32, 1, 1), (64, 3, 7), (1, 5, 30), (40, 9, 2)])
def test_scans_in_scans_have_the_same_bits(nested: list[graphc.Model], rows: int, outer: int, inner: int) -> None:
    rng = np.random.default_rng(rows)
    x, y, p = (rng.normal(size=(rows, length, 128)).astype("f4") for length in (outer, inner, outer))
    assert len({results(model, {"x": x, "y": y}, {"p": p}) for model in nested}) == 1


@pytest.mark.parametrize("fixed", [{"T": 6}, {"B": 48}, {"B": 48, "T": 6}], ids=str)
def test_sizes_known_when_compiled_give_the_same_bits(fixed: dict[str, int]) -> None:
    models = variants(graphc.compile_source(BOTH_WAYS, dims=fixed))
    rng = np.random.default_rng(0)
    x, target = (rng.normal(size=(48, 6, size)).astype("f4") for size in (96, 80))
    given = {"x": x, "length": rng.integers(1, 7, 48).astype("i4")}
    assert len({results(model, given, {"target": target}) for model in models}) == 1


@needs_pool
def test_a_scan_alone_is_shared_out_if_it_is_long_enough() -> None:
    """Nothing but the recurrence is worth threads here, and one step of it is worth no fork."""
    text = (
        "dim B, T, H = 64\nmodel m(h0: f32[B, H], w: f32[H, H], x: f32[T]) -> (h1: f32[B, H]):\n    scan t in T:\n"
        "        carry h: f32[B, H] = h0\n        h = tanh(h @ w) + x[t]\n    h1 = h\n"
    )
    model = variants(graphc.compile_source(text))[1]

    def forks(rows: int, length: int) -> int:
        before = pool().forks
        model(h0=np.ones((rows, 64), "f4"), w=np.eye(64, dtype="f4"), x=np.zeros(length, "f4"))
        return pool().forks - before

    assert forks(rows=64, length=1) == 0
    assert forks(rows=64, length=100) == 1
    assert forks(rows=1, length=10_000) == 0  # its steps are too small to meet in each
