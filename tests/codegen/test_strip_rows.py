"""Sweeps over rows of a strip: some rows at a time, and what they need of memory is asked for by the product before."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import graphc
from graphc.codegen import strip_rows
from graphc.driver import stage_text

SOURCE = """
dim B = {batch}, T = {length}, K = {deep}
model attend(q: {kind}[B, T, K], k: {kind}[B, T, K], v: {kind}[B, T, K]) -> (y: {kind}[B, T, K]):
    param scale: {kind} = 0.5
    scaled = q * scale
    scores = einsum(scaled[b, t, c] * k[b, s, c] -> [b, t, s])
    {mask}
    probs = softmax(scores, axis=-1)
    y = einsum(probs[b, t, s] * v[b, s, c] -> [b, t, c])
train attend:
    loss = sum(y * y)
    optimizer = sgd(lr = 0.001)
"""
ALL = "# every query sees every key"
CAUSAL = "scores = where(iota(T)[:, None] >= iota(T)[None, :], scores, {hidden})"


def source(length: int, mask: str = ALL, batch: int = 3, kind: str = "f32", deep: int = 8) -> str:
    return SOURCE.format(length=length, mask=mask, batch=batch, kind=kind, deep=deep)


def bits(text: str, length: int, kind: type) -> list[bytes]:
    """The output, and the parameter and loss after steps."""
    random = np.random.default_rng(length)
    given = {name: random.standard_normal((3, length, 8)).astype(kind) for name in "qkv"}
    given["k"][1, 3] = np.nan
    model = graphc.compile_source(text)
    y = model(**given)["y"].tobytes()
    given["k"][1, 3] = 0
    losses = [np.float64(model.step(**given)["loss"]).tobytes() for _ in range(2)]
    return [y, *losses, np.asarray(model.params["scale"]).tobytes()]


@pytest.mark.parametrize("mask", [ALL, CAUSAL.format(hidden="-inf"), CAUSAL.format(hidden="-1.0")])
@pytest.mark.parametrize(("length", "kind"), [(24, np.float32), (36, np.float64)])
def test_rows_in_groups_have_the_bits_of_rows_alone(
    monkeypatch: pytest.MonkeyPatch, mask: str, length: int, kind: type
) -> None:
    text, found = source(length, mask, kind="f32" if kind is np.float32 else "f64"), []
    for together in (1, strip_rows.TOGETHER):
        monkeypatch.setattr(strip_rows, "TOGETHER", together)
        found.append(bits(text, length, kind))
    assert found[1] == found[0]


@pytest.mark.parametrize(("length", "groups"), [(64, ["16"]), (30, ["10"]), (37, []), (1100, [])])
def test_groups_divide_a_strip_and_stay_in_the_cache(tmp_path: Path, length: int, groups: list[str]) -> None:
    """37 rows have no divisor; 2 of 1100 are too long together with what is kept of them."""
    file = tmp_path / "attention.gc"
    file.write_text(source(length, batch=5))
    text = stage_text(file, "kernels", entry="forward")
    assert re.findall(r"for g in (\d+)", text) == groups


def test_memory_of_the_sweeps_is_asked_for_by_the_product_before(tmp_path: Path) -> None:
    """The weights are 1 MB, as large as a cache: written by the forward pass, read by the backward pass."""
    file = tmp_path / "attention.gc"
    file.write_text(source(128, batch=16, deep=32))
    text = stage_text(file, "kernels", entry="step")
    asked = re.findall(r"^  +contract .* asks for (\w+)\[", text, re.MULTILINE)
    assert [name[0] for name in asked] == ["y", "x"]
    prefetched = re.findall(r"call void @llvm.prefetch.*, i32 ([01]), i32 3, i32 1", stage_text(file, "llvm"))
    assert "1" in prefetched
    file.write_text(source(128, batch=15, deep=32))
    assert "asks for" not in stage_text(file, "kernels", entry="step")


def test_operands_of_the_next_example_are_asked_for_by_the_product_behind(tmp_path: Path) -> None:
    """Each tensor of operands is 1 MB: 64 examples of 128 rows of 32."""
    file = tmp_path / "attention.gc"
    file.write_text(source(128, batch=64, deep=32))
    forward, backward = (
        re.findall(r"^  +contract .* in 32 over 128: .* asks for (.*)", text, re.MULTILINE)
        for text in (stage_text(file, "kernels", entry=entry) for entry in ("forward", "gradients"))
    )
    assert forward == ["x0[i0*4096 + b*32 + d + 4096], x1[i0*4096 + b*32 + d + 4096], x2[i0*4096 + b*32 + d + 4096]"]
    assert len(backward) == 2
    random = np.random.default_rng(0)
    q, k, v = (random.standard_normal((64, 128, 32)).astype(np.float32) for _ in range(3))
    scores = 0.5 * np.einsum("btc,bsc->bts", q.astype(np.float64), k)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    expected = np.einsum("bts,bsc->btc", weights / weights.sum(-1, keepdims=True), v)
    np.testing.assert_allclose(graphc.compile(file)(q=q, k=k, v=v)["y"], expected, rtol=2e-4, atol=2e-5)
