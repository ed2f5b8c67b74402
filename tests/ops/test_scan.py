"""scan: against a NumPy loop, and its derivatives against differences, for both orders of the steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphc.autodiff import gradients
from graphc.codegen.entry import plan_entry
from graphc.codegen.target import host
from graphc.graph_function import compile_graph
from graphc.ir.dims import Dim, symbol
from graphc.ir.graph import Graph
from graphc.ir.interpret import interpret
from graphc.ir.node import Node, constant, leaf, make
from graphc.ir.types import F64, I32, TensorType
from graphc.ir.verify import verify
from graphc.ops.build import size_of
from graphc.ops.scan import build_scan, inner_leaf
from graphc.passes import levels
from graphc.runtime.errors import IndexRangeError

B, E, H = 3, 4, 5
LENGTHS = (1, 2, 7, 50)
Values = dict[str, Any]


def f64(*shape: Dim) -> TensorType:
    return TensorType(F64, shape)


def total(x: Node) -> Node:
    return make("reduce_sum", x, axes=tuple(range(len(x.shape))))


def rnn(length: Dim, reverse: bool = False, recompute: bool = False) -> tuple[Node, list[Node]]:
    """h' = tanh(x[t] wx + h wh + b); a loss of the last h and of all of them."""
    x, h0 = leaf("input", "x", f64(B, length, E)), leaf("input", "h0", f64(B, H))
    wx, wh, b = leaf("param", "wx", f64(E, H)), leaf("param", "wh", f64(H, H)), leaf("param", "b", f64(H))
    t, h = inner_leaf("index", TensorType(I32)), inner_leaf("carry", f64(B, H))
    z = make("contract", make("gather", x, t, axis=1), wx, spec="be,eh->bh")
    z = z + make("contract", h, wh, spec="bi,ij->bj") + make("broadcast", b, shape=(B, H), axes=(1,))
    new = make("tanh", z)
    (last,), (every,) = build_scan(length, reverse, t, [(h, h0, new)], [new], recompute)
    return total(last * last) + total(make("sin", every)), [x, wx, wh, b, h0]


def nested(length: Dim, reverse: bool = False, recompute: bool = False) -> tuple[Node, list[Node]]:
    """In every step an inner recurrence over the same length in the other order; its results are carried on."""
    x, w = leaf("input", "x", f64(length, H)), leaf("param", "w", f64(H))
    t, h = inner_leaf("index", TensorType(I32)), inner_leaf("carry", f64(H))
    s, g = inner_leaf("index", TensorType(I32)), inner_leaf("carry", f64(H))
    inner = make("tanh", g * w + make("gather", x, s, axis=0) * h)
    (last,), (every,) = build_scan(length, not reverse, s, [(g, h, inner)], [inner], recompute)
    folded = make("reduce_sum", every, axes=(0,))
    new = make("tanh", last + constant(0.1, f64(H)) * folded + make("gather", x, t, axis=0))
    (final,), () = build_scan(length, reverse, t, [(h, constant(0.5, f64(H)), new)], [], recompute)
    return total(final * final), [x, w]


def two_carries(length: Dim, reverse: bool = False, recompute: bool = False) -> tuple[Node, list[Node]]:
    """An integer counter and a masked float: where the counter is past a limit the old value stays."""
    x, w = leaf("input", "x", f64(length, H)), leaf("param", "w", f64(H))
    t, h = inner_leaf("index", TensorType(I32)), inner_leaf("carry", f64(H))
    n = inner_leaf("carry", TensorType(I32))
    moved = make("exp", -(h * h)) * w + make("gather", x, t, axis=0)
    alive = make("broadcast", make("lt", n, constant(5, TensorType(I32))), shape=(H,), axes=())
    carries = [(h, constant(0.0, f64(H)), make("where", alive, moved, h))]
    carries.append((n, constant(0, TensorType(I32)), n + constant(1, TensorType(I32))))
    (final, _), (seen,) = build_scan(length, reverse, t, carries, [h * w], recompute)
    return total(final * final) + total(seen), [x, w]


