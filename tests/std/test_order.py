"""Running sums, sorts and top_k: values, ties, NaN, derivatives, sizes known only at the call."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import graphc
from graphc.ir.graph import Graph
from graphc.ir.interpret import interpret
from graphc.ir.node import leaf, make
from graphc.ir.types import F64, I32, TensorType
from graphc.ops.order import along

Array = NDArray[Any]

CUMSUMS = """
dim B, T
model sums(x: f32[B, T], b: bool[T]) -> (plain: f32[B, T], back: f32[B, T], open: f32[B, T], rows: f32[B, T],
                                         n: i32[T]):
    plain = cumsum(x)
    back = cumsum(x, axis=T, reverse=true)
    open = cumsum(x, axis=-1, exclusive=true)
    rows = cumsum(x, axis=B)
    n = cumsum(b)
"""

SORTS = """
dim B, T, K = 3
model order(x: f32[B, T], n: i32[T]) -> (up: f32[B, T], down: f32[B, T], index: i32[B, T], first: f32[K, T],
                                         place: i32[K, T], best: f32[B, K], m: i32[T], g: f32[B, T]):
    require B >= K and T >= K
    up = sort(x)
    down = sort(x, axis=B, descending=true)
    index = argsort(x, axis=T)
    first, place = top_k(x, K, axis=B)
    best, i = top_k(x, k=K)
    m = sort(n, descending=true)
    g = grad(sum(best * best) + sum(up[:, 0]), x)
"""


def test_running_sums_add_in_the_order_of_the_axis() -> None:
    model = graphc.compile_source(CUMSUMS)
    random = np.random.default_rng(0)
    for shape in [(1, 1), (1, 37), (5, 1), (3, 100), (40, 17)]:
        x, b = random.normal(size=shape).astype("f4"), random.random(shape[1]) < 0.5
        made = model(x=x, b=b)
        assert np.array_equal(made["plain"], np.cumsum(x, 1))
        assert np.array_equal(made["rows"], np.cumsum(x, 0))
        assert np.array_equal(made["back"], np.cumsum(x[:, ::-1], 1)[:, ::-1])
        assert np.array_equal(made["open"][:, 1:], np.cumsum(x, 1)[:, :-1]) and not made["open"][:, 0].any()
        assert np.array_equal(made["n"], np.cumsum(b))


@pytest.mark.parametrize(("rows", "columns"), [(3, 3), (3, 64), (17, 5), (65, 33), (4, 1000)])
def test_sorts_are_those_of_numpy(rows: int, columns: int) -> None:
    """Few values, so that most are tied; NaN, infinities and both zeros among them."""
    model = graphc.compile_source(SORTS)
    random = np.random.default_rng(rows)
    x = random.integers(-3, 4, (rows, columns)).astype("f4")
    special = np.array([np.nan, np.inf, -np.inf, -0.0], "f4")
    x = np.where(random.random(x.shape) < 0.2, random.choice(special, x.shape), x)
    made = model(x=x, n=(n := random.integers(-(2**31), 2**31, columns).astype("i4")))
    order = np.argsort(x, 1, kind="stable")
    assert np.array_equal(made["index"], order)
    assert made["up"].tobytes() == np.take_along_axis(x, order, 1).tobytes()
    assert np.array_equal(made["down"], np.sort(x, 0)[::-1], equal_nan=True)
    assert np.array_equal(made["m"], np.sort(n)[::-1])
    assert np.array_equal(made["first"], made["down"][:3], equal_nan=True)
    assert np.array_equal(made["first"], np.take_along_axis(x, made["place"], 0), equal_nan=True)
    assert np.array_equal(made["place"][0], np.argmax(x, 0)), "the first of the greatest, and NaN before all"


def test_the_derivative_goes_where_the_elements_came_from() -> None:
    x = np.array([[3.0, 1.0, 4.0, 1.0, 5.0]] * 3, "f4")
    made = graphc.compile_source(SORTS)(x=x, n=np.zeros(5, "i4"))
    assert made["g"].tolist() == [[6.0, 1.0, 8.0, 0.0, 10.0]] * 3, "of two least ones the first"


def test_more_than_there_are_is_an_error_of_the_call() -> None:
    with pytest.raises(ValueError, match="B >= 3"):
        graphc.compile_source(SORTS)(x=np.zeros((2, 5), "f4"), n=np.zeros(5, "i4"))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_along_is_take_along_axis(axis: int) -> None:
    shape, wanted = (3, 4, 5), [3, 4, 5]
    wanted[axis] = 2
    x, index = leaf("input", "x", TensorType(F64, shape)), leaf("input", "i", TensorType(I32, tuple(wanted)))
    random = np.random.default_rng(axis)
    values = {"x": random.normal(size=shape), "i": random.integers(0, shape[axis], wanted).astype("i4")}
    found = interpret(Graph("g", (x, index), {"y": along(x, index, axis)}), values, {})[0]["y"]
    assert np.array_equal(found, np.take_along_axis(values["x"], values["i"], axis))


def test_an_empty_line_has_an_empty_order() -> None:
    """Dimensions are at least 1, but a slice may be empty."""
    text = (
        "dim N\nmodel m(x: f32[N]) -> (y: f32, z: f32):\n    y = sum(sort(x[0:N-1]))\n    z = sum(cumsum(x[0:N-1]))\n"
    )
    for size, expected in [(1, (0.0, 0.0)), (3, (3.0, 5.0))]:
        x = np.array([2.0, 1.0, 9.0], "f4")[:size]
        made = graphc.compile_source(text)(x=x)
        assert (made["y"], made["z"]) == expected


def test_axis_is_checked() -> None:
    assert make("cumsum", leaf("input", "x", TensorType(F64, (3,))), axis=0, reverse=False, exclusive=False)
    with pytest.raises(graphc.CompileError, match="axis 1 is out of range"):
        graphc.compile_source("model m(x: f32[3]) -> (y: f32[3]):\n    y = cumsum(x, axis=1)\n")
