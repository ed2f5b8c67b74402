"""Which nodes share a kernel: what bounds a group, and graphs of any depth."""

from __future__ import annotations

import graphc.ops  # noqa: F401  fills the registry
from graphc.ir.graph import Graph
from graphc.ir.node import Node, leaf, make
from graphc.ir.types import F32, TensorType
from graphc.passes.cost import UNLIMITED, element_cost
from graphc.passes.grouping import HEAVIEST, LARGEST, group_nodes

X = leaf("input", "x", TensorType(F32, (4000, 4)))


def chain(op: str, length: int) -> Node:
    y = X
    for _ in range(length):
        y = make(op, y)
    return y


def sizes(y: Node) -> list[int]:
    return [len(group.members) for group in group_nodes(Graph("g", (X,), {"y": y})).groups]


def test_costs() -> None:
    assert element_cost(X + X) == 1
    assert element_cost(make("exp", X)) > 3 * element_cost(make("relu", X))
    assert element_cost(make("reduce_sum", X, axes=(0,))) == UNLIMITED


def test_a_group_is_bounded_by_nodes_and_by_instructions() -> None:
    assert sizes(chain("neg", 2 * LARGEST)) == [LARGEST, LARGEST]
    tangents = HEAVIEST // element_cost(make("tanh", X))
    assert sizes(chain("tanh", 2 * tangents + 1)) == [tangents, tangents, 1]


def test_groups_that_are_heavy_together_stay_apart() -> None:
    tangents = HEAVIEST // element_cost(make("tanh", X)) - 1
    left, right = chain("tanh", tangents), chain("sin", tangents)
    assert sorted(sizes(left + right)) == [tangents, tangents + 1]


def test_a_long_chain_of_index_mappings_needs_no_recursion() -> None:
    y = X
    for rows in range(3999, 1, -1):
        y = make("reverse", make("slice", y, start=(1, 0), stop=(rows + 1, 4), step=(1, 1)), axes=(0,))
    assert sizes(make("neg", y)) == [1]
