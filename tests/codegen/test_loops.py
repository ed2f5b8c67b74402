"""Compiled loop nests against the reference, where lanes, groups and index checks meet."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc.ops  # noqa: F401
from graphc.graph_function import compile_graph
from graphc.ir.graph import Graph
from graphc.ir.interpret import interpret
from graphc.ir.node import Node, leaf, make
from graphc.ir.types import F32, I8, I32, U8, DType, TensorType

LEVELS = ("O0", "O1", "O2")


def given(name: str, dtype: DType, *shape: Any) -> Node:
    return leaf("input", name, TensorType(dtype, shape))


def floats(*shape: int) -> Any:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def assert_compiled(outputs: dict[str, Node], values: dict[str, Any], **sizes: int) -> None:
    """Every level gives what the reference gives."""
    graph = Graph("g", tuple(x for x in _leaves(outputs) if x.attr("name") in values), outputs)
    expected, _ = interpret(graph, values, sizes)
    for level in LEVELS:
        found, _ = compile_graph(graph, level)(values, sizes)
        for name, array in expected.items():
            np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-6, err_msg=f"{name} at {level}")


def _leaves(outputs: dict[str, Node]) -> list[Node]:
    return [x for x in Graph("g", (), outputs).nodes() if x.is_leaf]


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
