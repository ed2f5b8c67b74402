"""The rewrite driver: fixed points, sharing, budgets, and long chains without recursion."""

from __future__ import annotations

import pytest

import graphc.ops  # noqa: F401  fills the registry
from graphc.ir.graph import Graph
from graphc.ir.node import Node, leaf, make
from graphc.ir.rewrite import Rewriter, rewrite, rule
from graphc.ir.types import F32, TensorType

X = leaf("input", "x", TensorType(F32, (4,)))


def graph(**outputs: Node) -> Graph:
    return Graph("g", (X,), outputs)


@rule("exp")
def exp_to_tanh(node: Node) -> Node | None:
    """exp(x) -> tanh(x)"""
    return make("tanh", *node.inputs)


@rule("tanh")
def tanh_tanh(node: Node) -> Node | None:
    """tanh(tanh(x)) -> tanh(x)"""
    (x,) = node.inputs
    return x if x.op == "tanh" else None


@rule("tanh")
def tanh_to_exp(node: Node) -> Node | None:
    """tanh(x) -> exp(x)"""
    return make("exp", *node.inputs)


@rule("neg")
def grow(node: Node) -> Node | None:
    """-x -> -(-x)"""
    return make("neg", node)


@rule("add", fast_math=True)
def unsafe(node: Node) -> Node | None:
    """x + y -> x"""
    return node.inputs[0]


def test_no_match_gives_the_same_graph() -> None:
    g = graph(y=make("sin", X))
    assert rewrite(g, (exp_to_tanh, tanh_tanh)) is g


def test_a_result_is_rewritten_again() -> None:
    y = make("exp", make("sin", make("exp", make("exp", X))))
    expected = make("tanh", make("sin", make("tanh", X)))
    assert rewrite(graph(y=y), (exp_to_tanh, tanh_tanh)).outputs["y"] is expected


def test_shared_nodes_are_rewritten_once() -> None:
    y: Node = make("exp", X)
    for _ in range(64):
        y = y + y
    rewriter = Rewriter((exp_to_tanh,), 100)
    rewriter.normal_form(y)
    assert rewriter.applied == {"exp-to-tanh": 1}


def test_fast_math_is_off_by_default() -> None:
    g = graph(y=X + make("exp", X))
    assert rewrite(g, (unsafe,)) is g
    assert rewrite(g, (unsafe,), fast_math=True).outputs["y"] is X


def test_budget() -> None:
    y: Node = X
    for _ in range(10):
        y = make("sin", make("exp", y))
    rewriter = Rewriter((exp_to_tanh,), 4)
    ops = []
    node = rewriter.normal_form(y)
    while node is not X:
        ops.append(node.op)
        node = node.inputs[0]
    assert ops.count("tanh") == 4
    assert ops.count("exp") == 6
    assert rewriter.stopped_at == "exp-to-tanh"


def test_rules_that_undo_each_other_end() -> None:
    rewriter = Rewriter((exp_to_tanh, tanh_to_exp), 1000)
    assert rewriter.normal_form(make("sin", make("exp", X))).op == "sin"
    assert "circle" in rewriter.stopped_at


def test_a_rule_that_grows_ends() -> None:
    rewriter = Rewriter((grow,), 1000)
    rewriter.normal_form(make("neg", X))
    assert rewriter.stopped_at


def test_a_rule_must_keep_the_type() -> None:
    @rule("exp")
    def wrong(node: Node) -> Node | None:
        """exp(x) -> isnan(x)"""
        return make("isnan", *node.inputs)

    with pytest.raises(ValueError, match=r"rule wrong turns f32\[4\] into bool\[4\]"):
        rewrite(graph(y=make("exp", X)), (wrong,))


def test_a_rule_needs_an_equation() -> None:
    with pytest.raises(ValueError, match="no equation"):
        rule("exp")(lambda node: None)


def test_equation_and_name() -> None:
    assert (tanh_tanh.name, tanh_tanh.equation) == ("tanh-tanh", "tanh(tanh(x)) -> tanh(x)")


def test_a_long_chain() -> None:
    y: Node = X
    for i in range(20_000):
        y = make("exp" if i % 2 else "sin", y)
    result = rewrite(graph(y=y), (exp_to_tanh, tanh_tanh))
    assert len(result.nodes()) == 20_001
    assert result.outputs["y"].op == "tanh"