def derivative(build: Callable[..., tuple[Node, list[Node]]], length: Dim, **how: bool) -> Graph:
    """The loss `y` and its derivative by every leaf, as `dNAME`."""
    y, leaves = build(length, **how)
    results = {f"d{x.attr('name')}": d for x, d in zip(leaves, gradients(y, leaves), strict=True)}
    graph = Graph("g", tuple(leaves), {"y": y, **results})
    verify(graph)
    return graph


def draw(graph: Graph, length: int, seed: int = 0) -> Values:
    rng = np.random.default_rng(seed)
    shapes = {x.attr("name"): [d if isinstance(d, int) else length for d in x.shape] for x in graph.leaves}
    return {name: 0.5 * rng.normal(size=shape) for name, shape in shapes.items()}


def check_differences(graph: Graph, values: Values, sizes: dict[str, int]) -> None:
    """Each derivative along a random direction against the symmetric difference."""
    out = interpret(graph, values, sizes)[0]
    rng = np.random.default_rng(1)
    for name, value in values.items():
        d, step = rng.normal(size=value.shape), 1e-6
        high = interpret(graph, {**values, name: value + step * d}, sizes)[0]["y"]
        low = interpret(graph, {**values, name: value - step * d}, sizes)[0]["y"]
        np.testing.assert_allclose((out[f"d{name}"] * d).sum(), (high - low) / (2 * step), 1e-6, 1e-7, err_msg=name)


def test_a_recurrence_is_a_loop() -> None:
    y, leaves = rnn(7)
    graph = Graph("g", tuple(leaves), {"y": y})
    v = draw(graph, 7)
    h, every = v["h0"], []
    for t in range(7):
        h = np.tanh(v["x"][:, t] @ v["wx"] + h @ v["wh"] + v["b"])
        every.append(h)
    np.testing.assert_allclose(interpret(graph, v, {})[0]["y"], (h * h).sum() + np.sin(every).sum(), 1e-13)


@pytest.mark.parametrize("recompute", (False, True))
@pytest.mark.parametrize("reverse", (False, True))
@pytest.mark.parametrize("build", (rnn, nested, two_carries))
def test_derivatives_are_those_of_differences(build: Any, reverse: bool, recompute: bool) -> None:
    graph = derivative(build, symbol("T"), reverse=reverse, recompute=recompute)
    for length in (1, 2, 7) if build is nested else LENGTHS:
        check_differences(graph, draw(graph, length), {"T": length})


def test_the_derivative_of_a_derivative() -> None:
    y, leaves = rnn(symbol("T"))
    first = gradients(y, leaves)
    second = total(first[2] * first[2]) + total(first[0] * first[0])
    results = {f"d{x.attr('name')}": d for x, d in zip(leaves, gradients(second, leaves), strict=True)}
    graph = Graph("g", tuple(leaves), {"y": second, **results})
    for length in (1, 2, 5):
        check_differences(graph, draw(graph, length), {"T": length})


@pytest.mark.parametrize("level", ("O0", "O1", "O2", "O2 recompute"))
@pytest.mark.parametrize("reverse", (False, True))
@pytest.mark.parametrize("build", (rnn, nested, two_carries))
def test_native_loops_mean_the_same(build: Any, reverse: bool, level: str) -> None:
    graph = derivative(build, symbol("T"), reverse=reverse, recompute="recompute" in level)
    level = level.partition(" ")[0]
    native = compile_graph(graph, level)
    for length in (1, 2, 7) if build is nested else LENGTHS:
        values = draw(graph, length)
        expected, result = interpret(graph, values, {"T": length})[0], native(values, {"T": length})[0]
        for name, value in expected.items():
            np.testing.assert_allclose(result[name], value, 1e-10, 1e-12, err_msg=f"{name} at {length}")


