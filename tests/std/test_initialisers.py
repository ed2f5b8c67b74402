"""First values from model file to memory: distribution, determinism, independence (tests/runtime has the formulas)."""

from __future__ import annotations

import math

import numpy as np
import pytest

import graphc
from graphc.frontend.parameter import INITIALIZERS

ROWS, COLUMNS = 150, 250
CASES = {  # what is written: (mean, deviation, smallest, largest), of 37,500 elements
    "zeros()": (0.0, 0.0, 0.0, 0.0),
    "ones()": (1.0, 0.0, 1.0, 1.0),
    "constant(0.3)": (0.3, 0.0, 0.3, 0.3),
    "0.7": (0.7, 0.0, 0.7, 0.7),
    "uniform()": (0.0, 0.1 / math.sqrt(12), -0.05, 0.05),
    "uniform(low=1.0, high=3.0)": (2.0, 2.0 / math.sqrt(12), 1.0, 3.0),
    "normal()": (0.0, 0.05, -0.3, 0.3),
    "normal(mean=2.0, std=0.5)": (2.0, 0.5, -0.5, 4.5),
    "truncated_normal()": (0.0, 0.05 * 0.87963, -0.1, 0.1),
    "truncated_normal(mean=1.0, std=2.0)": (1.0, 2.0 * 0.87963, -3.0, 5.0),
    "glorot_uniform()": (0.0, math.sqrt(2 / 400), -math.sqrt(6 / 400), math.sqrt(6 / 400)),
    "glorot_normal()": (0.0, math.sqrt(2 / 400), -0.4, 0.4),
    "he_uniform()": (0.0, math.sqrt(2 / 150), -math.sqrt(6 / 150), math.sqrt(6 / 150)),
    "he_normal()": (0.0, math.sqrt(2 / 150), -0.7, 0.7),
    "lecun_normal()": (0.0, math.sqrt(1 / 150), -0.5, 0.5),
    "orthogonal()": (0.0, math.sqrt(1 / 250), -0.4, 0.4),
    "orthogonal(gain=2.0)": (0.0, 2.0 * math.sqrt(1 / 250), -0.8, 0.8),
}


@pytest.fixture(scope="module")
def model() -> graphc.Model:
    """One parameter w0, w1, ... for each case."""
    params = "".join(f"    param w{i}: f32[{ROWS}, {COLUMNS}] = {call}\n" for i, call in enumerate(CASES))
    total = " + ".join(f"sum(w{i})" for i in range(len(CASES)))
    return graphc.compile_source(f"model many(x: f32) -> (y: f32):\n{params}    y = x * ({total})\n")


def test_every_initialiser_of_the_language_is_tested() -> None:
    assert {call.partition("(")[0] for call in CASES} - {"0.7"} == set(INITIALIZERS)


@pytest.mark.parametrize("call", CASES)
def test_distribution(model: graphc.Model, call: str) -> None:
    """Mean and deviation within five standard errors, for three seeds; the ends never passed and nearly reached."""
    mean, deviation, low, high = CASES[call]
    count = ROWS * COLUMNS
    for seed in (0, 1, 2**64 - 1):
        model.init(seed=seed)
        w = np.array(model.params[f"w{list(CASES).index(call)}"], np.float64)
        assert abs(w.mean() - mean) <= 5 * deviation / math.sqrt(count) + 1e-7
        assert abs(w.std() - deviation) <= 5 * deviation / math.sqrt(count) + 1e-7
        assert low - 1e-7 <= w.min() and w.max() <= high + 1e-7
        if "uniform" in call or "truncated" in call:
            assert w.min() < low + 0.01 * (high - low) and w.max() > high - 0.01 * (high - low)


@pytest.mark.parametrize("call", [call for call in CASES if CASES[call][1] > 0.0])
def test_draws_differ_between_rows_seeds_and_parameters(model: graphc.Model, call: str) -> None:
    index = list(CASES).index(call)
    model.init(seed=5)
    first = np.array(model.params[f"w{index}"])
    assert len(np.unique(first[:, 0])) > 0.99 * ROWS
    assert abs(np.corrcoef(first[0], first[1])[0, 1]) < 0.35
    model.init(seed=6)
    assert (np.array(model.params[f"w{index}"]) != first).mean() > 0.99
    model.init(seed=5)
    assert np.array_equal(model.params[f"w{index}"], first)


def test_orthogonal_is_orthogonal_in_single_precision(model: graphc.Model) -> None:
    model.init(seed=0)
    w = np.array(model.params[f"w{list(CASES).index('orthogonal()')}"], np.float64)
    np.testing.assert_allclose(w @ w.T, np.eye(ROWS), atol=1e-6)


def test_the_same_path_has_the_same_value_in_another_model() -> None:
    """Neither the other parameters nor the order or the element type matter."""
    text = "model net(x: f32) -> (y: f32):\n    param {}: f32[9, 4] = normal(), {}: f32[9, 4] = normal()\n    y = x"
    one = graphc.compile_source(text.format("w", "v") + " + sum(w) * sum(v)\n")
    two = graphc.compile_source(text.format("u", "w") + " + sum(u) * sum(w)\n")
    wide = graphc.compile_source(text.replace("f32", "f64").format("w", "v") + " + sum(w) * sum(v)\n")
    for made in (one, two, wide):
        made.init(seed=11)
    assert np.array_equal(one.params["w"], two.params["w"])
    assert not np.array_equal(one.params["w"], one.params["v"])
    assert np.array_equal(one.params["w"], np.array(wide.params["w"]).astype(np.float32))


def test_a_model_begins_with_the_values_of_seed_0() -> None:
    model = graphc.compile_source(
        "model net(x: f32) -> (y: f32):\n    param w: f32[7] = normal()\n    y = x * sum(w)\n"
    )
    begun = np.array(model.params["w"])
    model.init(seed=0)
    assert np.array_equal(model.params["w"], begun) and begun.any()
