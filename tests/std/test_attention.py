"""Attention, the transformer layer and sines of places against loops over heads in NumPy; in f64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import graphc

Array = NDArray[Any]
TEXT = """
use std.nn: attention, transformer_layer, sinusoidal
precision params = f64, compute = f64
dim B, T, D = 6
model net(x: f64[B, T, D]) -> (y: f64[B, T, D]):
    param part = {part}
    y = part(x)
"""


def model_of(part: str) -> tuple[graphc.Model, dict[str, Array]]:
    model = graphc.compile_source(TEXT.format(part=part))
    rng = np.random.default_rng(5)
    for name in model.params:
        model.params[name][...] = rng.normal(size=model.params[name].shape) * 0.5
    return model, dict(model.params)


def softmax(row: Array) -> Array:
    e = np.exp(row - row.max())
    return e / e.sum()


def attention(p: dict[str, Array], x: Array, causal: bool, prefix: str = "part.") -> Array:
    """One head, one sample and one place after the other."""
    wq, wk, wv, wo = (p[prefix + name] for name in ("wq", "wk", "wv", "wo"))
    y = np.zeros_like(x)
    for b, rows in enumerate(x):
        for head in range(wq.shape[1]):
            q, k, v = rows @ wq[:, head], rows @ wk[:, head], rows @ wv[:, head]
            for t in range(len(rows)):
                seen = t + 1 if causal else len(rows)
                weights = softmax(k[:seen] @ q[t] / math.sqrt(q.shape[1]))
                y[b, t] += weights @ v[:seen] @ wo[head]
    return y


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("length", [1, 2, 9])
def test_attention(length: int, causal: bool) -> None:
    model, params = model_of(f"attention[A=3](causal={str(causal).lower()})")
    x = np.random.default_rng(length).normal(size=(2, length, 6))
    np.testing.assert_allclose(model(x=x)["y"], attention(params, x, causal), rtol=1e-10, atol=1e-11)


def test_a_causal_place_does_not_see_what_follows() -> None:
    model, _ = model_of("attention[A=2](causal=true)")
    x = np.random.default_rng(0).normal(size=(1, 8, 6))
    other = x.copy()
    other[:, 5:] += 1.0
    a, b = model(x=x)["y"], model(x=other)["y"]
    np.testing.assert_array_equal(a[:, :5], b[:, :5])
    assert np.abs(a[:, 5:] - b[:, 5:]).min() > 0


def test_the_width_is_a_multiple_of_the_heads() -> None:
    with pytest.raises(graphc.CompileError, match="multiple of the number of heads"):
        graphc.compile_source(TEXT.format(part="attention[A=4]"))


def normed(p: dict[str, Array], name: str, x: Array) -> Array:
    unit = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return unit * p[f"part.{name}.gain"] + p[f"part.{name}.bias"]


@pytest.mark.parametrize("causal", [False, True])
def test_transformer_layer(causal: bool) -> None:
    model, p = model_of(f"transformer_layer[A=2, F=10](causal={str(causal).lower()}, rate=0.5)")
    x = np.random.default_rng(2).normal(size=(2, 5, 6))
    h = x + attention(p, normed(p, "before", x), causal, "part.attend.")
    up = normed(p, "between", h) @ p["part.up.w"] + p["part.up.b"]
    gelu = up * 0.5 * (1.0 + np.vectorize(math.erf)(up / math.sqrt(2.0)))
    wanted = h + gelu @ p["part.down.w"] + p["part.down.b"]
    np.testing.assert_allclose(model(x=x)["y"], wanted, rtol=1e-9, atol=1e-10)


def test_sinusoidal() -> None:
    text = TEXT.replace("    param part = {part}\n", "").replace("part(x)", "sinusoidal(x)")
    x = np.random.default_rng(2).normal(size=(2, 50, 6))
    found = graphc.compile_source(text)(x=x)["y"] - x
    for place in (0, 1, 49):
        for pair in range(3):
            angle = place / 10000.0 ** (2 * pair / 6)
            wanted = [math.sin(angle), math.cos(angle)]
            np.testing.assert_allclose(found[0, place, 2 * pair : 2 * pair + 2], wanted, atol=1e-12)
            np.testing.assert_allclose(found[1, place, 2 * pair : 2 * pair + 2], wanted, atol=1e-12)
