"""Compiled loop nests against the reference, where lanes, groups and index checks meet."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc.ops  # noqa: F401
from graphc.graph_function import compile_graph
from graphc.ir.dims import symbol
from graphc.ir.graph import Graph
from graphc.ir.interpret import interpret
from graphc.ir.node import Node, leaf, make
from graphc.ir.types import F32, F64, I8, I32, I64, U8, DType, TensorType
from graphc.runtime.errors import IndexRangeError

LEVELS = ("O0", "O1", "O2")


def given(name: str, dtype: DType, *shape: Any) -> Node:
    return leaf("input", name, TensorType(dtype, shape))


def floats(*shape: int) -> Any:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def assert_compiled(outputs: dict[str, Node], values: dict[str, Any], levels: tuple[str, ...] = LEVELS) -> None:
    """Every level gives what the reference gives."""
    leaves = tuple(x for x in Graph("g", (), outputs).nodes() if x.is_leaf)
    graph = Graph("g", leaves, outputs)
    expected, _ = interpret(graph, values, {})
    for level in levels:
        found, _ = compile_graph(graph, level)(values, {})
        for name, array in expected.items():
            np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-6, err_msg=f"{name} at {level}")


@pytest.mark.parametrize("size", [1, 3, 16, 17, 65])
@pytest.mark.parametrize("dtype", [U8, I8], ids=str)
def test_small_integers_keep_their_sign_when_lanes_are_folded(dtype: DType, size: int) -> None:
    x = given("x", dtype, size)
    numbers = np.random.default_rng(size).integers(*dtype.range(), size, endpoint=True).astype(dtype.numpy)
    ops = ("reduce_max", "reduce_min", "reduce_sum", "reduce_prod")
    assert_compiled({op: make(op, x, axes=(0,)) for op in ops}, {"x": numbers})


@pytest.mark.parametrize("axis", [0, 1])
def test_rows_picked_from_a_result_of_folds(axis: int) -> None:
    """A gather of a softmax has the softmax's shape, but reads other rows than those of its own loop."""
    x, index = given("x", F32, 4, 4), given("i", I32, 4)
    s = make("softmax", x, axis=1)
    y = s + make("gather", s, index, axis=axis)
    assert_compiled({"y": y}, {"x": floats(4, 4), "i": np.array([2, 0, 3, 3], np.int32)})


def test_only_the_part_that_is_an_index_is_checked() -> None:
    """A column of indices beside a column of counts: the counts may be anything."""
    table, both = given("t", F32, 4, 3), given("ids", I32, 5, 2)
    column = make("reshape", make("slice", both, start=(0, 0), stop=(5, 1), step=(1, 1)), shape=(5,))
    y = make("gather", table, column, axis=0)
    ids = np.array([[0, 100], [1, 99], [2, -7], [3, 8], [0, -1]], np.int32)
    assert_compiled({"y": y}, {"t": floats(4, 3), "ids": ids})
    ids[3, 0] = 4
    for level in LEVELS:
        with pytest.raises(IndexRangeError, match="ids"):
            compile_graph(Graph("g", (both, table), {"y": y}), level)({"t": floats(4, 3), "ids": ids}, {})


@pytest.mark.parametrize("dtype", [F32, I64], ids=str)
def test_indices_are_checked_as_they_are_after_a_cast(dtype: DType) -> None:
    table, raw = given("t", F32, 4), given("i", dtype, 3)
    y = make("gather", table, make("cast", raw, dtype=I8), axis=0)
    wrapped = [2.5, 0.0, 3.9] if dtype == F32 else [256, 515, 2]
    assert_compiled({"y": y}, {"t": floats(4), "i": np.array(wrapped, dtype.numpy)})
    with pytest.raises(IndexRangeError):
        compile_graph(Graph("g", (raw, table), {"y": y}))({"t": floats(4), "i": np.array([0, 4, 1])}, {})


@pytest.mark.parametrize("rows", [1, 2])
def test_a_computed_index_into_nothing_touches_nothing(rows: int) -> None:
    """The rows behind the first are none if there is one row; native code cannot report it, but stays in bounds."""
    count = symbol("N")
    x, index, updates = given("x", F32, count, 3), given("i", I32, 4), given("u", F32, 4, 3)
    tail = make("slice", x, start=(1, 0), stop=(count, 3), step=(1, 1))
    far = index * 1000000
    picked, added = make("gather", tail, far, axis=0), make("scatter_add", far, updates, axis=0, size=count - 1)
    graph = Graph("g", (x, index, updates), {"picked": picked, "added": added})
    values = {"x": floats(rows, 3), "i": np.array([0, 5, 300, -500], np.int32), "u": np.ones((4, 3), np.float32)}
    for level in LEVELS:
        found, _ = compile_graph(graph, level)(values, {"N": rows})
        assert found["added"].tolist() == [[4.0] * 3] * (rows - 1)
        assert found["picked"].tolist() == ([values["x"][1].tolist()] * 4 if rows > 1 else [[0.0] * 3] * 4)


def test_a_long_chain_of_index_mappings_is_one_load() -> None:
    x = given("x", F32, 400, 3)
    y = x
    for rows in range(399, 1, -1):
        y = make("reverse", make("slice", y, start=(1, 0), stop=(rows + 1, 3), step=(1, 1)), axes=(0,))
    assert_compiled({"y": make("sin", y)}, {"x": floats(400, 3)}, levels=("O2",))


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_a_contraction_over_nothing_stores_zeros(dtype: DType) -> None:
    """The epilogue makes them 0.5, so that memory that happens to be zero does not pass."""
    count = symbol("N", 0)
    a, b = given("a", dtype, 2, count, 3), given("b", dtype, count, 3, 17)
    y = make("sigmoid", make("contract", a, b, spec="abc,bef->aefc"))
    values = {"a": np.ones((2, 0, 3), dtype.numpy), "b": np.ones((0, 3, 17), dtype.numpy)}
    found, _ = compile_graph(Graph("g", (a, b), {"y": y}))(values, {"N": 0})
    assert np.all(found["y"] == 0.5)


@pytest.mark.parametrize(("m", "k", "n"), [(0, 3, 4), (3, 0, 4), (3, 4, 0)])
def test_contractions_of_empty_operands(m: int, k: int, n: int) -> None:
    y = make("sigmoid", make("contract", given("a", F32, m, k), given("b", F32, k, n), spec="ik,kj->ij"))
    assert_compiled({"y": y}, {"a": floats(m, k), "b": floats(k, n)})
