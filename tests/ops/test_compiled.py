"""Generated code against the reference: every op at every size, special values, both floats, all passes and none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from operands import SIZES, arrays, as_f32, leaf_values, sample_graph, samples

from graphc.graph_function import compile_graph
from graphc.ir.graph import Graph
from graphc.ir.interpret import interpret
from graphc.ir.node import OPS, leaf, make
from graphc.ir.types import BOOL, F32, F64, I8, I32, I64, U8, DType, TensorType
from graphc.ops.elementwise import Binary, Unary

EPSILONS = 32


def assert_near(found: Any, expected: Any, where: str, of_largest: float = 0.05) -> None:
    """Equal for integers and bools; for floats near, with NaN and infinities in the same places.

    Near is EPSILONS units in the last place of the element, or of `of_largest` times the largest element.
    """
    assert found.dtype == expected.dtype and found.shape == expected.shape, where
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(found, expected, where)
        return
    special = ~np.isfinite(expected)
    np.testing.assert_array_equal(found[special], expected[special], where)
    np.testing.assert_array_equal(np.isfinite(found), ~special, where)
    exact, got = expected[~special].astype(float), found[~special].astype(float)
    if exact.size:
        tolerance = EPSILONS * np.finfo(expected.dtype).eps
        least = np.finfo(expected.dtype).tiny
        scale = np.maximum(np.abs(exact), of_largest * np.abs(exact).max())
        np.testing.assert_array_less(np.abs(got - exact), tolerance * scale + least, where)


def variants() -> list[tuple[str, str, DType]]:
    """Every op in both floats with all passes; those of more than one primitive also without, in f64."""
    whole = [name for name, op in sorted(OPS.items()) if not isinstance(op, Unary | Binary)]
    return [(name, "O2", t) for name in sorted(OPS) for t in (F64, F32)] + [(name, "O0", F64) for name in whole]


@pytest.mark.parametrize(("name", "level", "dtype"), variants(), ids=str)
def test_compiled_means_what_evaluate_means(name: str, level: str, dtype: DType) -> None:
    """All samples at all sizes are outputs of one graph."""
    leaves, outputs, values = [], {}, {}
    for size in SIZES:
        for case, sample in enumerate(samples(name, size)):
            sample = as_f32(sample) if dtype == F32 else sample
            graph = sample_graph(name, sample, f"size{size}.case{case}.")
            operands = leaf_values(graph, arrays(sample, 1000 * size + case))
            leaves += [x for x in graph.leaves if x not in leaves]
            values |= operands
            outputs |= graph.outputs
    graph = Graph(name, tuple(leaves), outputs)
    found, _ = compile_graph(graph, level)(values, {})
    expected, _ = interpret(graph, values, {})
    for key in outputs:
        assert_near(found[key], expected[key], key)


SPECIAL = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    2.5,
    -3.5,
    np.inf,
    -np.inf,
    np.nan,
    1e-40,
    -1e-310,
    1e30,
    -1e30,
    89.0,
    -104.0,
    710.0,
]
INTEGERS = [0, 1, -1, 2, -2, 7, -7, 63, 127, -128, 255, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63)]


def specials(dtype: DType) -> Any:
    if dtype == BOOL:
        return np.array([False, True])
    if dtype.is_float:
        with np.errstate(over="ignore", under="ignore"):
            return np.array(SPECIAL).astype(dtype.numpy)
    low, high = dtype.range()
    return np.array([n for n in INTEGERS if low <= n <= high], dtype.numpy)


def elementwise() -> list[tuple[str, DType]]:
    dtypes = (F64, F32, I64, I32, I8, U8, BOOL)
    ops = [(name, op) for name, op in sorted(OPS.items()) if isinstance(op, Unary | Binary)]
    return [(name, t) for name, op in ops for t in dtypes if t.kind in op.accepts]


@pytest.mark.parametrize(("name", "dtype"), elementwise(), ids=str)
def test_special_values_and_every_pair_of_them(name: str, dtype: DType) -> None:
    one = specials(dtype)
    grid = [one] if isinstance(OPS[name], Unary) else [a.ravel().copy() for a in np.meshgrid(one, one)]
    leaves = tuple(leaf("input", f"x{i}", TensorType(dtype, a.shape)) for i, a in enumerate(grid))
    graph = Graph(name, leaves, {"y": make(name, *leaves)})
    values = {f"x{i}": a for i, a in enumerate(grid)}
    found, expected = compile_graph(graph, "O0")(values, {})[0]["y"], interpret(graph, values, {})[0]["y"]
    assert_near(found, expected, f"{name} of {values}", of_largest=0)


@pytest.mark.parametrize("source", [F64, F32, I64, I32, I8, U8, BOOL], ids=str)
def test_casts_of_special_values(source: DType) -> None:
    x = leaf("input", "x", TensorType(source, (len(specials(source)),)))
    targets = (F64, F32, I64, I32, I8, U8, BOOL)
    graph = Graph("casts", (x,), {str(t): make("cast", x, dtype=t) for t in targets})
    values = {"x": specials(source)}
    found, expected = compile_graph(graph, "O0")(values, {})[0], interpret(graph, values, {})[0]
    for target in targets:
        np.testing.assert_array_equal(found[str(target)], expected[str(target)], f"{source} to {target}")
