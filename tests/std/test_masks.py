"""Batches of sequences of several lengths: masks made of lengths, in means, losses and figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import graphc

LANGUAGE = Path(__file__).parents[2] / "docs" / "language.md"


def tagger() -> graphc.Model:
    """The example of docs/language.md."""
    text = LANGUAGE.read_text(encoding="utf-8").split("### Lengths and masks")[1]
    return graphc.compile_source(text.split("```python\n")[1].split("```")[0])


def test_what_lies_behind_the_end_has_no_effect() -> None:
    """A batch of three lengths against each sequence alone; other tokens stand behind the ends."""
    model = tagger()
    model.init(1)
    random = np.random.default_rng(0)
    length = np.array([7, 1, 4], "i4")
    tokens, tags = (random.integers(0, n, (3, 7)).astype("i4") for n in (5000, 3))
    made = model(tokens=tokens, length=length)
    figures = model.evaluate(tokens=tokens, length=length, y=tags)
    losses = []
    for row, size in enumerate(length):
        alone = {"tokens": tokens[row : row + 1, :size], "length": length[row : row + 1]}
        np.testing.assert_allclose(made["average"][row], model(**alone)["average"][0], 1e-5, 1e-7)
        losses.append(size * model.evaluate(**alone, y=tags[row : row + 1, :size])["loss"])
    np.testing.assert_allclose(figures["loss"], sum(losses) / length.sum(), 1e-5)
    other = np.where(np.arange(7) < length[:, None], tokens, 4999 - tokens)
    before, after = (model.gradients(tokens=t, length=length, y=tags) for t in (tokens, other))
    assert before[0] == after[0]
    for name in before[1]:
        assert np.array_equal(before[1][name], after[1][name]), name


def test_a_masked_derivative_does_not_see_nan() -> None:
    text = """
dim B, T
model m(x: f32[B, T], length: i32[B]) -> (y: f32[B], g: f32[B, T]):
    live = iota(T) < length[:, None]
    y = sum(where(live, x * x, 0.0), axis=T) / cast(length, f32)
    g = grad(sum(y), x)
"""
    x = np.array([[1.0, 2.0, np.nan], [3.0, np.inf, np.nan]], "f4")
    made = graphc.compile_source(text)(x=x, length=np.array([2, 1], "i4"))
    assert made["y"].tolist() == [2.5, 9.0]
    assert made["g"][0, :2].tolist() == [1.0, 2.0] and made["g"][1, 0] == 6.0
