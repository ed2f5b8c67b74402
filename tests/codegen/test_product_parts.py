"""Products that are read by their parts: one kernel for the product and all that follows it."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.codegen.entry import plan_entry
from graphc.codegen.kernel import Contract
from graphc.codegen.target import host
from graphc.graph_function import compile_graph
from graphc.ir.dims import symbol
from graphc.ir.graph import Graph
from graphc.ir.interpret import interpret
from graphc.ir.node import Node, leaf, make
from graphc.ir.types import F32, F64, I32, DType, TensorType
from graphc.ops.scan import build_scan, inner_leaf
from graphc.passes import levels

B, T, K = symbol("B"), symbol("T"), 12


def cut(x: Node, count: int) -> list[Node]:
    """x in equal parts along its last axis."""
    rows, columns = x.shape
    width = columns // count
    return [make("slice", x, start=(0, i * width), stop=(rows, (i + 1) * width), step=(1, 1)) for i in range(count)]


def gates(x: Node, w: Node, b: Node, more: Node, count: int) -> Node:
    """The product of sigmoids of all parts of x @ w + b + more, but of the last, whose tanh it is."""
    z = make("contract", x, w, spec="bi,ij->bj") + make("broadcast", b, shape=(B, w.shape[1]), axes=(1,)) + more
    *parts, last = cut(z, count)
    result = make("tanh", last)
    for part in parts:
        result = result * make("sigmoid", part)
    return result


def one_step(count: int, units: int, dtype: DType, depth: int = K) -> Graph:
    n = count * units
    shapes = {"x": (B, depth), "w": (depth, n), "b": (n,), "more": (B, n)}
    leaves = [leaf("input", name, TensorType(dtype, shape)) for name, shape in shapes.items()]
    return Graph("g", tuple(leaves), {"y": gates(*leaves, count)})


def check(graph: Graph, dtype: DType, **sizes: int) -> None:
    native, rng = compile_graph(graph), np.random.default_rng(0)
    for rows in (1, 6, 7, 40):
        at = {"B": rows, **sizes}
        values = {
            str(x.attr("name")): rng.normal(size=[d if isinstance(d, int) else at[str(d)] for d in x.shape]).astype(
                dtype.numpy
            )
            for x in graph.leaves
        }
        tolerance = 1e-5 if dtype is F32 else 1e-12
        expected = interpret(graph, values, at)[0]["y"]
        np.testing.assert_allclose(native(values, at)[0]["y"], expected, tolerance, tolerance)


@pytest.mark.parametrize("dtype", (F32, F64))
@pytest.mark.parametrize("units", (1, 7, 16, 40))
@pytest.mark.parametrize("count", (2, 3, 4, 6))
def test_all_parts_follow_their_product(count: int, units: int, dtype: DType) -> None:
    graph = one_step(count, units, dtype)
    code = plan_entry("entry", levels.pipeline("O2").run(graph), host())
    (task,) = code.schedule.tasks
    (contract,) = [s for s in task.kernel.body if isinstance(s, Contract)]
    assert len(contract.others) == count - 1
    check(graph, dtype)


def test_long_sums_are_cut_into_blocks() -> None:
    """The sums of the blocks before are kept in a workspace."""
    check(one_step(4, 16, F64, depth=1500), F64)


def test_in_a_loop_the_weights_are_packed_once() -> None:
    units = 20
    w, b = leaf("param", "w", TensorType(F32, (units, 4 * units))), leaf("param", "b", TensorType(F32, (4 * units,)))
    x, h0 = leaf("input", "x", TensorType(F32, (T, B, 4 * units))), leaf("input", "h", TensorType(F32, (B, units)))
    t, h = inner_leaf("index", TensorType(I32)), inner_leaf("carry", h0.type)
    (last,), _ = build_scan(T, False, t, [(h, h0, gates(h, w, b, make("gather", x, t, axis=0), 4))], [])
    graph = Graph("g", (w, b, x, h0), {"y": last})
    code = plan_entry("entry", levels.pipeline("O2").run(graph), host())
    (loop,) = [task.loop for task in code.schedule.tasks if task.loop is not None]
    assert len(loop.panels) == 1
    assert any(isinstance(s, Contract) and s.others for task in loop.step.tasks for s in task.kernel.body)
    check(graph, F32, T=5)


def test_a_product_that_is_read_as_a_whole_too_stays_whole() -> None:
    graph = one_step(4, 16, F32)
    z = graph.outputs["y"]
    product = next(n for n in graph.nodes() if n.op == "contract")
    whole = Graph("g", graph.leaves, {"y": z, "product": product})
    code = plan_entry("entry", levels.pipeline("O2").run(whole), host())
    assert not any(isinstance(s, Contract) and s.others for task in code.schedule.tasks for s in task.kernel.body)
    check(whole, F32)


def test_parts_that_follow_another_product() -> None:
    """A part of the first product is read by its own kernel, another one together with the second product."""
    names = {"x": (B, K), "v": (K, 32), "w": (K, 32)}
    x, v, w = (leaf("input", name, TensorType(F32, shape)) for name, shape in names.items())
    one, two = cut(make("contract", x, v, spec="bi,ij->bj"), 2)
    gate, value = cut(make("contract", make("tanh", x), w, spec="bi,ij->bj"), 2)
    y = make("sigmoid", one) * make("tanh", value + two * make("sigmoid", gate + make("exp", one)))
    check(Graph("g", (x, v, w), {"y": y}), F32)
