"""Embeddings: gradient descent touches only the rows of the batch, exactly; other optimisers are dense and exact."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import graphc
from graphc.codegen.entry import plan_entry
from graphc.codegen.target import host
from graphc.graph_function import compile_graph
from graphc.ir.dims import symbol
from graphc.ir.graph import Graph
from graphc.ir.interpret import interpret
from graphc.ir.node import leaf, make
from graphc.ir.types import F32, F64, I32, TensorType
from graphc.ops.build import fill
from graphc.passes.levels import pipeline

Array = NDArray[Any]
V, E = 50, 19

TABLE = """
use std.nn: embedding
dim B, T, V = 50, E = 19
model bag(i: i32[B, T]) -> (y: f32[B, E]):
    param words = embedding[V=V, E=E]
    y = sum(words(i), axis=T)
train bag:
    input t: f32[B, E]
    hyper rate: f32 = 0.05
    loss = sum((y - t) * (y - t))
    optimizer = OPTIMIZER
"""


def batches(count: int, seed: int = 0) -> list[tuple[Array, Array]]:
    """Indices with many repetitions, of another shape each time."""
    random = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        shape = tuple(random.integers(1, 9, 2))
        made.append((random.integers(0, 12, shape).astype("i4"), random.normal(size=(shape[0], E)).astype("f4")))
    return made


def trajectory(table: Array, given: list[tuple[Array, Array]], rate: Array) -> Array:
    """Gradient descent in NumPy: the updates of a row added in the order of the batch, then one step for the row."""
    for index, target in given:
        difference = table[index].sum(1) - target
        updates = np.repeat((difference + difference)[:, None], index.shape[1], 1)
        total = np.zeros_like(table)
        for row, update in zip(index.ravel(), updates.reshape(-1, E), strict=True):
            total[row] = total[row] + update
        rows = np.unique(index)
        table[rows] = table[rows] - rate * total[rows]
    return table


@pytest.mark.parametrize("setting", ["0.05", "rate", "rate * 0.9 ** step / 0.9 ** step"])
def test_gradient_descent_is_that_of_numpy(setting: str) -> None:
    model = graphc.compile_source(TABLE.replace("OPTIMIZER", f"sgd(lr={setting})"))
    model.init(3)
    given = batches(8)
    expected = trajectory(np.array(model.params["words.table"]), given, np.float32(0.05))
    for index, target in given:
        model.step(i=index, t=target)
    np.testing.assert_allclose(model.params["words.table"], expected, 1e-5, 1e-6)


def plan(optimizer: str, stage: str = "memory", text: str = TABLE) -> str:
    return graphc.compile_source(text.replace("OPTIMIZER", optimizer)).text(stage)


def test_no_table_is_in_the_plan_of_gradient_descent() -> None:
    assert "f32[50, 19]" not in plan("sgd(lr=rate)")
    assert "written in place: words.table" in plan("sgd(lr=rate)")


def test_adam_is_one_pass_over_the_table() -> None:
    """Its gradient is dense, and the only thing of that size in the plan: moments and table change in one loop."""
    assert plan("adam(lr=rate)").count("f32[50, 19]") == 1
    kernels = plan("adam(lr=rate)", "kernels").split("\n\n")
    (update,) = (text for text in kernels if "= leaf words.table" in text and "sqrt" in text)
    written = [line for line in update.splitlines() if line.startswith("#   y")]
    assert sorted(line.split("leaf ")[1] for line in written) == ["m/words.table", "v/words.table", "words.table"]


def test_other_rows_are_not_even_read() -> None:
    """They hold signalling patterns that any arithmetic would change: every bit of them stays."""
    table, index = leaf("param", "p", TensorType(F32, (V, E))), leaf("input", "i", TensorType(I32, (symbol("B"),)))
    updates = leaf("input", "u", TensorType(F32, (symbol("B"), E)))
    rate = leaf("hyper", "lr", TensorType(F32))
    gradient = make("scatter_add", index, updates, axis=0, size=V)
    new = table - fill(rate, (V, E)) * gradient
    graph = Graph("step", (table, index, updates, rate), {}, {table: new})
    random = np.random.default_rng(0)
    values = {
        "p": random.integers(0x7F800001, 0x7FBFFFFF, (V, E)).astype("u4").view("f4"),
        "i": np.array([7, 3, 7, 49, 7], "i4"),
        "u": random.normal(size=(5, E)).astype("f4"),
        "lr": np.array(np.inf, "f4"),
    }
    (values["p"])[[3, 7, 49]] = random.normal(size=(3, E))
    found = compile_graph(graph, "O2")({k: v.copy() for k, v in values.items()}, {"B": 5})[1]["p"]
    others = [r for r in range(V) if r not in (3, 7, 49)]
    assert found[others].tobytes() == values["p"][others].tobytes()
    assert not np.isfinite(found[[3, 7, 49]]).any()


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize("rows", [(3,), (5, 1), (5, 16), (5, 3, 7), (5, 40)], ids=str)
def test_the_bits_are_those_of_the_dense_update(dtype: Any, rows: tuple[int, ...]) -> None:
    size = symbol("N")
    table, index = leaf("param", "p", TensorType(dtype, rows)), leaf("input", "i", TensorType(I32, (size,)))
    updates = leaf("input", "u", TensorType(dtype, (size, *rows[1:])))
    new = table - 0.3 * make("scatter_add", index, updates, axis=0, size=rows[0])
    graph = Graph("step", (table, index, updates), {}, {table: new})
    assert "subtract_rows" in [node.op for node in pipeline("O2").run(graph).nodes()]
    for count in (1, 2, 33):
        random = np.random.default_rng(count)
        values = {
            "p": random.normal(size=rows).astype(dtype.numpy),
            "i": random.integers(0, rows[0], count).astype("i4"),
            "u": random.normal(size=(count, *rows[1:])).astype(dtype.numpy),
        }
        values["u"].flat[::3] = -0.0
        dense = interpret(graph, values, {"N": count})[1]["p"]
        for level in ("O0", "O2"):
            found = compile_graph(graph, level)({k: v.copy() for k, v in values.items()}, {"N": count})[1]["p"]
            assert found.tobytes() == dense.tobytes(), level


def test_a_table_that_is_read_twice_has_one_sparse_gradient() -> None:
    text = TABLE.replace("y = sum(words(i), axis=T)", "y = sum(words(i), axis=T) + words(i[:, 0])")
    assert "f32[50, 19]" not in plan("sgd(lr=rate)", text=text)
    assert "scatter_add" not in plan("sgd(lr=rate)", "optimised", text)
    model, given = graphc.compile_source(text.replace("OPTIMIZER", "sgd(lr=rate)")), batches(4)
    model.init(3)
    expected = np.array(model.params["words.table"])
    for index, target in given:
        twice = np.concatenate([index, index[:, :1]], 1)
        expected = trajectory(expected, [(twice, target)], np.float32(0.05))
        model.step(i=index, t=target)
    np.testing.assert_allclose(model.params["words.table"], expected, 1e-5, 1e-6)


@pytest.mark.parametrize("optimizer", ["sgd(lr=rate, decay=0.01)", "momentum(lr=rate)", "adam(lr=rate)"])
def test_optimisers_that_change_every_row_stay_dense(optimizer: str) -> None:
    """Against the reference: rows without a gradient move by their decay, velocity or moments."""
    assert "subtract_rows" not in plan(optimizer, "optimised")
    model = graphc.compile_source(TABLE.replace("OPTIMIZER", optimizer))
    model.init(3)
    start, moved = np.array(model.params["words.table"]), 12
    (index, target), (other, goal) = batches(1)[0], batches(1, 1)[0]
    model.step(i=index, t=target)
    first = np.array(model.params["words.table"])
    model.step(i=np.full_like(other, 13), t=goal)
    second = model.params["words.table"]
    changed = np.any(second[:moved] != first[:moved], 1)
    named = np.zeros(moved, bool)
    named[np.unique(index)] = True
    decays = "decay" in optimizer
    assert np.array_equal(changed, named | decays)
    assert np.any(first[13:] != start[13:]) == decays


def test_tables_that_read_each_other_are_written_aside() -> None:
    """The step of p needs the old q and that of q the old p: one of them is made elsewhere and copied."""
    p, q = (leaf("param", name, TensorType(F32, (4, 3))) for name in "pq")
    i = leaf("input", "i", TensorType(I32, (4,)))
    new = {
        p: p - 0.5 * make("scatter_add", i, q, axis=0, size=4),
        q: q - 0.5 * make("scatter_add", i, p, axis=0, size=4),
    }
    graph = Graph("step", (p, q, i), {}, new)
    random = np.random.default_rng(0)
    values = {name: random.normal(size=(4, 3)).astype("f4") for name in "pq"} | {"i": np.array([2, 2, 0, 2], "i4")}
    found = compile_graph(graph, "O2")({k: v.copy() for k, v in values.items()}, {})[1]
    expected = interpret(graph, values, {})[1]
    for name in "pq":
        assert found[name].tobytes() == expected[name].tobytes()
    alone = Graph("step", (p, i), {}, {p: p - 0.5 * make("scatter_add", i, p, axis=0, size=4)})
    found = compile_graph(alone, "O2")({k: values[k].copy() for k in "pi"}, {})[1]
    assert found["p"].tobytes() == interpret(alone, values, {})[1]["p"].tobytes(), "its own updates"


def test_a_gradient_that_is_also_given_out_stays() -> None:
    p, i = leaf("param", "p", TensorType(F32, (4, 3))), leaf("input", "i", TensorType(I32, (2,)))
    u = leaf("input", "u", TensorType(F32, (2, 3)))
    g = make("scatter_add", i, u, axis=0, size=4)
    graph = Graph("step", (p, i, u), {"g": g}, {p: p - 0.5 * g})
    assert "subtract_rows" not in [node.op for node in pipeline("O2").run(graph).nodes()]


def test_the_copy_of_a_table_onto_itself_is_left_out() -> None:
    p, i = leaf("param", "p", TensorType(F32, (4, 3))), leaf("input", "i", TensorType(I32, (2,)))
    u = leaf("input", "u", TensorType(F32, (2, 3)))
    graph = Graph("step", (p, i, u), {}, {p: p - 0.5 * make("scatter_add", i, u, axis=0, size=4)})
    code = plan_entry("e", pipeline("O2").run(graph), host())
    assert "y0[z] = x0[z]" not in str(code.schedule.tasks[-1].kernel)
    assert "rows y0" in str(code.schedule.tasks[-1].kernel)


def momentum_of(rows: tuple[int, int], places: Any, given: bool = False) -> Graph:
    """A table whose velocity changes everywhere; its gradient is also given out if asked to."""
    table, velocity = (leaf("param", name, TensorType(F32, rows)) for name in "pv")
    index = leaf("input", "i", TensorType(I32, places))
    updates = leaf("input", "u", TensorType(F32, (*places, rows[1])))
    gradient = make("scatter_add", index, updates, axis=0, size=rows[0])
    new = 0.9 * velocity + gradient
    outputs = {"g": gradient} if given else {}
    return Graph("step", (table, velocity, index, updates), outputs, {velocity: new, table: table - 0.1 * new})


@pytest.mark.parametrize("places", [(symbol("N"),), (3, symbol("N")), (40,)], ids=str)
def test_gathered_sums_have_the_bits_of_a_large_dense_gradient(places: tuple[Any, ...]) -> None:
    rows = (8192, 32)
    graph = momentum_of(rows, places)
    nodes = list(pipeline("O1").run(graph).nodes())
    assert "last_places" in [node.op for node in nodes]
    assert rows not in [node.shape for node in nodes if node.op == "scatter_add"]
    for count in (1, 40):
        random = np.random.default_rng(count)
        shape = tuple(n if isinstance(n, int) else count for n in places)
        values = {
            "p": random.normal(size=rows).astype("f4"),
            "v": random.normal(size=rows).astype("f4"),
            "i": random.integers(0, 12, shape).astype("i4") * 700 % rows[0],
            "u": random.normal(size=(*shape, rows[1])).astype("f4"),
        }
        values["u"].flat[::3] = -0.0
        dense = interpret(graph, values, {"N": count})[1]
        for level in ("O0", "O2"):
            found = compile_graph(graph, level)({k: v.copy() for k, v in values.items()}, {"N": count})[1]
            assert all(found[name].tobytes() == dense[name].tobytes() for name in "pv"), level


@pytest.mark.parametrize(
    ("rows", "places", "given"),
    [((8192, 32), (5000,), False), ((8191, 32), (40,), False), ((40000, 15), (40,), False), ((8192, 32), (40,), True)],
    ids=["many places", "few rows", "short rows", "given out"],
)
def test_other_gradients_stay_dense(rows: tuple[int, int], places: tuple[int], given: bool) -> None:
    graph = momentum_of(rows, places, given)
    assert "last_places" not in [node.op for node in pipeline("O2").run(graph).nodes()]


ROWS = """
dim B, V = 7
model rows(table: f32[V, 2], wide: f32[3, V], i: i32[B]) -> (a: f32[B, 2], b: f32[3, B], c: f32[B, V], d: f32[B]):
    a = take(table, i)
    b = take(wide, i, axis=V)
    c = one_hot(i, V)
    d = table[i][:, 0]
"""


def test_take_and_one_hot_are_those_of_numpy() -> None:
    model, random = graphc.compile_source(ROWS), np.random.default_rng(0)
    table, wide, i = random.normal(size=(7, 2)).astype("f4"), random.normal(size=(3, 7)).astype("f4"), np.arange(7)
    made = model(table=table, wide=wide, i=i.astype("i4"))
    assert np.array_equal(made["a"], table[i]) and np.array_equal(made["b"], wide[:, i])
    assert np.array_equal(made["c"], np.eye(7)) and np.array_equal(made["d"], table[i, 0])
    for wrong in (-1, 7):
        with pytest.raises(IndexError, match=f"`i` holds {wrong}"):
            model(table=table, wide=wide, i=np.array([0, wrong], "i4"))


def test_an_index_out_of_range_changes_nothing() -> None:
    model = graphc.compile_source(TABLE.replace("OPTIMIZER", "sgd(lr=rate)"))
    model.init(0)
    before = np.array(model.params["words.table"])
    for wrong in (-1, V):
        with pytest.raises(IndexError, match="must be from 0 to 49"):
            model.step(i=np.array([[0, wrong]], "i4"), t=np.zeros((1, E), "f4"))
    assert np.array_equal(model.params["words.table"], before)
