"""Reverse mode over whole graphs: paths, sharing, depth, groups, nesting."""

from __future__ import annotations

import time

import numpy as np
import pytest

from graphc.autodiff import backward, gradients
from graphc.ir.graph import Graph
from graphc.ir.interpret import interpret
from graphc.ir.node import Node, constant, leaf, make, postorder
from graphc.ir.types import F64, I32, TensorType, TypeMismatch
from graphc.ops.build import cast, reduce

SCALAR, VECTOR = TensorType(F64), TensorType(F64, (3,))


def scalar(name: str) -> Node:
    return leaf("input", name, SCALAR)


def run(node: Node, **values: float) -> float:
    leaves = tuple(x for x in postorder([node]) if x.is_leaf)
    return float(interpret(Graph("g", leaves, {"y": node}), {k: np.array(v) for k, v in values.items()}, {})[0]["y"])


def test_a_value_used_twice_gets_the_sum() -> None:
    x = scalar("x")
    (g,) = gradients(x * x + make("exp", x), [x])
    assert run(g, x=2.0) == pytest.approx(4 + np.exp(2))


def test_what_y_does_not_depend_on_gets_zeros_of_its_type() -> None:
    x, z = scalar("x"), leaf("input", "z", VECTOR)
    found = gradients(x * x, [z])[0]
    assert (found.op, found.attr("value"), found.type) == ("const", 0.0, VECTOR)


def test_stopped_gradients_and_integers_pass_nothing() -> None:
    x = scalar("x")
    through_integer = cast(cast(x, I32), F64)
    (g,) = gradients(make("stop_gradient", x * x) + through_integer, [x])
    assert g.op == "const" and g.attr("value") == 0.0


def test_y_is_its_own_derivative_and_duplicates_are_allowed() -> None:
    x = scalar("x")
    y = x * x
    ones, g, again = gradients(y, [y, x, x])
    assert ones.attr("value") == 1.0 and g is again


def test_an_intermediate_value_can_be_differentiated_by_and_does_not_hide_what_is_before_it() -> None:
    x = scalar("x")
    h = make("tanh", x)
    by_h, by_x = gradients(h * h, [h, x])
    assert run(by_h, x=0.5) == pytest.approx(2 * np.tanh(0.5))
    assert run(by_x, x=0.5) == pytest.approx(2 * np.tanh(0.5) * (1 - np.tanh(0.5) ** 2))


def test_no_cotangent_is_made_beside_the_path() -> None:
    """The other factor's logarithm is not differentiated: no division arises."""
    x, z = scalar("x"), scalar("z")
    (g,) = gradients(x * make("log", z), [x])
    assert {node.op for node in postorder([g])} == {"leaf", "log", "const", "mul"}


def test_backward_gives_the_cotangents_of_all_values_between() -> None:
    x = leaf("input", "x", VECTOR)
    h = make("exp", x)
    seed = leaf("input", "seed", VECTOR)
    cotangents = backward(h, seed)
    assert set(cotangents) == {h, x} and cotangents[h] is seed
    with pytest.raises(TypeMismatch):
        backward(h, scalar("s"))


def test_only_float_scalars_have_gradients_and_only_by_floats() -> None:
    v, n = leaf("input", "v", VECTOR), leaf("input", "n", TensorType(I32))
    with pytest.raises(TypeMismatch, match="scalar"):
        gradients(v, [v])
    with pytest.raises(TypeMismatch, match="i32") as caught:
        gradients(reduce("sum", v, 0), [v, n])
    assert caught.value.operands == (2,)  # 0 is y


def test_derivatives_nest() -> None:
    x = scalar("x")
    y = make("sin", x)
    for expected in (np.cos, lambda v: -np.sin(v), lambda v: -np.cos(v), np.sin):
        (y,) = gradients(y, [x])
        assert run(y, x=0.7) == pytest.approx(expected(0.7))


def test_a_long_chain_takes_linear_time_and_no_recursion() -> None:
    x = y = scalar("x")
    for _ in range(20_000):
        y = y * 0.9999 + x
    start = time.process_time()
    (g,) = gradients(y, [x])
    assert len(postorder([g])) < 100_000
    assert time.process_time() - start < 20


def test_a_doubling_chain_stays_small() -> None:
    x = y = scalar("x")
    for _ in range(64):
        y = y + y
    (g,) = gradients(y, [x])
    assert len(postorder([g])) < 200
    assert run(g, x=1.0) == 2.0**64


def test_a_fused_group_is_differentiated_by_its_body() -> None:
    a, b = leaf("input", "a0", VECTOR), leaf("input", "a1", VECTOR)
    inner = make("fused", a, body=Graph("inner", (a,), {"r0": make("exp", a)}))
    body = Graph("body", (a, b), {"r0": inner * b, "r1": a + b})
    x, y = leaf("input", "x", VECTOR), leaf("input", "y", VECTOR)
    group = make("fused", x, y, body=body)
    total = reduce("sum", make("item", group, index=0) * make("item", group, index=1), 0)
    plain = reduce("sum", make("exp", x) * y * (x + y), 0)
    assert gradients(total, [x, y]) == gradients(plain, [x, y])


def test_constants_of_the_seed_have_the_type_of_y() -> None:
    x = leaf("input", "x", TensorType(F64))
    assert backward(x, constant(1.0, x.type))[x].type == x.type


def test_parts_of_a_value_flow_back_side_by_side() -> None:
    x = leaf("input", "x", TensorType(F64, (2, 6)))
    parts = [make("slice", x, start=(0, 2 * i), stop=(2, 2 * i + 2), step=(1, 1)) for i in range(3)]
    y = reduce("sum", parts[2] * parts[0] * make("exp", parts[1]), 0, 1)
    (g,) = gradients(y, [x])
    assert g.op == "concat"
    rng = np.random.default_rng(0)
    value, d = rng.normal(size=(2, 6)), rng.normal(size=(2, 6))
    graph = Graph("g", (x,), {"y": y, "g": g})
    high, low = (float(interpret(graph, {"x": value + e * d}, {})[0]["y"]) for e in (1e-6, -1e-6))
    assert (interpret(graph, {"x": value}, {})[0]["g"] * d).sum() == pytest.approx((high - low) / 2e-6, rel=1e-7)


def test_parts_that_leave_a_gap_are_added() -> None:
    x = leaf("input", "x", TensorType(F64, (6,)))
    a, b = (make("slice", x, start=(i,), stop=(i + 2,), step=(1,)) for i in (0, 3))
    (g,) = gradients(reduce("sum", a * b, 0), [x])
    assert g.op == "add"
