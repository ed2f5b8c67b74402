"""Copies that turn a tensor: squares of vectors in registers, and what is in no whole square."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import graphc
from graphc.codegen.kernel import Buffer, For, Load, Store, Var, affine
from graphc.codegen.turned_copy import turned_copy
from graphc.driver import stage_text
from graphc.ir.types import F32

TURNED = "model net(x: {kind}[{many}, {rows}, {columns}]) -> (y: {kind}[{many}, {columns}, {rows}]):\n"
TURNED += "    y = einsum(x[c, a, b] -> [c, b, a])\n"


@pytest.mark.parametrize("target", ["native", "x86-64-v3", "generic"])
@pytest.mark.parametrize("kind", ["f32", "f64"])
@pytest.mark.parametrize(
    ("rows", "columns"), [(64, 48), (16, 16), (37, 50), (15, 40), (40, 15), (33, 16), (512, 33), (1, 20), (7, 3)]
)
def test_a_turned_tensor_has_every_element(rows: int, columns: int, kind: str, target: str) -> None:
    text = TURNED.format(kind=kind, many=3, rows=rows, columns=columns)
    x = np.arange(3 * rows * columns).reshape(3, rows, columns).astype({"f32": "f4", "f64": "f8"}[kind])
    found = graphc.compile_source(text, target=target)(x=x)["y"]
    np.testing.assert_array_equal(found, x.transpose(0, 2, 1))


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_turn_the_same(threads: int) -> None:
    text = TURNED.format(kind="f32", many=1, rows=1000, columns=700)
    x = np.arange(700_000).reshape(1, 1000, 700).astype(np.float32)
    np.testing.assert_array_equal(graphc.compile_source(text, threads=threads)(x=x)["y"], x.transpose(0, 2, 1))


def test_vectors_are_not_gathered(tmp_path: Path) -> None:
    file = tmp_path / "turned.gc"
    file.write_text(TURNED.format(kind="f32", many=3, rows=64, columns=48))
    text = stage_text(file, "llvm", target="x86-64-v4")
    assert "gather" not in text
    assert len(re.findall(r"load <16 x float>", text)) == 16
    file.write_text(TURNED.format(kind="f32", many=3, rows=64, columns=50))
    assert "gather" in stage_text(file, "llvm", target="x86-64-v4")  # of the last two columns


def test_what_is_no_turned_copy() -> None:
    x, y = Buffer("x", F32, (64, 64)), Buffer("y", F32, (64, 64), "out")
    i, j = Var("i", 64), Var("j", 64)

    def loops(load: Load, to: int, add: bool = False) -> For:
        return For(i, (For(j, (Store(y, affine(i) * to + affine(j), load, add),), vector=True),))

    def element(row: int, column: int) -> Load:
        return Load(F32, x, affine(i) * row + affine(j) * column)

    assert turned_copy(loops(element(1, 64), 64), 16) is not None
    assert turned_copy(loops(element(64, 1), 64), 16) is None  # not turned
    assert turned_copy(loops(element(2, 64), 64), 16) is None  # every other element
    assert turned_copy(loops(element(1, 0), 64), 16) is None  # spread
    assert turned_copy(loops(element(1, 64), 64, add=True), 16) is None
    assert turned_copy(loops(element(1, 64), 64), 128) is None  # no whole square