def test_what_no_step_changes_is_outside_of_the_loop() -> None:
    x, w = leaf("input", "x", f64(9, H)), leaf("param", "w", f64(H))
    t, h = inner_leaf("index", TensorType(I32)), inner_leaf("carry", f64(H))
    new = h * make("exp", w) + make("gather", make("sin", x), t, axis=0)
    (last,), _ = build_scan(9, False, t, [(h, constant(0.0, f64(H)), new)], [])
    body = last.inputs[0].attr("body")
    assert [n.op for n in body.nodes() if not n.is_leaf] == ["mul", "add"]


def test_equal_recurrences_are_one_node() -> None:
    assert rnn(7)[0] is rnn(7)[0]


def test_an_index_that_a_step_uses_is_checked_before_the_loop() -> None:
    table, rows = leaf("param", "table", f64(4, H)), leaf("input", "rows", TensorType(I32, (B, symbol("T"))))
    t, h = inner_leaf("index", TensorType(I32)), inner_leaf("carry", f64(B, H))
    picked = make("gather", table, make("gather", rows, t, axis=1), axis=0)
    (last,), _ = build_scan(symbol("T"), False, t, [(h, constant(0.0, f64(B, H)), make("tanh", h + picked))], [])
    native = compile_graph(Graph("g", (table, rows), {"y": last}))
    values = {"table": np.ones((4, H)), "rows": np.array([[0, 1], [2, 3], [3, 0]])}
    native(values, {"T": 2})
    for wrong in (-1, 4):
        bad = values["rows"].copy()
        bad[2, 1] = wrong
        with pytest.raises(IndexRangeError, match="rows"):
            native({**values, "rows": bad}, {"T": 2})


@pytest.mark.parametrize("length", LENGTHS)
def test_steps_that_fill_up_the_last_chunk_read_nothing_beyond_the_sequence(length: int) -> None:
    t, h, x = inner_leaf("index", TensorType(I32)), inner_leaf("carry", f64(H)), leaf("input", "x", f64(symbol("T"), H))
    mirrored = size_of(symbol("T") - 1, I32) - t
    new = make("tanh", h * make("gather", x, mirrored, axis=0))
    (last,), _ = build_scan(symbol("T"), False, t, [(h, constant(1.0, f64(H)), new)], [], True)
    graph = Graph("g", (x,), {"loss": total(last), "d": gradients(total(last), [x])[0]})
    value = np.random.default_rng(1).normal(size=(length, H))
    wanted = np.ones(H)
    for row in value[::-1]:
        wanted = np.tanh(wanted * row)
    reference = interpret(graph, {"x": value}, {"T": length})[0]
    native = compile_graph(graph)({"x": value}, {"T": length})[0]
    np.testing.assert_allclose(reference["loss"], wanted.sum(), rtol=1e-12)
    np.testing.assert_allclose(native["loss"], wanted.sum(), rtol=1e-12)
    np.testing.assert_allclose(native["d"], reference["d"], rtol=1e-10)


def test_checkpoints_keep_about_two_square_roots_of_the_steps() -> None:
    """Of 400 steps 20 carried values and the 20 steps of a chunk, but not what is as long as the sequence anyway."""
    t, h, h0 = inner_leaf("index", TensorType(I32)), inner_leaf("carry", f64(H)), leaf("input", "h0", f64(H))
    w = leaf("param", "w", f64(H))
    sizes = []
    for recompute in (False, True):
        (last,), _ = build_scan(400, False, t, [(h, h0, make("tanh", h * w))], [], recompute)
        graph = Graph("g", (h0, w), {"d": gradients(total(last), [w])[0]})
        code = plan_entry("entry", levels.pipeline("O2").run(graph), host())
        sizes.append(code.arena_bytes({}))
    values = 8 * H
    assert sizes[0] >= 400 * values
    assert sizes[1] <= 3 * 20 * 2 * values
