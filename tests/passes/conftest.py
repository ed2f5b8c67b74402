"""Special values for the rules' tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc.ops  # noqa: F401  fills the registry
from graphc.ir.dims import evaluate
from graphc.ir.graph import Graph
from graphc.ir.interpret import interpret
from graphc.ir.node import Node
from graphc.ir.rewrite import rewrite
from graphc.ir.types import BOOL
from graphc.passes.simplify import SIMPLIFY_RULES

SPECIAL = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 2.5, -3.7, 1e-40, -3.4e38)
INTEGERS = (0, 1, -1, 2, 3, 127, -128, 5, -7, 100, 64)
SIZES = {"B": 5, "T": 3}

Check = Callable[[Node, Node], None]


def special_values(leaf: Node, position: int) -> Any:
    """An array in which, over all leaves of a test, every pair of special values meets."""
    shape = tuple(evaluate(d, SIZES) for d in leaf.shape)
    picks = (np.arange(int(np.prod(shape))) // len(SPECIAL) ** position) % len(SPECIAL)
    if leaf.dtype == BOOL:
        return (picks % 2 == 0).reshape(shape)
    with np.errstate(all="ignore"):
        values = np.array(SPECIAL if leaf.dtype.is_float else INTEGERS).astype(leaf.dtype.numpy)
    return values[picks].reshape(shape)


def assert_same_bits(before: Node, after: Node, leaves: tuple[Node, ...]) -> None:
    """Both nodes have the same value, NaN equal to NaN and 0.0 unlike -0.0, on special values."""
    assert before.type == after.type
    values = {x.attr("name"): special_values(x, i) for i, x in enumerate(leaves)}
    a, b = (interpret(Graph("g", leaves, {"y": y}), values, SIZES)[0]["y"] for y in (before, after))
    assert a.dtype == b.dtype
    assert a.shape == b.shape
    np.testing.assert_array_equal(a, b)
    if a.dtype.kind == "f":
        number = ~np.isnan(a)
        np.testing.assert_array_equal(np.signbit(a[number]), np.signbit(b[number]))


@pytest.fixture
def same_bits() -> Callable[[Node, Node, tuple[Node, ...]], None]:
    return assert_same_bits


@pytest.fixture
def simplified() -> Callable[[Node], Node]:
    """What the exact rules make of a node."""

    def simplify(node: Node) -> Node:
        leaves = tuple(x for x in Graph("g", (), {"y": node}).nodes() if x.is_leaf)
        return rewrite(Graph("g", leaves, {"y": node}), SIMPLIFY_RULES).outputs["y"]

    return simplify
