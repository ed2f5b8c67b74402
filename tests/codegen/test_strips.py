"""Attention in one kernel, a strip of rows at a time: of all lengths, with and without a mask, and backwards."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import graphc
from graphc.driver import stage_text
from graphc.runtime.model import Model

ATTENTION = """
dim B, T{T}, S = {S}, H = 2, K = 8
model attend(q: f32[B, T, H, K], k: f32[B, {L}, H, K], v: f32[B, {L}, H, K]) -> (y: f32[B, T, H, K]):
    param scale: f32 = 0.5
    scaled = q * scale
    scores = einsum(scaled[b, t, h, c] * k[b, s, h, c] -> [b, h, t, s])
    {mask}
    probs = softmax(scores, axis=-1)
    y = einsum(probs[b, h, t, s] * v[b, s, h, c] -> [b, t, h, c])
train attend:
    loss = sum(y * y * y)
    optimizer = sgd(lr = 0.001)  # steeper, and steps would multiply what the kernels round
"""
CAUSAL = "scores = where(broadcast(iota(T)[None, :] <= iota(T)[:, None], [B, H, T, T]), scores, -inf)"


def source(length: int | None, other: int | None = None) -> str:
    """The model at a length known beforehand or not; without another length for the keys it is causal."""
    size, mask = (f" = {length}" if length else ""), (CAUSAL if other is None else "# every query sees every key")
    return ATTENTION.format(T=size, S=other or 1, L="S" if other else "T", mask=mask)


def attend(q: np.ndarray, k: np.ndarray, v: np.ndarray, is_causal: bool) -> np.ndarray:
    scores = 0.5 * np.einsum("bthc,bshc->bhts", q, k)
    if is_causal:
        scores = np.where(np.tri(q.shape[1], dtype=bool), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("bhts,bshc->bthc", weights / weights.sum(-1, keepdims=True), v)


def operands(batch: int, length: int, other: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(length)
    shapes = {"q": length, "k": other, "v": other}
    return {name: random.standard_normal((batch, n, 2, 8)).astype(np.float32) for name, n in shapes.items()}


@cache
def of_every_length() -> Model:
    return graphc.compile_source(source(None))


@pytest.mark.parametrize("length", [1, 2, 7, 31, 32, 33, 64, 100, 150, 200])
def test_causal_attention_of_every_length(length: int) -> None:
    given = operands(3, length, length)
    expected = attend(*(x.astype(np.float64) for x in given.values()), True)
    np.testing.assert_allclose(of_every_length()(**given)["y"], expected, rtol=2e-5, atol=2e-6)
    if length > 1:
        known = graphc.compile_source(source(length))
        np.testing.assert_allclose(known(**given)["y"], expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(("length", "other"), [(5, 40), (40, 5), (37, 64)])
def test_queries_and_keys_of_different_lengths(length: int, other: int) -> None:
    model = graphc.compile_source(source(length, other))
    given = operands(2, length, other)
    expected = attend(*(x.astype(np.float64) for x in given.values()), False)
    np.testing.assert_allclose(model(**given)["y"], expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("length", [7, 48])
def test_training_steps_are_those_of_separate_kernels(length: int) -> None:
    given = operands(2, length, length)
    strips = graphc.compile_source(source(length))
    apart = graphc.compile_source(source(length), optimize=1)
    for _ in range(3):
        np.testing.assert_allclose(strips.step(**given)["loss"], apart.step(**given)["loss"], rtol=1e-5)
    np.testing.assert_allclose(strips.params["scale"], apart.params["scale"], rtol=1e-4)


def test_inference_stores_no_scores_and_no_mask(tmp_path: Path) -> None:
    file = tmp_path / "attention.gc"
    file.write_text(source(128))
    memory = stage_text(file, "memory", entry="forward").partition("entry step")[0]
    assert "2, 128, 128" not in memory
    kernels = stage_text(file, "kernels", entry="forward")
    assert len(re.findall(r"^kernel ", kernels, re.MULTILINE)) == 2  # the queries are scaled first
    training = stage_text(file, "memory", entry="step").partition("entry step")[2].partition("entry ")[0]
    assert len(re.findall(r"f32\[B, 2, 128, 128\]", training)) == 1  # the weights


def test_one_example_takes_the_kernels_of_many(tmp_path: Path) -> None:
    """A batch axis of one place, which a product drops, does not stand between it and the rows."""
    file = tmp_path / "attention.gc"
    file.write_text(source(40))
    texts = [stage_text(file, "kernels", entry="forward", dims={"B": batch}) for batch in (1, 4)]
    one, many = (len(re.findall(r"^kernel ", text, re.MULTILINE)) for text in texts)
    assert one == many == 2


@pytest.mark.parametrize(("length", "rows"), [(40, 40), (150, 104), (200, 80), (4000, 32)])
def test_a_strip_is_as_high_as_the_cache_allows(tmp_path: Path, length: int, rows: int) -> None:
    file = tmp_path / "attention.gc"
    file.write_text(source(length))
    text = stage_text(file, "memory", entry="forward")
    assert f"f32[{rows}, {length}]" in text


def test_what_is_masked_in_a_fold_stays_out_of_it() -> None:
    given = operands(1, 6, 6)
    given["k"][0, 5] = np.nan  # seen by the last query only
    y = graphc.compile_source(source(6))(**given)["y"]
    assert np.isfinite(y[0, :5]).all()
    assert np.isnan(y[0, 5]).all()


def test_strips_of_any_number_of_threads_are_the_same() -> None:
    """Each thread has a strip and copies of its own, whose sizes depend on the call."""
    given = operands(9, 64, 64)
    models = [graphc.compile_source(source(None), threads=threads) for threads in (1, 2, 3)]
    expected, *others = [(model(**given)["y"].tobytes(), model.step(**given)["loss"]) for model in models]
    assert others == [expected, expected]


def test_scores_that_are_read_transposed_too_are_stored() -> None:
    model = graphc.compile_source(
        "dim B, T = 40, K = 8\n"
        "model both(q: f32[B, T, K], k: f32[B, T, K]) -> (y: f32[B, T, K]):\n"
        "    scores = einsum(q[b, t, c] * k[b, s, c] -> [b, t, s])\n"
        "    probs = softmax(scores + transpose(scores, axes=[0, 2, 1]), axis=-1)\n"
        "    y = einsum(probs[b, t, s] * k[b, s, c] -> [b, t, c])\n"
    )
    random = np.random.default_rng(0)
    q, k = (random.standard_normal((2, 40, 8)).astype(np.float32) for _ in range(2))
    scores = np.einsum("btc,bsc->bts", q, k).astype(np.float64)
    weights = np.exp((both := scores + scores.transpose(0, 2, 1)) - both.max(-1, keepdims=True))
    expected = np.einsum("bts,bsc->btc", weights / weights.sum(-1, keepdims=True), k)
    np.testing.assert_allclose(model(q=q, k=k)["y"], expected, rtol=2e-4, atol=2e-5)


TRAINED = """
dim B, T{T}, D = 12, H = 2, K = 8
model attend(x: f32[B, T, D]) -> (y: f32[B, T, H, K]):
    param wq: f32[D, H, K] = normal(0.3), wk: f32[D, H, K] = normal(0.3), wv: f32[D, H, K] = normal(0.3)
    q = einsum(x[b, t, d] * wq[d, h, k] -> [b, t, h, k])
    k = einsum(x[b, t, d] * wk[d, h, k] -> [b, t, h, k])
    v = einsum(x[b, t, d] * wv[d, h, k] -> [b, t, h, k])
    scores = einsum(q[b, t, h, c] * k[b, s, h, c] -> [b, h, t, s])
    {mask}
    probs = softmax(scores, axis=-1)
    y = einsum(probs[b, h, t, s] * v[b, s, h, c] -> [b, t, h, c])
