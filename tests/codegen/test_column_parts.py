"""Sums down few columns of many rows are made by parts: same results, same bits for any number of threads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import graphc
from graphc.driver import stage_text

NORM = """
dim B, H, W, C
model net(x: f32[B, H, W, C], a: f32[C]) -> (y: f32[B, H, W, C], m: f32[C], top: f32[C]):
    m = mean(x, keep=-1)
    centred = x - m
    y = centred * rsqrt(mean(centred * centred, keep=-1) + 1e-5) * a
    top = max(x, keep=-1)
"""


@pytest.mark.parametrize(
    ("sizes", "dims"),
    [
        ((32, 16, 16, 8), {"B": 32, "H": 16, "W": 16}),  # one loop over all pixels
        ((32, 16, 16, 8), {"H": 16, "W": 16}),  # of any batch
        ((12, 20, 21, 7), {"B": 12, "H": 20, "W": 21}),  # no power of two, and a masked vector
        ((13, 31, 31, 5), {"B": 13, "H": 31, "W": 31}),
        ((3, 17, 19, 4), {"B": 3, "H": 17, "W": 19}),  # too few
    ],
)
def test_means_and_maxima_of_columns(sizes: tuple[int, ...], dims: dict[str, int]) -> None:
    random = np.random.default_rng(0)
    x = (random.standard_normal(sizes) + 3).astype(np.float32)
    a = random.standard_normal(sizes[-1]).astype(np.float32)
    dims = {**dims, "C": sizes[-1]}
    found = [graphc.compile_source(NORM, dims=dims, threads=threads)(x=x, a=a) for threads in (1, 2, 3)]
    wide = x.astype(np.float64)
    mean, spread = wide.mean((0, 1, 2)), wide.var((0, 1, 2))
    np.testing.assert_allclose(found[0]["m"], mean, rtol=1e-5)
    np.testing.assert_allclose(found[0]["y"], (wide - mean) / np.sqrt(spread + 1e-5) * a, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found[0]["top"], x.max((0, 1, 2)))
    for other in found[1:]:
        assert all(other[name].tobytes() == found[0][name].tobytes() for name in ("y", "m", "top"))


@pytest.mark.parametrize(
    ("sizes", "is_by_parts"),
    [
        ({"B": 32, "H": 16, "W": 16, "C": 4}, True),
        ({"H": 16, "W": 16, "C": 4}, True),  # 16 divides the pixels of any batch
        ({"H": 7, "W": 7, "C": 4}, False),  # nothing does
        ({"B": 32, "H": 16, "W": 16, "C": 40}, False),  # vectors enough for threads
        ({"B": 2, "H": 16, "W": 16, "C": 4}, False),  # not worth it
        ({"B": 31, "H": 31, "W": 31, "C": 4}, False),  # no number from 8 to 16 divides the pixels
    ],
)
def test_which_sums_are_made_by_parts(tmp_path: Path, sizes: dict[str, int], is_by_parts: bool) -> None:
    file = tmp_path / "net.gc"
    file.write_text(NORM)
    text = stage_text(file, "kernels", entry="forward", dims=sizes)
    assert ("scratch part0" in text) == is_by_parts
    assert ("for p in 16:" in text) == is_by_parts


def test_what_a_sum_overwrites_is_read_before() -> None:
    """A step of batch norm: the gain is updated where it lies by the kernel whose last sweep multiplies by it."""
    text = """
use std.nn: batch_norm
dim B
model net(x: f32[B, 16, 16, 3]) -> (y: f32[B, 16, 16, 4]):
    param w: f32[3, 4] = normal(), first = batch_norm(), second = batch_norm()
    y = x @ w |> first |> relu |> second
train net:
    input t: f32[B, 16, 16, 4]
    loss = mse(y, t)
    optimizer = momentum(lr = 0.1, mu = 0.9)
"""
    random = np.random.default_rng(1)
    data = {
        "x": random.standard_normal((32, 16, 16, 3)).astype(np.float32),
        "t": random.standard_normal((32, 16, 16, 4)).astype(np.float32),
    }
    models = [
        graphc.compile_source(text, dims={"B": 32}, threads=1),
        graphc.compile_source(text, dims={"B": 32}, threads=3),
        graphc.compile_source(text, dims={"B": 32}, threads=1, optimize=0),
    ]
    losses = [[float(model.step(data)["loss"]) for _ in range(4)] for model in models]
    assert losses[0] == losses[1]
    np.testing.assert_allclose(losses[0], losses[2], rtol=1e-5)
