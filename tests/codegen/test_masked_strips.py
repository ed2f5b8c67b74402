"""What a mask hides of attention is not computed, and nobody can tell, whatever the mask, the lengths and values."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import graphc
from graphc.driver import stage_text

SOURCE = """
dim B, T{size}, K = 8
model attend(q: {kind}[B, T, K], k: {kind}[B, T, K], v: {kind}[B, T, K]) -> (y: {kind}[B, T, K]):
    param scale: {kind} = 0.5
    row, column = iota(T)[:, None], iota(T)[None, :]
    scaled = q * scale
    scores = einsum(scaled[b, t, c] * k[b, s, c] -> [b, t, s])
    probs = softmax(where({mask}, scores, {hidden}), axis=-1)
    y = einsum(probs[b, t, s] * v[b, s, c] -> [b, t, c])
train attend:
    loss = sum(y * y)
    optimizer = sgd(lr = 0.001)
"""
CAUSAL = "row >= column"


def source(mask: str = CAUSAL, hidden: str = "-inf", length: int | None = None, kind: str = "f32") -> str:
    return SOURCE.format(mask=mask, hidden=hidden, size=f" = {length}" if length else "", kind=kind)


def operands(length: int, kind: type = np.float32) -> dict[str, np.ndarray]:
    random = np.random.default_rng(length)
    return {name: random.standard_normal((2, length, 8)).astype(kind) for name in "qkv"}


def attend(given: dict[str, np.ndarray], seen: np.ndarray, hidden: float = -np.inf) -> np.ndarray:
    q, k, v = (x.astype(np.float64) for x in given.values())
    scores = np.where(seen, 0.5 * np.einsum("btc,bsc->bts", q, k), hidden)
    with np.errstate(invalid="ignore"):
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        y: np.ndarray = np.einsum("bts,bsc->btc", weights / weights.sum(-1, keepdims=True), v)
        return y


MASKS = {
    CAUSAL: lambda row, column: row >= column,
    "column <= row": lambda row, column: row >= column,
    "column < row + 3": lambda row, column: column < row + 3,
    "row > column - 20": lambda row, column: row > column - 20,
    "row >= column and row < column + 9": lambda row, column: (row >= column) & (row < column + 9),
    "row + 40 >= column + 40": lambda row, column: row >= column,
    "row <= column": lambda row, column: row <= column,  # hides what stands before
    "2 * row >= column": lambda row, column: 2 * row >= column,
    "column < 11": lambda row, column: column < 11 + 0 * row,
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize(("length", "known"), [(33, True), (150, False)])
def test_masks_of_every_kind(mask: str, length: int, known: bool) -> None:
    given, (row, column) = operands(length), np.indices((length, length))
    model = graphc.compile_source(source(mask, length=length if known else None))
    expected = attend(given, MASKS[mask](row, column))
    np.testing.assert_allclose(model(**given)["y"], expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("hidden", ["-1e9", "-2.0", "0.0"])
def test_finite_numbers_hide_what_is_far_below_only(hidden: str) -> None:
    """exp(-2) is not 0: what is behind the diagonal then counts, the same for every key."""
    given = operands(70)
    expected = attend(given, np.tri(70, dtype=bool), float(hidden))
    model = graphc.compile_source(source(hidden=hidden))
    np.testing.assert_allclose(model(**given)["y"], expected, rtol=2e-5, atol=2e-6)


def test_what_hides_is_not_summed_if_it_is_zero(tmp_path: Path) -> None:
    """The exponentials behind the diagonal are one number a row: whether it is 0 is seen when it runs."""
    file = tmp_path / "attend.gc"
    file.write_text(source(length=64))
    text = stage_text(file, "llvm", entry="forward")
    assert re.search(r"(%\w+) = fcmp une float %\w+, 0x0+\n +%\w+ = select i1 \1, i64 %\w+, i64 64\n", text)


def test_a_query_that_sees_nothing_is_nan() -> None:
    given = operands(70)
    y = graphc.compile_source(source("row > column + 15"))(**given)["y"]
    assert np.isnan(y[:, :16]).all()
    expected = attend(given, np.tri(70, k=-16, dtype=bool))
    np.testing.assert_allclose(y[:, 16:], expected[:, 16:], rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_zero_times_a_hidden_infinity_is_nan(value: float) -> None:
    given = operands(70)
    given["v"][1, 60, 3] = value
    y = graphc.compile_source(source(length=70))(**given)["y"]
    expected = attend(given, np.tri(70, dtype=bool))
    assert np.isnan(expected[1, :60, 3]).all()
    np.testing.assert_array_equal(np.isfinite(y), np.isfinite(expected))


def test_binary64() -> None:
    given = operands(70, np.float64)
    model = graphc.compile_source(source(kind="f64"))
    np.testing.assert_allclose(model(**given)["y"], attend(given, np.tri(70, dtype=bool)), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize(("length", "known"), [(1, True), (16, True), (47, True), (47, False), (600, False)])
def test_steps_are_those_of_separate_kernels(length: int, known: bool) -> None:
    given = operands(length)
    text = source(length=length if known else None)
    cut, whole = graphc.compile_source(text), graphc.compile_source(text, optimize=1)
    for _ in range(3):
        np.testing.assert_allclose(cut.step(**given)["loss"], whole.step(**given)["loss"], rtol=1e-5)
    np.testing.assert_allclose(cut.params["scale"], whole.params["scale"], rtol=1e-4)


def test_any_number_of_threads_computes_the_same() -> None:
    given = {name: np.tile(x, (5, 1, 1)) for name, x in operands(90).items()}
    models = [graphc.compile_source(source(), threads=threads) for threads in (1, 2, 3)]
    expected, *others = [(model(**given)["y"].tobytes(), model.step(**given)["loss"]) for model in models]
    assert others == [expected, expected]


@pytest.mark.parametrize(
    ("mask", "cut"),
    [(CAUSAL, 4), ("column < row + 3", 4), ("row - column > -4", 4), ("row <= column", 0), ("2 * row >= column", 0)],
)
def test_products_end_at_the_diagonal(tmp_path: Path, mask: str, cut: int) -> None:
    """Scores and weighted sum, and the same in the backward pass."""
    file = tmp_path / "attention.gc"
    file.write_text(source(mask, length=40))
    text = stage_text(file, "kernels", entry="step")
    assert len(re.findall(r" over .*, \w+ < \w+ \+ ", text)) == cut


def test_places_in_numbers_that_wrap_around_are_no_diagonal() -> None:
    given = operands(300)
    rows, columns = np.indices((300, 300)).astype(np.uint8)
    text = source("cast(row, u8) >= cast(column, u8)")
    np.testing.assert_allclose(
        graphc.compile_source(text)(**given)["y"], attend(given, rows >= columns), rtol=2e-5, atol=2e-6
    )


SHIFTED = """
dim B, T{size}, K = 8
model attend(q: f32[B, T, K], k: f32[B, T, K], v: f32[B, T, K], weight: f32[B, T, K]) -> (y: f32[B, T, K]):
    param of_k: f32[40, K] = zeros(), of_v: f32[40, K] = zeros()
    keys, values = k + of_k[:T], v + of_v[:T]
    scores = einsum(q[b, t, c] * keys[b, s, c] -> [b, t, s])
    probs = softmax(where(iota(T)[:, None] >= iota(T)[None, :], scores, {hidden}), axis=-1)
    y = weight * einsum(probs[b, t, s] * values[b, s, c] -> [b, t, c])
train attend:
    loss = sum(y)
    optimizer = sgd(lr = 0.1)
"""


@pytest.mark.parametrize("value", [1.0, np.inf, np.nan])
@pytest.mark.parametrize("hidden", ["-inf", "-1e9", "-2.0"])
def test_gradients_where_hidden_values_count(value: float, hidden: str) -> None:
    """What hides is not 0, or is multiplied by an infinity or NaN: the sums over rows then have all terms."""
    given = {**operands(40), "weight": operands(40)["q"]}
    given["weight"][0, 9, 3] = value
    text = SHIFTED.format(size=" = 40", hidden=hidden)
    cut, whole = graphc.compile_source(text), graphc.compile_source(text, optimize=1)
    cut.step(**given)
    whole.step(**given)
    for name in ("of_k", "of_v"):
        np.testing.assert_allclose(cut.params[name], whole.params[name], rtol=1e-4, atol=1e-6)


def test_sums_over_rows_begin_at_the_diagonal(tmp_path: Path) -> None:
    file = tmp_path / "attention.gc"
    file.write_text(SHIFTED.format(size=" = 40", hidden="-inf"))
    assert len(re.findall(r"contract .*, k >= ", stage_text(file, "kernels", entry="step"))) == 2
