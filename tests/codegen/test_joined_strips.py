"""A concatenation of results of a strip's contractions, such as the gradient by q, k and v of one product."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import graphc
from graphc.driver import stage_text
from graphc.ir.dims import symbol
from graphc.ir.node import leaf, make
from graphc.ir.types import F32, TensorType
from graphc.ops.movement import Placed, placed_parts

MODEL = """
dim B, T{T}, D = 12, A = 2, K = 6
model attend(x: f32[B, T, D]) -> (y: f32[B, T, A, K]):
    param w: f32[D, 3 * D] = normal(0.3)
    whole = x @ w
    {parts}
    score = einsum(q[b, t, a, k] * k[b, s, a, k] -> [b, a, t, s])
    p = softmax(score, axis=-1)
    y = einsum(p[b, a, t, s] * v[b, s, a, k] -> [b, t, a, k])
train attend:
    loss = mean(y * y * y)
    optimizer = sgd(lr = 0.1)
"""
SPLITS = {
    "axis": "parts = reshape(whole, [B, T, 3, A, K])\n    q, k, v = parts[:, :, 0], parts[:, :, 1], parts[:, :, 2]",
    "columns": "q, k, v = reshape(whole[:, :, :D], [B, T, A, K]), reshape(whole[:, :, D:2 * D], [B, T, A, K]), "
    "reshape(whole[:, :, 2 * D:], [B, T, A, K])",
    "scaled": "parts = reshape(whole, [B, T, 3, A, K])\n"
    "    q, k, v = parts[:, :, 0] * 0.5, parts[:, :, 2], sin(parts[:, :, 1])",
    "inner": "parts = reshape(whole, [B, T, A, K, 3])\n"
    "    q, k, v = parts[:, :, :, :, 0], parts[:, :, :, :, 1], parts[:, :, :, :, 2]",
}


def source(split: str, length: int | None) -> str:
    return MODEL.format(T=f" = {length}" if length else "", parts=SPLITS[split])


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(("length", "known"), [(7, True), (150, True), (40, False)])
def test_steps_are_those_of_separate_kernels(split: str, length: int, known: bool) -> None:
    x = np.random.default_rng(length).standard_normal((2, length, 12)).astype(np.float32)
    text = source(split, length if known else None)
    joined, apart = graphc.compile_source(text), graphc.compile_source(text, optimize=1)
    joined.init(seed=3)
    apart.init(seed=3)
    for _ in range(3):
        np.testing.assert_allclose(joined.step(x=x)["loss"], apart.step(x=x)["loss"], rtol=1e-5)
    np.testing.assert_allclose(joined.params["w"], apart.params["w"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("split", "is_joined"), [("axis", True), ("columns", True), ("inner", False)])
def test_the_products_store_the_parts(tmp_path: Path, split: str, is_joined: bool) -> None:
    """Parts whose elements lie apart in the whole are put together by a kernel of their own."""
    file = tmp_path / "attention.gc"
    file.write_text(source(split, 40))
    kernels = re.split(r"^# ", stage_text(file, "kernels", entry="step"), flags=re.MULTILINE)
    assert any(text.startswith("concat\n") for text in kernels) != is_joined
    (backward,) = (text for text in kernels if text.count("  contract ") == 4)
    places = re.findall(r"^ +(y\d+)\[.*?( \+ \d+)?\] = acc", backward, re.MULTILINE)
    assert (places == [("y0", ""), ("y0", " + 12"), ("y0", " + 24")]) == is_joined


def test_any_number_of_threads_computes_the_same() -> None:
    x = np.random.default_rng(0).standard_normal((5, 90, 12)).astype(np.float32)
    models = [graphc.compile_source(source("axis", 90), threads=threads) for threads in (1, 2, 3)]
    for model in models:
        model.init(seed=1)
        model.step(x=x)
    expected, *others = [model.params["w"].tobytes() for model in models]
    assert others == [expected, expected]


def test_where_parts_lie() -> None:
    batch = symbol("B")
    x, y = (leaf("input", name, TensorType(F32, (batch, 4, 2, 3))) for name in "xy")
    flat, other = make("reshape", x, shape=(batch, 4, 6)), make("reshape", y, shape=(batch, 4, 6))
    assert placed_parts(make("concat", flat, other, axis=2)) == [
        Placed(x, (48, 12, 3, 1), 0),
        Placed(y, (48, 12, 3, 1), 6),
    ]
    assert placed_parts(make("concat", x, y, axis=0)) == [
        Placed(x, (24, 6, 3, 1), 0),
        Placed(y, (24, 6, 3, 1), 24 * batch),
    ]
    cut = make("reshape", x, shape=(batch, 12, 2))
    assert placed_parts(make("concat", cut, cut, axis=2)) is None