train attend:
    loss = mean(y * y * y * y)
    optimizer = sgd(lr = 0.002)
"""


def trained(length: int | None, mask: str = "# none") -> str:
    return TRAINED.format(T=f" = {length}" if length else "", mask=mask)


@pytest.mark.parametrize("mask", ["# none", CAUSAL])
@pytest.mark.parametrize(("length", "known"), [(7, True), (40, True), (150, True), (600, True), (40, False)])
def test_gradients_by_keys_and_values_are_those_of_separate_kernels(length: int, known: bool, mask: str) -> None:
    x = np.random.default_rng(length).standard_normal((2, length, 12)).astype(np.float32)
    text = trained(length if known else None, mask)
    joined, apart = graphc.compile_source(text), graphc.compile_source(text, optimize=1)
    joined.init(seed=3)
    apart.init(seed=3)
    for _ in range(3):
        np.testing.assert_allclose(joined.step(x=x)["loss"], apart.step(x=x)["loss"], rtol=1e-6)
    for name in ("wq", "wk", "wv"):  # they have changed by 0.02 to 0.05
        np.testing.assert_allclose(joined.params[name], apart.params[name], rtol=0, atol=3e-7)


@pytest.mark.parametrize(("length", "products", "buffers"), [(40, 4, ["strip"]), (150, 6, ["strip", "whole"])])
def test_gradients_of_scores_stay_in_the_cache(tmp_path: Path, length: int, products: int, buffers: list[str]) -> None:
    """One kernel has all products of the backward pass; of the tensors of scores only the weights are in memory.

    150 rows are two strips, each of which has two of the products.
    """
    file = tmp_path / "attention.gc"
    file.write_text(trained(length))
    training = stage_text(file, "memory", entry="step").partition("entry step")[2].partition("entry ")[0]
    assert len(re.findall(rf"f32\[B, 2, {length}, {length}\]", training)) == 1
    kernels = re.split(r"^kernel ", stage_text(file, "kernels", entry="step"), flags=re.MULTILINE)
    (backward,) = (text for text in kernels if text.count("  contract ") == products)
    assert re.findall(r"scratch (strip|whole)", backward) == buffers


def test_gradients_of_any_number_of_threads_are_the_same() -> None:
    x = np.random.default_rng(0).standard_normal((5, 90, 12)).astype(np.float32)
    models = [graphc.compile_source(trained(90), threads=threads) for threads in (1, 2, 3)]
    for model in models:
        model.init(seed=1)
        model.step(x=x)
        model.step(x=x)
    expected, *others = [b"".join(model.params[n].tobytes() for n in ("wq", "wk", "wv")) for model in models]
    assert others == [expected, expected]
