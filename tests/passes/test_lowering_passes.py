"""decompose, drop-gradient-marks, normalise-contract and sink-movement."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

import graphc.ops  # noqa: F401  fills the registry
from graphc.ir.axes import reshape_groups
from graphc.ir.dims import symbol
from graphc.ir.graph import Graph
from graphc.ir.interpret import interpret
from graphc.ir.node import OPS, Node, leaf, make
from graphc.ir.types import F32, F64, TensorType
from graphc.ops.contraction import Contract, parse
from graphc.ops.op import Composite
from graphc.passes.decompose import decompose, drop_gradient_marks
from graphc.passes.levels import pipeline
from graphc.passes.normalise_contract import contract_axes, label_sizes, normalise_contract
from graphc.passes.sink_movement import sink_movement

B, T = symbol("B"), symbol("T")
SIZES = {"B": 3, "T": 4}


def graph_of(node: Node) -> Graph:
    leaves = tuple(x for x in Graph("g", (), {"y": node}).nodes() if x.is_leaf)
    return Graph("g", leaves, {"y": node})


def random_values(graph: Graph) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    values: dict[str, Any] = {}
    for x in graph.leaves:
        shape = tuple(d if isinstance(d, int) else SIZES[str(d)] for d in x.shape)
        kind = rng.integers(0, 3, shape) if x.dtype.is_integer else rng.standard_normal(shape)
        values[x.attr("name")] = kind.astype(x.dtype.numpy)
    return values


def assert_equal(before: Graph, after: Graph, tolerance: float = 1e-12) -> None:
    values = random_values(before)
    a, b = (interpret(g, values, SIZES)[0]["y"] for g in (before, after))
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def ops(graph: Graph) -> Counter[str]:
    return Counter(node.op for node in graph.nodes())


COMPOSITES = sorted(name for name, op in OPS.items() if isinstance(op, Composite))


@pytest.mark.parametrize("name", COMPOSITES)
def test_decompose_leaves_primitives(name: str) -> None:
    for sample in OPS[name].samples(5):
        operands = [leaf("input", f"x{i}", t) for i, t in enumerate(sample.types)]
        graph = graph_of(make(name, *operands, **sample.attrs))
        result = decompose(graph)
        assert not any(isinstance(node.definition, Composite) for node in result.nodes())
        assert_equal(graph, result, 1e-9)


def test_drop_gradient_marks() -> None:
    x = leaf("input", "x", TensorType(F32, (4,)))
    marked = make("stop_gradient", make("exp", make("stop_gradient", x)))
    dy = leaf("input", "dy", x.type)
    custom = make("custom_vjp", marked, x, rule=Graph("rule", (dy,), {"dx": dy}), count=1)
    assert drop_gradient_marks(graph_of(make("softmax", custom, axis=0))).outputs["y"] is make(
        "softmax", make("exp", x), axis=0
    )


def contractions() -> list[tuple[str, tuple[Any, ...], tuple[Any, ...]]]:
    cases = [(s.attrs["spec"], s.types[0].shape, s.types[1].shape) for s in Contract().samples(4)]
    cases += [
        ("mk,kn->mn", (1, 5), (5, 7)), ("mk,kn->nm", (4, 5), (5, 1)), ("mk,kn->mn", (4, 1), (1, 7)),
        ("bmk,bkn->bnm", (1, 2, 3), (1, 3, 4)), ("mk,nk->mn", (B, 5), (7, 5)), ("k,nk->n", (5,), (7, 5)),
        ("kb,bk->b", (5, 3), (3, 5)), ("b,b->b", (3,), (3,)), ("k,->k", (3,), ()), ("ba,ab->ab", (2, 3), (3, 2)),
        ("kba,ka->ab", (2, 3, 4), (2, 4)), ("mk,k->m", (B, T), (T,)), ("bmk,bkn->mnb", (2, 3, 4), (2, 4, 5)),
        ("bmk,ckbn->nbmc", (2, 3, 4), (6, 4, 2, 5)), ("bcmk,bckn->bnmc", (2, 6, 3, 4), (2, 6, 4, 5)),
    ]  # fmt: skip
    return cases


@pytest.mark.parametrize(("spec", "a", "b"), contractions())
def test_contractions_have_m_n_and_k(spec: str, a: tuple[Any, ...], b: tuple[Any, ...]) -> None:
    x, y = leaf("input", "x", TensorType(F64, a)), leaf("input", "y", TensorType(F64, b))
    graph = graph_of(make("contract", x, y, spec=spec))
    result = normalise_contract(graph)
    for node in result.nodes():
        if node.op == "contract":
            axes = contract_axes(node.attr("spec"))
            assert axes.m
            assert axes.n
            assert axes.k
            assert parse(node.attr("spec"))[2][-1] not in axes.batch
            assert 1 not in label_sizes(node).values()
    assert_equal(graph, result)
    assert_equal(graph, pipeline("O2").run(graph))


def test_a_matrix_product_stays() -> None:
    x, w = leaf("input", "x", TensorType(F32, (B, 784))), leaf("param", "w", TensorType(F32, (784, 10)))
    graph = graph_of(make("contract", x, w, spec="mk,kn->mn"))
    assert normalise_contract(graph) is graph


def test_contract_axes() -> None:
    axes = contract_axes("bhqd,bhkd->bhqk")
    assert (axes.batch, axes.m, axes.n, axes.k) == ("bh", "q", "k", "d")


@pytest.mark.parametrize(
    ("before", "after", "groups"),
    [
        ((2, 3), (6,), [((0, 1), (0,))]),
        ((B, 2, 3), (B, 6), [((0,), (0,)), ((1, 2), (1,))]),
        ((B, T, 5), (B * T, 5), [((0, 1), (0,)), ((2,), (1,))]),
        ((B * T, 5), (B, T, 5), [((0,), (0, 1)), ((1,), (2,))]),
        ((4, 6), (3, 8), [((0, 1), (0, 1))]),
        ((2, 1, 3), (2, 3), [((0,), (0,)), ((1,), ()), ((2,), (1,))]),
        ((3,), (1, 3, 1), [((), (0,)), ((0,), (1,)), ((), (2,))]),
        ((B, T), (T, B), None),
        ((), (), []),
    ],
)
def test_reshape_groups(before: Any, after: Any, groups: Any) -> None:
    assert reshape_groups(before, after) == groups


def test_a_reshape_sinks_below_an_epilogue() -> None:
    x, w = leaf("input", "x", TensorType(F64, (B, T, 6))), leaf("param", "w", TensorType(F64, (6, 5)))
    b = leaf("param", "b", TensorType(F64, (5,)))
    flat = make("reshape", x, shape=(B * T, 6))
    h = make("reshape", make("contract", flat, w, spec="mk,kn->mn"), shape=(B, T, 5))
    y = make("relu", h + make("broadcast", b, shape=(B, T, 5), axes=(2,))) * 2.0
    graph = graph_of(y)
    result = sink_movement(graph)
    assert result.outputs["y"].op == "reshape"
    assert ops(result) == ops(graph)
    assert result.outputs["y"].inputs[0].shape == (B * T, 5)
    assert_equal(graph, result)


def test_transposes_meet_and_vanish() -> None:
    x = leaf("input", "x", TensorType(F64, (B, 6)))
    y = make("transpose", make("exp", make("tanh", make("transpose", make("sin", x), perm=(1, 0)))), perm=(1, 0))
    assert sink_movement(graph_of(y)).outputs["y"] is make("exp", make("tanh", make("sin", x)))


def test_two_equal_movements_become_one() -> None:
    x, z = leaf("input", "x", TensorType(F64, (B, 6))), leaf("input", "z", TensorType(F64, (B, 6)))
    a, b = (make("transpose", make("exp", v), perm=(1, 0)) for v in (x, z))
    assert ops(sink_movement(graph_of(a * b)))["transpose"] == 1


def heads() -> Node:
    p, v = leaf("input", "p", TensorType(F64, (B, 2, T, T))), leaf("input", "v", TensorType(F64, (B, 2, T, 4)))
    return make("contract", p, v, spec="bhqk,bhkd->bhqd")


def test_a_transpose_behind_a_contraction_goes_into_it() -> None:
    graph = graph_of(make("reshape", make("transpose", heads(), perm=(0, 2, 1, 3)), shape=(B, T, 8)))
    result = sink_movement(graph)
    assert ops(result)["transpose"] == 0
    assert [x.attr("spec") for x in result.nodes() if x.op == "contract"] == ["bhqk,bhkd->bqhd"]
    assert_equal(graph, result)


def test_a_contraction_that_others_read_is_not_done_twice() -> None:
    h = heads()
    y = make("transpose", h, perm=(0, 2, 1, 3))
    leaves = tuple(x for x in graph_of(y).leaves)
    for graph in (Graph("g", leaves, {"y": y, "z": make("exp", h)}), Graph("g", leaves, {"y": y, "h": h})):
        assert sink_movement(graph) is graph
    batch_last = graph_of(make("transpose", h, perm=(1, 2, 3, 0)))
    assert sink_movement(batch_last) is batch_last


@pytest.mark.parametrize("perm", [(1, 0, 2), (0, 2, 1)])
def test_a_movement_stays_where_nothing_is_gained(perm: tuple[int, ...]) -> None:
    x, z = leaf("input", "x", TensorType(F64, (2, 2, 2))), leaf("input", "z", TensorType(F64, (2, 2, 2)))
    of_a_leaf = graph_of(make("exp", make("transpose", x, perm=perm)))
    assert sink_movement(of_a_leaf) is of_a_leaf
    with_another = graph_of(make("transpose", make("exp", x), perm=perm) + z)
    assert sink_movement(with_another) is with_another


def test_a_broadcast_that_splits_stays() -> None:
    """The bias runs over an axis that the reshape merges: it has no shape before it."""
    x, b = leaf("input", "x", TensorType(F64, (4, 6))), leaf("param", "b", TensorType(F64, (2,)))
    y = make("reshape", make("exp", x), shape=(2, 12)) + make("broadcast", b, shape=(2, 12), axes=(0,))
    graph = graph_of(y)
    assert sink_movement(graph) is graph
