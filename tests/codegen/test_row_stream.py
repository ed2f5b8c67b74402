"""Sums down the columns of large matrices go along their rows: same results, same bits, blocks for threads."""

from __future__ import annotations

import numpy as np
import pytest

import graphc
from graphc.driver import stage_text

PRODUCT = """
model net(x: f32[{rows}], w: f32[{rows}, {columns}], c: f32[{columns}]) -> (y: f32[{columns}], s: f32[{columns}]):
    y = relu(x @ w + c)
    s = max(w, axis=0)
"""


@pytest.mark.parametrize(
    ("rows", "columns"),
    [(1025, 1024), (2049, 512), (700, 768), (1500, 1000), (263, 1100), (1023, 1280)],
)
def test_products_and_maxima_of_columns(rows: int, columns: int) -> None:
    text = PRODUCT.format(rows=rows, columns=columns)
    random = np.random.default_rng(rows)
    x, c = (random.standard_normal(n).astype(np.float32) for n in (rows, columns))
    w = random.standard_normal((rows, columns)).astype(np.float32)
    found = [graphc.compile_source(text, threads=threads)(x=x, w=w, c=c) for threads in (1, 2, 3)]
    expected = np.maximum(x.astype(np.float64) @ w + c, 0)
    np.testing.assert_allclose(found[0]["y"], expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(found[0]["s"], w.max(axis=0))
    for other in found[1:]:
        assert other["y"].tobytes() == found[0]["y"].tobytes()


@pytest.mark.parametrize(
    ("rows", "columns", "loops"),
    [
        (2048, 1024, ("for b in 2:", "for j in 512 by vector:")),  # even blocks
        (2048, 1000, ("for b in 1:", "for j in 1000 by vector:")),  # none divides it into whole vectors
        (2048, 48, ("for j in 48 by vector:",)),  # rows that are near each other
        (100, 1024, ("for j in 1024 by vector:",)),  # the cache keeps it
    ],
)
def test_which_sums_go_along_rows(tmp_path, rows: int, columns: int, loops: tuple[str, ...]) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "net.gc"
    file.write_text(PRODUCT.format(rows=rows, columns=columns))
    text = stage_text(file, "kernels", entry="forward")
    assert all(loop in text for loop in loops)
    assert ("for b in" in text) == ("for b in" in loops[0])
    assert ("sums0" in text) == ("for b in" in loops[0])
