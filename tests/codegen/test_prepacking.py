"""Weights of a loop packed before it: the same sums, and no packing inside of the step."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.codegen.entry import plan_entry
from graphc.codegen.kernel import Contract, For
from graphc.codegen.target import host
from graphc.graph_function import compile_graph
from graphc.ir.dims import symbol
from graphc.ir.graph import Graph
from graphc.ir.interpret import interpret
from graphc.ir.node import leaf, make
from graphc.ir.types import F32, I32, TensorType
from graphc.ops.scan import build_scan, inner_leaf
from graphc.passes import levels


def recurrence(size: int, spec: str) -> Graph:
    """h' = tanh(h @ w), or by the transpose of w; B rows."""
    rows, length = symbol("B"), symbol("T")
    w, h0 = leaf("param", "w", TensorType(F32, (size, size))), leaf("input", "h0", TensorType(F32, (rows, size)))
    t, h = inner_leaf("index", TensorType(I32)), inner_leaf("carry", h0.type)
    (last,), _ = build_scan(length, False, t, [(h, h0, make("tanh", make("contract", h, w, spec=spec)))], [])
    x = leaf("input", "x", TensorType(F32, (length,)))
    return Graph("g", (w, h0, x), {"y": last})


@pytest.mark.parametrize("spec", ("bi,ij->bj", "bi,ji->bj"))
@pytest.mark.parametrize("size", (16, 40, 128, 200, 1100))
def test_prepacked_weights_give_the_same_sums(size: int, spec: str) -> None:
    graph = recurrence(size, spec)
    native = compile_graph(graph)
    rng = np.random.default_rng(0)
    for rows in (1, 5, 32, 100):
        values = {
            "w": rng.normal(size=(size, size)).astype("f") / size**0.5,
            "h0": rng.normal(size=(rows, size)).astype("f"),
            "x": np.zeros(3, "f"),
        }
        sizes = {"B": rows, "T": 3}
        expected = interpret(graph, values, sizes)[0]["y"]
        np.testing.assert_allclose(native(values, sizes)[0]["y"], expected, 1e-4, 1e-5)


@pytest.mark.parametrize("spec", ("bi,ij->bj", "bi,ji->bj"))
def test_the_step_packs_nothing(spec: str) -> None:
    code = plan_entry("entry", levels.pipeline("O2").run(recurrence(320, spec)), host())
    (loop,) = [task.loop for task in code.schedule.tasks if task.loop is not None]
    (contract,) = [s for task in loop.step.tasks for s in task.kernel.body if isinstance(s, Contract)]
    assert contract.workspace is None
    assert contract.vectors is not None
    assert len(loop.panels) == 1
    assert loop.memory.size == 0, "the panels are memory of the loop, not of a step"


@pytest.mark.parametrize("depth", (37, 96, 1100))
def test_a_loop_around_a_product_packs_once(depth: int) -> None:
    """Rows that lie apart make a loop around the product; the transposed weights are packed at its beginning."""
    rows, length = symbol("B"), symbol("T")
    x, w = leaf("input", "x", TensorType(F32, (length, rows, depth))), leaf("param", "w", TensorType(F32, (50, depth)))
    graph = Graph("g", (x, w), {"y": make("contract", x, w, spec="tbk,nk->btn")})
    code = plan_entry("entry", levels.pipeline("O2").run(graph), host())
    (task,) = code.schedule.tasks
    packing, loop = task.kernel.body
    assert isinstance(packing, For) and isinstance(loop, For)
    (contract,) = loop.body
    assert isinstance(contract, Contract) and contract.vectors is not None
    native, rng = compile_graph(graph), np.random.default_rng(0)
    for sizes in ({"B": 1, "T": 1}, {"B": 3, "T": 9}, {"B": 20, "T": 2}):
        values = {
            "x": rng.normal(size=(sizes["T"], sizes["B"], depth)).astype("f"),
            "w": rng.normal(size=(50, depth)).astype("f") / depth**0.5,
        }
        expected = np.einsum("tbk,nk->btn", values["x"].astype("d"), values["w"].astype("d"))
        np.testing.assert_allclose(native(values, sizes)[0]["y"], expected, 1e-4, 1e-5)
