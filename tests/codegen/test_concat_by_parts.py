"""A concatenation is written by the loop that computes its parts."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.codegen.entry import plan_entry
from graphc.codegen.target import host
from graphc.graph_function import compile_graph
from graphc.ir.dims import symbol
from graphc.ir.graph import Graph
from graphc.ir.interpret import interpret
from graphc.ir.node import Node, leaf, make
from graphc.ir.types import F32, TensorType
from graphc.passes import levels

B = symbol("B")


def parts() -> tuple[Node, Node, list[Node]]:
    x, y = (leaf("input", name, TensorType(F32, (B, 6))) for name in "xy")
    return x, y, [make("tanh", x), x * y, make("exp", y) + x]


def check(graph: Graph, kernels: int) -> None:
    code = plan_entry("entry", levels.pipeline("O2").run(graph), host())
    assert len(code.schedule.tasks) == kernels
    native, rng = compile_graph(graph), np.random.default_rng(0)
    for rows in (1, 3, 20):
        values = {str(x.attr("name")): rng.normal(size=(rows, 6)).astype("f") for x in graph.leaves}
        expected, result = interpret(graph, values, {"B": rows})[0], native(values, {"B": rows})[0]
        for name, value in expected.items():
            np.testing.assert_allclose(result[name], value, 1e-5, 1e-6, err_msg=name)


@pytest.mark.parametrize("axis", (0, 1))
def test_parts_of_one_shape_are_one_loop(axis: int) -> None:
    x, y, p = parts()
    check(Graph("g", (x, y), {"whole": make("concat", *p, axis=axis), "first": p[0]}), 1)


def test_two_concatenations_and_a_part_that_lies_in_memory() -> None:
    x, y, p = parts()
    check(Graph("g", (x, y), {"a": make("concat", p[0], y, axis=1), "b": make("concat", p[1], p[1], p[2], axis=1)}), 2)


def test_what_is_read_at_other_places_stays_a_kernel_of_its_own() -> None:
    x, y, p = parts()
    whole = make("concat", *p, axis=1)
    turned = make("reverse", whole, axes=(1,))
    check(Graph("g", (x, y), {"whole": whole, "turned": make("sin", turned)}), 2)


def test_parts_of_different_shapes() -> None:
    x, y, p = parts()
    half = make("slice", p[0], start=(0, 0), stop=(B, 3), step=(1, 1))
    check(Graph("g", (x, y), {"whole": make("concat", p[1], half, axis=1)}), 3)


def test_the_whole_read_by_a_reduction_and_an_elementwise_op() -> None:
    x, y, p = parts()
    whole = make("concat", *p, axis=1)
    total = make("reduce_sum", whole * whole, axes=(1,))
    check(Graph("g", (x, y), {"whole": whole, "total": total, "more": make("sin", whole)}), 3)
