"""Random models with scans, compiled: values against the reference, derivatives against its difference quotients."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from scans import ScanWriter

import graphc
from graphc.diagnostics import render_all
from graphc.frontend.build import elaborate
from graphc.ir.interpret import interpret
from graphc.source import Source

Array = Any
COUNT = int(os.environ.get("GRAPHC_RANDOM_SCANS", "12"))
SIZES = ((2, 1, 1), (1, 5, 2), (3, 2, 4))
CLOCK = {"seed": np.int64(0), "step": np.int64(1)}


@pytest.mark.parametrize("seed", range(COUNT))
def test_scans_are_those_of_the_reference(seed: int) -> None:
    text = ScanWriter(seed).text()
    program, diagnostics = elaborate(Source("m.gc", text), load=lambda path: Source(path, ""))
    assert program is not None, render_all(diagnostics)
    model = graphc.compile_source(text)
    params = {name: np.array(model.params[name]) for name in model.params}
    for batch, steps, inner in SIZES:
        random, sizes = np.random.default_rng(seed), {"B": batch, "T": steps, "S": inner}
        x, y = random.normal(size=(batch, steps, 3)), random.normal(size=(steps, inner))
        values = {"x": x, "y": y, "n": random.integers(1, steps + 1, batch).astype(np.int32)}
        z = random.normal(size=x.shape)

        def loss(changed: dict[str, Array]) -> float:
            given = {**values, **params, **changed, "z": z, **CLOCK}  # noqa: B023  called in this round only
            return float(interpret(program.entries["evaluate"], given, sizes)[0]["loss"])  # noqa: B023

        found = model(values)
        for name, wanted in interpret(program.entries["forward"], {**values, **params, **CLOCK}, sizes)[0].items():
            np.testing.assert_allclose(found[name], wanted, rtol=1e-9, atol=1e-11, err_msg=text)
        _, gradients = model.gradients(**values, z=z)
        for name, value in params.items():
            way = random.normal(size=value.shape) * 1e-5
            quotient = (loss({name: value + way}) - loss({name: value - way})) / 2e-5
            slope = np.sum(gradients[name] * way) / 1e-5
            np.testing.assert_allclose(slope, quotient, rtol=2e-6, atol=1e-7, err_msg=f"{name}\n{text}")


def test_draws_in_scans_are_those_of_the_reference() -> None:
    """Two scans deep, to the last bit; uniform numbers, since their arithmetic is exact."""
    text = (
        "dim T, S, K = 5\nmodel m(x: f32[T, S]) -> (a: f32[T, K], b: f32[T, S, K]):\n"
        "    scan t in T:\n"
        "        scan s in reverse S:\n            emit row: f32[S, K] = uniform([K]) + x[t, s]\n"
        "        emit a: f32[T, K] = uniform([K]), b: f32[T, S, K] = row\n"
    )
    program = elaborate(Source("m.gc", text), load=lambda path: Source(path, ""))[0]
    assert program is not None
    x = np.zeros((7, 6), np.float32)
    wanted = interpret(program.entries["forward"], {"x": x, **CLOCK}, {"T": 7, "S": 6})[0]
    found = graphc.compile_source(text)(x=x)
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array)
    assert len(np.unique(found["b"])) > 200  # of 210 numbers of 24 bits
