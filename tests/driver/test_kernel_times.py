"""The times of kernels: what is counted, and that the timed model is the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import graphc
from graphc.driver import compilation
from graphc.kernel_times import KernelTime, Peak, TimedModel

SOURCE = """
dim B, I = 24, O = 40
model net(x: f32[B, I]) -> (y: f32[B, O], z: f32[B]):
    param w: f32[I, O] = glorot_uniform()
    y = x @ w
    z = sum(exp(y), axis=O)
train net:
    loss = mean(z)
    optimizer = sgd(lr = 0.1)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "net.gc"
    path.write_text(SOURCE)
    return path


def test_operations_and_bytes_are_those_of_the_shapes(file: Path) -> None:
    timed = TimedModel(compilation(file))
    x = np.ones((7, 24), np.float32)
    product, fold = timed.times("forward", lambda: timed.model(x=x), {"B": 7}, 0.01)
    assert product.what == "contract exp"
    assert product.operations == 2 * 7 * 24 * 40 + 7 * 40  # and an exponential for each element
    assert product.moved == 4 * (7 * 24 + 24 * 40 + 2 * 7 * 40)
    assert fold.operations == 7 * 40
    assert fold.moved == 4 * (7 * 40 + 7)
    assert product.seconds > 0 and fold.seconds > 0
    assert [one.number for one in (product, fold)] == [0, 1]


def test_the_timed_model_computes_what_the_model_does(file: Path) -> None:
    timed, plain = TimedModel(compilation(file)).model, graphc.compile(file)
    plain.init(seed=0)
    x = np.random.default_rng(0).standard_normal((5, 24)).astype(np.float32)
    for _ in range(3):
        assert timed.step(x=x)["loss"] == plain.step(x=x)["loss"]
    np.testing.assert_array_equal(timed.params["w"], plain.params["w"])


def test_the_roofline_is_the_slower_of_both_bounds() -> None:
    peak = Peak(operations=100.0, bandwidth=10.0)
    assert KernelTime(0, "", 2.0, operations=100, moved=1).share_of_roofline(peak) == pytest.approx(0.5)
    pairs = KernelTime(0, "", 2.0, operations=100, moved=1, paired=80)
    assert pairs.share_of_roofline(peak) == pytest.approx(0.3)
    assert KernelTime(0, "", 2.0, operations=1, moved=15).share_of_roofline(peak) == pytest.approx(0.75)
