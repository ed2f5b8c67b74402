"""The rules of `simplify` that round otherwise than written: only with fast_math, which no level asks for."""

from __future__ import annotations

import pytest

import graphc.ops  # noqa: F401  fills the registry
from graphc.ir.graph import Graph
from graphc.ir.node import Node, constant, leaf, make
from graphc.ir.rewrite import rewrite
from graphc.ir.types import F64, TensorType
from graphc.passes.simplify import SIMPLIFY_RULES

X = leaf("input", "x", TensorType(F64, (121,)))
ROWS = make("broadcast", X, shape=(3, 121), axes=(1,))

CASES: list[tuple[Node, Node]] = [
    (X + 0.0, X),
    (X * 0.0, constant(0.0, X.type)),
    (X - X, constant(0.0, X.type)),
    (X * 3.0 * 0.5, X * 1.5),
    (X / 5.0, X * 0.2),
    (make("pow", X, constant(0.5, X.type)), make("sqrt", X)),
    (make("reduce_sum", ROWS, axes=(0,)), X * 3.0),
]


@pytest.mark.parametrize(("before", "after"), CASES)
def test_fast_math(before: Node, after: Node) -> None:
    graph = Graph("g", (X,), {"y": before})
    assert rewrite(graph, SIMPLIFY_RULES, fast_math=True).outputs["y"] is after
    assert rewrite(graph, SIMPLIFY_RULES).outputs["y"] is before
