"""Turns that are shared out by rows: no meetings, blocks of memory that no other row touches, the same bits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

import graphc
from graphc.codegen.entry import EntryCode
from graphc.codegen.kernel import Affine, Contract, Load, Store, Var, affine, closure, scalars_of, statements
from graphc.codegen.parallel import Phase, Rows
from graphc.codegen.spmd import Step

MODEL = """
use std.nn: lstm_cell
dim B, T, E = 128, H = 128
model seq(x: f32[T, B, E]) -> (z: f32[T, B, H]):
    param unit = lstm_cell[H=H]
    scan t in T:
        carry h: f32[B, H] = zeros(), c: f32[B, H] = zeros()
        h, c = unit(x[t], h, c)
        emit z: f32[T, B, H] = h
train seq:
    input y: f32[T, B, H]
    loss = mse(z, y)
    optimizer = sgd(lr = 0.5)
"""


def entry(text: str, name: str, **dims: int) -> EntryCode:
    model = graphc.compile_source(text, dims=dims, threads=2)
    return model.inspection.compilation.entries[name]  # type: ignore[attr-defined, no-any-return]


def turns(code: EntryCode) -> Iterator[tuple[Step, ...]]:
    return (step.turns.turn for step in code.program.steps if step.turns is not None)


@pytest.mark.parametrize("name", ["forward", "step"])
def test_threads_do_not_meet_in_a_turn_of_rows(name: str) -> None:
    found = [*turns(entry(MODEL, name, B=32, T=6))]
    assert len(found) == (1 if name == "forward" else 2)
    for turn in found:
        splits = [step.phase.split for step in turn]
        (rows,) = {split.rows for split in splits if split is not None}
        assert all(splits) and rows is not None and rows.tiles % 4 == 0
        assert not any(step.meet for step in turn)


@pytest.mark.parametrize("dims", [{"B": 5}, {}], ids=str)
def test_few_rows_or_an_unknown_number_are_shared_as_before(dims: dict[str, int]) -> None:
    for turn in turns(entry(MODEL, "step", T=6, **dims)):
        assert all(step.phase.split is None or step.phase.split.rows is None for step in turn)


def test_a_step_that_mixes_rows_is_shared_as_before() -> None:
    text = MODEL.replace("h, c = unit(x[t], h, c)", "h, c = unit(x[t] + mean(h, axis=0), h, c)")
    (turn,) = turns(entry(text, "forward", B=32, T=6))
    assert any(step.meet for step in turn)


def test_rows_have_blocks_of_their_own() -> None:
    """Every element that a row's part of a phase can reach in an owned buffer lies in the row's block."""
    count = 0
    for name in ("forward", "step"):
        for turn in turns(entry(MODEL, name, B=32, T=6)):
            for step in turn:
                count += len(step.phase.owned)
                _check(step.phase)
    assert count > 20


def _check(phase: Phase) -> None:
    split = phase.split
    assert split is not None and isinstance(split.rows, Rows)
    product = next((s for s in statements(phase.kernel.body) if isinstance(s, Contract)), None)
    var = split.loop.var if split.loop is not None else product.row if product is not None else None
    assert var is not None and isinstance(var.extent, int)
    turns_of_a_row = var.extent // split.rows.count
    places = [(s.buffer, s.at) for s in closure(tuple(scalars_of(phase.kernel.body))) if isinstance(s, Load)]
    places += [(s.buffer, s.at) for s in statements(phase.kernel.body) if isinstance(s, Store)]
    if product is not None:
        (k,) = product.k
        axis = Var("k", k.extent)
        places.append(
            (product.a, product.a_at + affine(product.row) * product.a_row_stride + affine(axis) * k.a_stride)
        )
        assert product.b not in phase.owned
    for buffer, at in places:
        if buffer in phase.owned:
            block = phase.owned[buffer]
            assert isinstance(block, int) and block % buffer.dtype.size == 0
            rows, elements = _reached(at, var)
            assert np.array_equal(elements // (block // buffer.dtype.size), rows // turns_of_a_row)


def _reached(at: Affine, var: Var) -> tuple[np.ndarray, np.ndarray]:
    """The index of `var` and the element, for all values of the variables."""
    variables = [var, *(term for term, _ in at.terms if isinstance(term, Var) and term is not var)]
    extents: Sequence[int] = [v.extent for v in variables if isinstance(v.extent, int)]
    assert len(extents) == len(variables) and isinstance(at.constant, int)
    grid = np.indices(extents).reshape(len(extents), -1)
    steps = np.array([at.coefficient(v) for v in variables])
    return grid[0], at.constant + steps @ grid


def test_the_same_bits_by_any_number_of_threads() -> None:
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((6, 33, 128)).astype(np.float32) for _ in "xy")
    found = []
    for threads in (1, 2, 3, 7):
        model = graphc.compile_source(MODEL, dims={"B": 33, "T": 6}, threads=threads)
        model.init(seed=0)
        losses = [float(model.step({"x": x, "y": y})["loss"]) for _ in range(8)]
        found.append((losses, [np.array(value) for value in model.params.values()], model({"x": x})["z"].copy()))
        assert threads == 1 or model.team.runs("step").shared > 0
    for losses, params, z in found[1:]:
        assert losses == found[0][0]
        assert all(np.array_equal(a, b) for a, b in zip(params, found[0][1], strict=True))
        assert np.array_equal(z, found[0][2])
    assert len(set(found[0][0])) > 1
