"""Functions of functions in two passes: which loops have them, and that nothing else changes."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pytest

import graphc
from graphc.codegen import two_passes
from graphc.codegen.kernel import Contract, For, Stmt, statements
from graphc.codegen.two_passes import Passes, in_two

CELL = """
dim B, H, X = 4*H
model m(x: f32[B, X], c: f32[B, H]) -> (c1: f32[B, H], h1: f32[B, H]):
    i, f, g, o = split(x, axis=-1, parts=4)
    c1 = sigmoid(f) * c + sigmoid(i) * tanh(g)
    h1 = sigmoid(o) * tanh(c1)
"""
RECURRENT = """
use std.nn: lstm_cell, gru_cell
dim B, T, E = 6, H
model m(x: f32[B, T, E]) -> (y: f32[B, T, H], z: f32[B, H]):
    param one = lstm_cell[H=H], two = gru_cell[H=H]
    scan t in T:
        carry h: f32[B, H] = zeros(), c: f32[B, H] = zeros(), g: f32[B, H] = zeros()
        h, c = one(x[:, t], h, c)
        g = two(h, g)
        emit y: f32[B, T, H] = h
    z = g
train m:
    input p: f32[B, H]
    loss = mse(z, p) + mean(y)
    optimizer = sgd(lr = 0.5)
"""
PLAIN = """
dim B, H
model m(x: f32[B, H]) -> (y: f32[B, H], z: f32[B, H]):
    y = gelu(x)
    z = exp(x) * tanh(x)
"""


def passes(text: str, entry: str, **dims: int) -> list[Passes]:
    """Of all vector loops and tiles of a model's entry."""
    model = graphc.compile_source(text, dims=dims, threads=1)
    code = model.inspection.compilation.entries[entry]  # type: ignore[attr-defined]

    def every() -> Iterator[Stmt]:
        for task in code.schedule.tasks:
            for one in (task, *(task.loop.step.tasks if task.loop is not None else ())):
                yield from statements(one.kernel.body)

    loops = [in_two(s.body, s.var) for s in every() if isinstance(s, For) and s.vector and not s.folds]
    tiles = [in_two(s.epilogue, s.column, (s.temp, *s.others)) for s in every() if isinstance(s, Contract)]
    return [one for one in (*loops, *tiles) if one is not None]


def test_the_new_state_is_made_before_its_tanh() -> None:
    (one,) = passes(CELL, "forward")
    assert (len(one.early), len(one.kept), len(one.late)) == (1, 2, 1)
    assert one.early[0].value in one.kept


def test_tiles_of_gates_have_two_passes_too() -> None:
    found = passes(RECURRENT, "forward", B=8, T=3, H=32)
    assert found and all(0 < len(one.kept) <= two_passes.MOST_KEPT for one in found)


def test_functions_beside_each_other_have_one() -> None:
    assert passes(PLAIN, "forward") == []


@pytest.mark.parametrize("dims", [{"B": 3, "H": 7}, {"B": 5, "H": 160}, {"B": 2, "H": 300}, {}], ids=str)
def test_bits_of_the_cell_are_the_same(dims: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    rows, units = dims.get("B", 3), dims.get("H", 150)
    x, c = (rng.standard_normal((rows, n)).astype(np.float32) * 3 for n in (4 * units, units))
    results = []
    for long in (two_passes.LONG, 10_000):
        monkeypatch.setattr(two_passes, "LONG", long)
        model = graphc.compile_source(CELL, dims={**dims, "H": units}, threads=1)
        found = model({"x": x, "c": c})
        results.append({name: np.array(value) for name, value in found.items()})
    i, f, g, o = np.split(x.astype(np.float64), 4, axis=-1)
    state = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
    assert np.allclose(results[0]["c1"], state, atol=1e-5)
    assert np.allclose(results[0]["h1"], np.tanh(state) / (1 + np.exp(-o)), atol=1e-5)
    assert all(np.array_equal(results[0][name], results[1][name]) for name in results[0])


@pytest.mark.parametrize("dims", [{"B": 8, "T": 3, "H": 32}, {"B": 5, "T": 2, "H": 20}], ids=str)
def test_bits_of_recurrent_cells_are_the_same(dims: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Carried values are overwritten in place: what the second pass needs of them is kept by the first."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((dims["B"], dims["T"], 6)).astype(np.float32)
    p = rng.standard_normal((dims["B"], dims["H"])).astype(np.float32)
    results = []
    for long in (two_passes.LONG, 10_000):
        monkeypatch.setattr(two_passes, "LONG", long)
        model = graphc.compile_source(RECURRENT, dims=dims, threads=1)
        model.init(seed=0)
        losses = [float(model.step({"x": x, "p": p})["loss"]) for _ in range(3)]
        outputs = model({"x": x})
        results.append([np.array(losses), *(np.array(outputs[name]) for name in ("y", "z"))])
    assert all(np.array_equal(a, b) for a, b in zip(*results, strict=True))


def test_what_is_kept_lies_on_the_stack_once() -> None:
    model = graphc.compile_source(CELL, dims={"H": 160}, threads=1)
    text = model.inspection.text("llvm", "forward")  # type: ignore[attr-defined]
    bodies = [body for body in text.split("define ") if "%local" in body]
    assert bodies
    for body in bodies:
        entry = body.split("entry:\n")[1]
        allocations = [n for n, line in enumerate(entry.splitlines()) if re.search(r"%local\d+ = alloca", line)]
        assert allocations == [*range(len(allocations))]
