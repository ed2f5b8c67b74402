"""verify: every broken invariant is found and named."""

from __future__ import annotations

from typing import Any

import pytest

import graphc.ops  # noqa: F401  fills the registry
from graphc.ir.dims import symbol
from graphc.ir.graph import Graph
from graphc.ir.node import Node, leaf, make
from graphc.ir.types import F32, TensorType
from graphc.ir.verify import VerifyError, verify

V = TensorType(F32, (4,))
X = leaf("input", "x", V)
W = leaf("param", "w", V)


def forge(op: str, inputs: tuple[Node, ...], type: Any, **attrs: Any) -> Node:
    """A node that `make` would refuse."""
    node: Node = object.__new__(Node)
    for name, value in (("op", op), ("inputs", inputs), ("attrs", tuple(sorted(attrs.items()))), ("type", type)):
        object.__setattr__(node, name, value)
    return node


def test_valid_graphs_pass() -> None:
    verify(Graph("g", (X, W), {"y": make("exp", X)}, {W: W - X}))
    verify(Graph("empty", (), {}))


@pytest.mark.parametrize(
    ("message", "graph"),
    [
        ("the type is f32, but exp infers f32[4]", Graph("g", (X,), {"y": forge("exp", (X,), TensorType(F32))})),
        ("works on float elements", Graph("g", (X,), {"y": forge("exp", (make("isnan", X),), V)})),
        ("there is no op nope", Graph("g", (X,), {"y": forge("nope", (X,), V)})),
        ("the leaf is not declared", Graph("g", (), {"y": make("exp", X)})),
        ("two leaves are input x", Graph("g", (X, leaf("input", "x", TensorType(F32))), {"y": X})),
        ("a declared leaf is no leaf", Graph("g", (make("exp", X),), {"y": X})),
        ("a leaf of role input cannot be updated", Graph("g", (X,), {"y": X}, {X: make("exp", X)})),
        ("the updated leaf is not declared", Graph("g", (X,), {"y": X}, {W: X})),
        ("w: f32[4] is given a f32", Graph("g", (X, W), {"y": X}, {W: make("reduce_sum", X, axes=(0,))})),
        ("attribute axes holds a list", Graph("g", (X,), {"y": forge("reduce_sum", (X,), TensorType(F32), axes=[0])})),
    ],
)
def test_broken_invariants(message: str, graph: Graph) -> None:
    with pytest.raises(VerifyError) as caught:
        verify(graph)
    assert message in str(caught.value)
    assert str(caught.value).startswith("graph g: ")


def test_a_name_is_one_dimension() -> None:
    a, b = leaf("input", "a", TensorType(F32, (symbol("B"),))), leaf("input", "b", TensorType(F32, (symbol("B", 2),)))
    with pytest.raises(VerifyError, match="dimension B has two ranges"):
        verify(Graph("g", (a, b), {"a": a, "b": b}))


def test_inner_graphs_are_verified() -> None:
    a = leaf("input", "a", V)
    bad = Graph("body", (a,), {"r": forge("isnan", (a,), V)})
    with pytest.raises(VerifyError, match="graph body: the type is f32"):
        verify(Graph("g", (X,), {"y": make("fused", X, body=bad)}))


def test_an_output_is_a_tensor() -> None:
    a = leaf("input", "a", V)
    group = make("fused", X, body=Graph("body", (a,), {"r": -a, "s": make("exp", a)}))
    with pytest.raises(VerifyError, match="output y is not a tensor"):
        verify(Graph("g", (X,), {"y": group}))


def test_a_long_chain() -> None:
    y = X
    for _ in range(20_000):
        y = make("tanh", y)
    verify(Graph("g", (X,), {"y": y}))
