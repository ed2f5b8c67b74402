"""The reference interpreter: binding, run-time sizes in attributes, inner graphs, faults."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.ir.dims import symbol
from graphc.ir.graph import Graph
from graphc.ir.interpret import interpret, resolve, specialise
from graphc.ir.node import constant, leaf, make
from graphc.ir.types import F32, F64, I32, TensorType
from graphc.ops.build import reduce

B, T = symbol("B"), symbol("T")
X = leaf("input", "x", TensorType(F32, (B, T)))
ONES = np.ones((2, 3), np.float32)


def test_outputs_and_updates_have_the_types_of_their_nodes() -> None:
    w = leaf("param", "w", TensorType(F32, (T,)))
    graph = Graph("g", (X, w), {"y": X * X}, {w: w + reduce("sum", X, 0)})
    outputs, updates = interpret(graph, {"x": 2 * ONES, "w": np.zeros(3, np.float32)}, {"B": 2, "T": 3})
    assert outputs["y"].dtype == np.float32 and outputs["y"].tolist() == [[4.0] * 3] * 2
    assert {k: v.tolist() for k, v in updates.items()} == {"w": [4.0] * 3}


def test_results_own_their_memory() -> None:
    x = ONES.copy()
    outputs, _ = interpret(
        Graph("g", (X,), {"y": X, "z": make("transpose", X, perm=(1, 0))}), {"x": x}, {"B": 2, "T": 3}
    )
    outputs["y"][:] = 7
    outputs["z"][:] = 8
    assert np.array_equal(x, ONES)


def test_run_time_sizes_in_attributes_also_inside_of_tuples() -> None:
    assert resolve(((0, B), B * T + 1, "x", 2.5), {"B": 2, "T": 3}) == ((0, 2), 7, "x", 2.5)
    y = make("slice", X, start=(B - 1, 0), stop=(B, T), step=(1, 2))
    found, _ = interpret(
        Graph("g", (X,), {"y": y}), {"x": np.arange(6, dtype=np.float32).reshape(2, 3)}, {"B": 2, "T": 3}
    )
    assert found["y"].tolist() == [[3.0, 5.0]]


def test_the_body_of_a_group_sees_the_sizes() -> None:
    a = leaf("input", "a0", X.type)
    inner = make("fused", a, body=Graph("inner", (a,), {"r0": a + constant(1, X.type)}))
    counted = make("broadcast", make("cast", make("dim", dim=B * T), dtype=F32), shape=(B, T), axes=())
    body = Graph("body", (a,), {"r0": inner * counted, "r1": reduce("sum", a, 0, 1)})
    group = make("fused", X, body=body)
    graph = Graph("g", (X,), {f"y{i}": make("item", group, index=i) for i in range(2)})
    found, _ = interpret(graph, {"x": ONES}, {"B": 2, "T": 3})
    assert found["y0"].tolist() == [[12.0] * 3] * 2 and found["y1"].tolist() == 6.0


def test_specialise_makes_every_dimension_an_int() -> None:
    w = leaf("param", "w", TensorType(F32, (T,)))
    graph = specialise(Graph("g", (X, w), {"y": reduce("sum", X, 0)}, {w: w * w}), {"B": 2, "T": 3})
    assert [str(x.type) for x in graph.leaves] == ["f32[2, 3]", "f32[3]"]
    assert str(graph.outputs["y"].type) == "f32[3]" and [x.attr("name") for x in graph.updates] == ["w"]
    assert specialise(graph, {}) is graph


def test_faults_name_the_leaf() -> None:
    graph = Graph("g", (X,), {"y": X})
    with pytest.raises(KeyError, match="x"):
        interpret(graph, {}, {"B": 2, "T": 3})
    with pytest.raises(KeyError, match="T"):
        interpret(graph, {"x": ONES}, {"B": 2})
    with pytest.raises(ValueError, match=r"x is f32\[2, 4\], got float32\[2, 3\]"):
        interpret(graph, {"x": ONES}, {"B": 2, "T": 4})
    with pytest.raises(ValueError, match="got float64"):
        interpret(graph, {"x": ONES.astype(float)}, {"B": 2, "T": 3})


def test_a_window_that_does_not_fit_the_sizes_is_an_error() -> None:
    y = make("slice", X, start=(0, 0), stop=(5, T), step=(1, 1))
    with pytest.raises(IndexError, match="0:5"):
        interpret(Graph("g", (X,), {"y": y}), {"x": ONES}, {"B": 2, "T": 3})


def test_warnings_of_special_values_are_silent_and_deep_graphs_fine() -> None:
    x = y = leaf("input", "x", TensorType(F64))
    for _ in range(5000):
        y = y * 2.0
    found, _ = interpret(Graph("g", (x,), {"y": y, "z": make("log", x - x)}), {"x": np.array(1.0)}, {})
    assert found["y"] == np.inf and found["z"] == -np.inf


def test_a_scalar_of_integers_wraps_silently() -> None:
    n = leaf("input", "n", TensorType(I32))
    found, _ = interpret(Graph("g", (n,), {"y": n + n}), {"n": np.array(2**31 - 1, np.int32)}, {})
    assert found["y"] == -2 and found["y"].dtype == np.int32
