"""bfloat16: rounding of every kind of number, and products of rounded operands against float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc.ops  # noqa: F401
from graphc.autodiff import gradients
from graphc.codegen.target import named
from graphc.graph_function import compile_graph
from graphc.ir.dims import symbol
from graphc.ir.graph import Graph
from graphc.ir.interpret import interpret
from graphc.ir.node import OPS, Node, leaf, make
from graphc.ir.types import F32, I32, TensorType, TypeMismatch
from graphc.ops.bfloat import halves, rounded
from graphc.ops.build import reduce
from graphc.ops.convolution import _cases, _result
from graphc.passes.levels import pipeline
from graphc.runtime.cpu import mismatch
from graphc.runtime.signature import Target as Needs
from graphc.signature import needed_features

UNIT = 2.0**-8  # half a unit in the last of 8 bits, of numbers just above a power of two
LEAST = 2.0**-126  # what is smaller counts as zero
EPSILON = 2.0**-23


def targets() -> list[str]:
    """Those whose code runs here: with the instruction, if there is one, and without."""
    every = [named(name) for name in ("host", "x86-64-v4", "x86-64-v3", "generic")]
    return [t.name for t in every if mismatch(Needs(t.name, t.triple, needed_features(t))) is None]


def numbers() -> Any:
    """Every bfloat16, and f32 numbers around the middle between it and the next one."""
    upper = np.arange(1 << 16, dtype=np.uint32) << 16
    lower = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)
    return (upper[:, None] | lower).ravel().view(np.float32)


def by_search(x: Any) -> Any:
    """The nearest bfloat16 of positive normal numbers, ties to even: of the two beside it, in float64."""
    below = (x.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    above = (below.view(np.uint32) + np.uint32(0x10000)).view(np.float32)
    ahead = np.where(np.isinf(above), 2.0**128, above.astype(np.float64)) - x
    behind = x.astype(np.float64) - below
    odd = below.view(np.uint32) >> 16 & 1 == 1
    return np.where((ahead < behind) | ((ahead == behind) & odd), above, below)


def test_rounding_is_to_the_nearest_and_ties_to_even() -> None:
    x = numbers()
    normal = x[np.isfinite(x) & (x >= LEAST)]
    np.testing.assert_array_equal(rounded(normal), by_search(normal))
    np.testing.assert_array_equal(rounded(-normal), -by_search(normal))
    small = x[np.abs(x) < LEAST]
    assert np.array_equal(rounded(small).view(np.uint32), small.view(np.uint32) & 0x80000000)
    assert np.all(np.isnan(rounded(x[np.isnan(x)])))
    assert np.array_equal(rounded(np.array([np.inf, -np.inf], np.float32)), [np.inf, -np.inf])


@pytest.mark.parametrize("target", targets())
def test_compiled_rounding_has_the_same_bits(target: str) -> None:
    values = {"x": numbers(), "y": np.roll(numbers(), 7)}
    x, y = (leaf("input", name, TensorType(F32, a.shape)) for name, a in values.items())
    outputs = {"one": make("bf16", x), "pair": make("bf16_pair", x, y), "pairs": make("bf16_pairs", x, axis=0)}
    graph = Graph("g", (x, y), outputs)
    found, expected = compile_graph(graph, "O2", named(target))(values, {})[0], interpret(graph, values, {})[0]
    for name in outputs:
        np.testing.assert_array_equal(found[name].view(np.uint32), expected[name].view(np.uint32), name)


def test_pairs_are_neighbours_along_an_axis() -> None:
    x = np.arange(30, dtype=np.float32).reshape(2, 5, 3)
    first, second = halves(OPS["bf16_pairs"].evaluate(x, axis=1))
    np.testing.assert_array_equal(first, x[:, ::2])
    np.testing.assert_array_equal(second[:, :2], x[:, 1::2])
    assert not second[:, 2].any()


SPECS = {
    "ik,kj->ij": ((21, 50), (50, 37)),
    "ki,kj->ij": ((51, 21), (51, 37)),
    "ik,jk->ij": ((21, 33), (37, 33)),
    "ki,jk->ji": ((33, 21), (37, 33)),
    "bik,bkj->bij": ((3, 9, 20), (3, 20, 17)),
    "bik,bjk->bij": ((3, 9, 21), (3, 17, 21)),
    "abi,abj->ij": ((5, 6, 19), (5, 6, 23)),
    "abi,baj->ij": ((6, 5, 19), (5, 6, 23)),
    "ik,k->i": ((19, 50), (50,)),
    "k,k->": ((50,), (50,)),
    "i,j->ij": ((19,), (20,)),
    "bi,bi->b": ((3, 40), (3, 40)),
    "ik,kb->bi": ((1, 50), (50, 37)),
}


def operands(spec: str, seed: int = 0, scale: float = 1.0) -> tuple[Graph, dict[str, Any]]:
    random = np.random.default_rng(seed)
    values = {n: (scale * random.standard_normal(s)).astype(np.float32) for n, s in zip("ab", SPECS[spec], strict=True)}
    a, b = (leaf("input", n, TensorType(F32, v.shape)) for n, v in values.items())
    return Graph("g", (a, b), {"y": make("contract", a, b, spec=spec, elements="bf16")}), values


def bounds(spec: str, a: Any, b: Any) -> tuple[Any, Any, Any]:
    """The exact sum of products of rounded operands; how far an f32 sum may be from it, and from that of the operands.

    A sum of K products has at most K roundings of relative size 2^-24 each way; products and sums below 2^-126 may be
    taken for 0.  Two roundings to 8 bits change a product by at most 2 UNIT + UNIT^2.
    """
    exact = np.einsum(spec, *(rounded(x).astype(np.float64) for x in (a, b)))
    size = np.einsum(spec, *(np.abs(x).astype(np.float64) * (1 + UNIT) for x in (a, b)))
    terms = np.einsum(spec, np.ones_like(a), np.ones_like(b)).max() + 1
    slack = terms * (EPSILON * size + 2 * LEAST)
    return exact, slack, slack + (2 * UNIT + UNIT**2) * size


@pytest.mark.parametrize("target", targets())
@pytest.mark.parametrize("spec", SPECS)
def test_products_of_rounded_operands(spec: str, target: str) -> None:
    graph, values = operands(spec)
    exact, slack, all_slack = bounds(spec, *values.values())
    plain = np.einsum(spec, *(x.astype(np.float64) for x in values.values()))
    for level in ("O0", "O2"):
        y = compile_graph(graph, level, named(target))(values, {})[0]["y"]
        assert np.all(np.abs(y - exact) <= slack), level
        assert np.all(np.abs(y - plain) <= all_slack), level
    assert np.all(np.abs(interpret(graph, values, {})[0]["y"] - exact) <= slack)
    assert np.abs(y - plain).max() > slack.max(), "nothing was rounded"


@pytest.mark.parametrize("spec", ["ik,kj->ij", "ki,kj->ij", "abi,baj->ij"])
def test_the_bits_are_those_of_the_instruction_on_every_target(spec: str) -> None:
    graph, values = operands(spec)
    results = [compile_graph(graph, "O2", named(name))(values, {})[0]["y"] for name in targets()]
    assert all(np.array_equal(y, results[0]) for y in results)


@pytest.mark.parametrize("target", targets())
def test_small_numbers(target: str) -> None:
    """Operands around 2^-126, products and sums far below: zeros or denormals, by what the machine does."""
    for scale in (2.0**-126, 2.0**-66, 2.0**-63):
        graph, values = operands("ik,kj->ij", scale=scale)
        exact, slack, _ = bounds("ik,kj->ij", *values.values())
        assert np.all(np.abs(compile_graph(graph, "O2", named(target))(values, {})[0]["y"] - exact) <= slack)


@pytest.mark.parametrize("target", targets())
def test_infinities_and_nan_stay(target: str) -> None:
    graph, values = operands("ik,kj->ij")
    values["a"][0, 0], values["a"][3, 1], values["b"][2, 5] = np.inf, np.nan, -np.inf
    with np.errstate(invalid="ignore"):
        expected = interpret(graph, values, {})[0]["y"]
    y = compile_graph(graph, "O2", named(target))(values, {})[0]["y"]
    np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))
    np.testing.assert_array_equal(y[np.isinf(expected)], expected[np.isinf(expected)])


@pytest.mark.parametrize("size", [1, 2, 3, 8, 31])
def test_sums_over_a_size_of_the_call(size: int) -> None:
    rows = symbol("B")
    x, y = leaf("input", "x", TensorType(F32, (rows, 20))), leaf("input", "y", TensorType(F32, (rows, 40)))
    graph = Graph("g", (x, y), {"z": make("contract", x, y, spec="bi,bj->ij", elements="bf16")})
    random = np.random.default_rng(size)
    values = {n: random.standard_normal((size, w)).astype(np.float32) for n, w in (("x", 20), ("y", 40))}
    exact, slack, _ = bounds("bi,bj->ij", *values.values())
    for target in targets():
        found = compile_graph(graph, "O2", named(target))(values, {"B": size})[0]["z"]
        assert np.all(np.abs(found - exact) <= slack)


def test_the_derivative_is_made_of_products_of_the_same_kind() -> None:
    graph, values = operands("ik,kj->ij")
    y = graph.outputs["y"]
    r = leaf("input", "r", y.type)
    da, db = gradients(reduce("sum", r * y, 0, 1), list(graph.leaves))
    values["r"] = np.random.default_rng(1).standard_normal(y.shape).astype(np.float32)
    products = [x for x in Graph("d", (*graph.leaves, r), {"a": da, "b": db}).nodes() if x.op == "contract"]
    assert [x.attr("elements") for x in products] == ["bf16", "bf16"]
    found = compile_graph(Graph("d", (*graph.leaves, r), {"a": da, "b": db}))(values, {})[0]
    for name, spec, others in (("a", "ij,kj->ik", "rb"), ("b", "ik,ij->kj", "ar")):
        exact, slack, _ = bounds(spec, *(values[other] for other in others))
        assert np.all(np.abs(found[name] - exact) <= slack)


def convolutions() -> list[tuple[str, Any, Any, dict[str, Any]]]:
    """(op, shapes of both operands, attributes) of a convolution and its gradients: strides, padding, groups .."""
    found = []
    for size in (1, 2, 17):
        for x, w, attrs in _cases(size):
            y = _result(x, w, attrs)
            found += [("conv", x, w, attrs), ("conv_data", y, w, {"size": x[1:-1], **attrs})]
            found.append(("conv_weights", x, y, {"size": w[:-2], **attrs}))
    return found


@pytest.mark.parametrize("target", targets())
@pytest.mark.parametrize("op", ["conv", "conv_data", "conv_weights"])
def test_convolutions_of_rounded_operands(op: str, target: str) -> None:
    leaves, outputs, values, expected = [], {}, {}, {}
    random = np.random.default_rng(0)
    for number, (name, a, b, attrs) in enumerate(convolutions()):
        if name != op:
            continue
        arrays = [random.standard_normal(shape).astype(np.float32) for shape in (a, b)]
        pair = [leaf("input", f"{x}{number}", TensorType(F32, v.shape)) for x, v in zip("ab", arrays, strict=True)]
        leaves += pair
        values |= {x.attr("name"): v for x, v in zip(pair, arrays, strict=True)}
        key = f"y{number}"
        outputs[key] = make(op, *pair, **attrs, elements="bf16")
        sums = OPS[op].sums
        exact = sums(*(rounded(v).astype(np.float64) for v in arrays), **attrs)
        size = sums(*(np.abs(rounded(v)).astype(np.float64) for v in arrays), **attrs)
        terms = sums(*(np.ones_like(v) for v in arrays), **attrs) + 1
        expected[key] = exact, terms * (EPSILON * size + 2 * LEAST)
    graph = Graph("g", tuple(leaves), outputs)
    for level in ("O0", "O2"):
        found = compile_graph(graph, level, named(target))(values, {})[0]
        for key, (exact, slack) in expected.items():
            assert np.all(np.abs(found[key] - exact) <= slack), (level, key)


def test_the_gradients_of_a_convolution_round_as_well() -> None:
    x, w = leaf("input", "x", TensorType(F32, (2, 7, 4))), leaf("input", "w", TensorType(F32, (3, 4, 6)))
    attrs = {"stride": (2,), "low": (1,), "high": (0,), "dilation": (1,), "groups": 1}
    y = make("conv", x, w, **attrs, elements="bf16")
    dx, dw = gradients(reduce("sum", y * y, 0, 1, 2), [x, w])
    products = [node for node in Graph("d", (x, w), {"a": dx, "b": dw}).nodes() if node.op.startswith("conv")]
    assert [node.op for node in products] == ["conv", "conv_data", "conv_weights"]
    assert [node.attr("elements") for node in products] == ["bf16"] * 3


def test_wrong_operands_are_refused() -> None:
    f, i = leaf("input", "f", TensorType(F32, (4, 4))), leaf("input", "i", TensorType(I32, (4, 4)))
    wrong = [
        lambda: make("contract", f, f, spec="ik,kj->ij", elements="bf17"),
        lambda: make("contract", i, i, spec="ik,kj->ij", elements="bf16"),
        lambda: make("contract", f, f, spec="ik,kj->ij", elements="bf16_pairs"),
        lambda: make("conv", f, f, stride=(), low=(), high=(), dilation=(), groups=1, elements="bf16_pairs"),
        lambda: make("bf16_pairs", i, axis=0),
        lambda: make("bf16_pairs", f, axis=2),
        lambda: make("bf16_pair", f, i),
    ]
    for make_it in wrong:
        with pytest.raises(TypeMismatch):
            make_it()


def test_a_tensor_that_several_products_read_is_rounded_once() -> None:
    x, v, w = (leaf("input", name, TensorType(F32, (64, 64))) for name in "xvw")

    def product(a: Node, b: Node) -> Node:
        return make("contract", a, b, spec="ik,kj->ij", elements="bf16")

    graph = pipeline("O2").run(Graph("g", (x, v, w), {"y": product(x, v), "z": product(x, w)}))
    assert sum(node.op == "bf16_pairs" for node in graph.nodes()) == 3
