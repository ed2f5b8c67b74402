"""A product of few rows by a large transposed matrix: the matrix is read as it lies, tiles have rows of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import graphc
from graphc.driver import stage_text

PRODUCT = """
model net(x: f32[{m}, {k}], w: f32[{n}, {k}]) -> (y: f32[{m}, {n}]):
    y = {result}
"""
PLAIN = "x @ transpose(w, axes=[1, 0])"


@pytest.mark.parametrize(("m", "n", "k"), [(33, 787, 1030), (64, 800, 1024), (32, 1024, 600)])
def test_rows_and_columns_are_exchanged(m: int, n: int, k: int) -> None:
    random = np.random.default_rng(0)
    x, w = (random.standard_normal((count, k)).astype(np.float32) for count in (m, n))
    text = PRODUCT.format(m=m, n=n, k=k, result=PLAIN)
    found = [graphc.compile_source(text, threads=threads)(x=x, w=w)["y"] for threads in (1, 2, 3)]
    expected = x.astype(np.float64) @ w.T.astype(np.float64)
    np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-3)
    assert found[0].tobytes() == found[1].tobytes() == found[2].tobytes()


@pytest.mark.parametrize(
    ("m", "n", "k", "result", "is_exchanged"),
    [
        (64, 800, 1024, PLAIN, True),
        (32, 1024, 1024, PLAIN, True),
        (64, 1024, 1024, PLAIN, False),  # results a page apart
        (256, 800, 1024, PLAIN, False),  # rows enough to pack for
        (16, 800, 1024, PLAIN, False),
        (64, 80, 1024, PLAIN, False),  # a small matrix
        (64, 800, 1024, f"relu({PLAIN})", False),  # more is done to the result, row by row
    ],
)
def test_which_products_are_exchanged(tmp_path: Path, m: int, n: int, k: int, result: str, is_exchanged: bool) -> None:
    file = tmp_path / "net.gc"
    file.write_text(PRODUCT.format(m=m, n=n, k=k, result=result))
    text = stage_text(file, "kernels", entry="forward")
    assert ("acc = sum x1 * x0" in text) == is_exchanged
