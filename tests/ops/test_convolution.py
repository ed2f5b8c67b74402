"""Convolution against its definition, over many attributes; its type errors; and its epilogues."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc.ops  # noqa: F401
from graphc.autodiff import gradients
from graphc.graph_function import compile_graph
from graphc.ir.dims import symbol
from graphc.ir.graph import Graph
from graphc.ir.interpret import interpret
from graphc.ir.node import OPS, Node, leaf, make
from graphc.ir.types import F32, F64, I32, DType, TensorType, TypeMismatch
from graphc.ops.build import broadcast, reduce

Case = tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]
B = symbol("B")
PLAIN = {"stride": (1,), "low": (0,), "high": (0,), "dilation": (1,), "groups": 1}


def selection(n: int, count: int, size: int, stride: int, low: int, dilation: int) -> Any:
    """meets[i, o, k]: whether element i lies in window o at tap k."""
    i, o, k = np.ogrid[:n, :count, :size]
    return (i + low == o * stride + k * dilation).astype(float)


def dense(w: Any, groups: int) -> Any:
    """Grouped weights as those of all channels, zeros between groups."""
    inputs, outputs = w.shape[-2], w.shape[-1] // groups
    full = np.zeros((*w.shape[:-2], inputs * groups, w.shape[-1]))
    for g in range(groups):
        rows, columns = slice(g * inputs, (g + 1) * inputs), slice(g * outputs, (g + 1) * outputs)
        full[..., rows, columns] = w[..., columns]
    return full


def expected(x: Any, w: Any, dy: Any, attrs: dict[str, Any]) -> dict[str, Any]:
    """The three operations by the definition: sums over everything, with the selections saying what meets."""
    rank, groups = len(attrs["stride"]), attrs["groups"]
    sizes = zip(x.shape[1:], dy.shape[1:], w.shape, attrs["stride"], attrs["low"], attrs["dilation"], strict=False)
    meets = [selection(*size) for size in list(sizes)[:rank]]
    i, o, k = "abd"[:rank], "opq"[:rank], "klm"[:rank]
    terms = [f"n{i}c", f"{k}cf", f"n{o}f", *(f"{u}{v}{t}" for u, v, t in zip(i, o, k, strict=True))]
    full = dense(w, groups)

    def total(without: int, operands: list[Any]) -> Any:
        given = [t for position, t in enumerate(terms) if position != without]
        return np.einsum(f"{','.join(given)}->{terms[without]}", *operands, *meets, optimize=True)

    dw = total(1, [x, dy])
    inputs, outputs = w.shape[-2], w.shape[-1] // groups
    parts = [dw[..., g * inputs : (g + 1) * inputs, g * outputs : (g + 1) * outputs] for g in range(groups)]
    return {"y": total(2, [x, full]), "dx": total(0, [full, dy]), "dw": np.concatenate(parts, -1)}


def cases(count: int) -> list[Case]:
    """Images, weights and attributes: asymmetric padding, dropped tails, dilation, groups, kernels beyond a side."""
    random = np.random.default_rng(5)
    found: list[Case] = []
    while len(found) < count:
        rank = int(random.choice([1, 2, 2, 2, 3]))
        length = tuple(int(v) for v in random.integers(1, 9 if rank < 3 else 5, rank))
        size = tuple(int(v) for v in random.integers(1, 6 if rank < 3 else 4, rank))
        stride, dilation = (tuple(int(v) for v in random.integers(1, 4, rank)) for _ in range(2))
        low, high = (tuple(int(v) for v in random.integers(0, 4, rank)) for _ in range(2))
        groups = int(random.choice([1, 1, 2, 3]))
        inputs, outputs = (int(random.choice([1, 3, 16, 17])) for _ in range(2))
        if len(found) % 5 == 0:
            groups, inputs, outputs = groups * inputs, 1, 1  # depthwise
        x = (2, *length, inputs * groups)
        attrs = {"stride": stride, "low": low, "high": high, "dilation": dilation, "groups": groups}
        try:
            OPS["conv"].infer(TensorType(F32, x), TensorType(F32, w := (*size, inputs, outputs * groups)), **attrs)
        except TypeMismatch:
            continue
        found.append((x, w, attrs))
    return found


SPECIAL: list[Case] = [  # matrix products, vectors of several pixels, weights in panels, sums turned round, long sums
    ((2, 5, 4, 3), (1, 1, 3, 17), {"stride": (1, 1), "low": (0, 0), "high": (0, 0), "dilation": (3, 1), "groups": 1}),
    ((2, 3, 4, 16), (3, 4, 16, 5), {"stride": (2, 1), "low": (0, 0), "high": (0, 0), "dilation": (1, 1), "groups": 1}),
    ((2, 9, 28, 1), (5, 5, 1, 6), {"stride": (1, 1), "low": (2, 2), "high": (2, 2), "dilation": (1, 1), "groups": 1}),
    (
        (2, 3, 4, 128),
        (3, 3, 128, 128),
        {"stride": (1, 1), "low": (1, 1), "high": (1, 1), "dilation": (1, 1), "groups": 1},
    ),
    ((2, 6, 8, 16), (3, 3, 16, 16), {"stride": (2, 1), "low": (1, 1), "high": (1, 1), "dilation": (2, 1), "groups": 1}),
    ((2, 61, 40, 3), (4, 3, 3, 17), {"stride": (1, 1), "low": (1, 1), "high": (2, 1), "dilation": (1, 1), "groups": 1}),
    ((2, 9, 8), (4, 8, 10), {"stride": (2,), "low": (1,), "high": (2,), "dilation": (1,), "groups": 1}),
    ((2, 40, 3), (4, 3, 2), {"stride": (1,), "low": (1,), "high": (2,), "dilation": (1,), "groups": 1}),
]
CASES = [*SPECIAL, *cases(67)]
PART = 9


@pytest.mark.parametrize("first", range(0, len(CASES), PART))
@pytest.mark.parametrize("batch", ["static", "late"])
def test_forward_and_both_gradients_are_the_definition(first: int, batch: str) -> None:
    """In f32; the batch is known at compile time or at the call."""
    random = np.random.default_rng(first)
    leaves: list[Node] = []
    outputs, values, wanted = {}, {}, {}
    for number, (shape, taps, attrs) in enumerate(CASES[first : first + PART]):
        x = leaf("input", f"x{number}", TensorType(F32, (B if batch == "late" else 2, *shape[1:])))
        w = leaf("param", f"w{number}", TensorType(F32, taps))
        y = make("conv", x, w, **attrs)
        dy = leaf("input", f"dy{number}", y.type)
        leaves += [x, w, dy]
        dx, dw = y.definition.vjp(y, dy)
        outputs |= {f"y{number}": y, f"dx{number}": dx, f"dw{number}": dw}
        sizes = {"x": shape, "w": taps, "dy": (2, *y.shape[1:])}
        arrays = {k: random.standard_normal(v).astype(np.float32) for k, v in sizes.items()}
        values |= {f"{k}{number}": v for k, v in arrays.items()}
        found = expected(*(arrays[k].astype(float) for k in ("x", "w", "dy")), attrs)
        wanted |= {f"{k}{number}": v for k, v in found.items()}
    result, _ = compile_graph(Graph("convolutions", tuple(leaves), outputs))(values, {"B": 2})
    for name, array in wanted.items():
        case = CASES[first + int(name.lstrip("dywx"))]
        assert result[name].shape == array.shape, (name, case)
        np.testing.assert_allclose(result[name], array, rtol=2e-5, atol=2e-5 * np.abs(array).max(), err_msg=f"{case}")


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_sizes_of_images_known_at_the_call(dtype: DType) -> None:
    """Strides, padding and dilation with a run-time height and width."""
    height, width = symbol("H", 2), symbol("W", 2)
    x = leaf("input", "x", TensorType(dtype, (B, height, width, 3)))
    w = leaf("param", "w", TensorType(dtype, (3, 2, 3, 4)))
    attrs = {"stride": (2, 1), "low": (1, 1), "high": (1, 0), "dilation": (1, 2), "groups": 1}
    y = make("conv", x, w, **attrs)
    dx, dw = y.definition.vjp(y, y)
    graph = Graph("late", (x, w), {"y": y, "dx": dx, "dw": dw})
    run = compile_graph(graph)
    for sizes in ({"B": 2, "H": 2, "W": 2}, {"B": 1, "H": 5, "W": 6}, {"B": 3, "H": 8, "W": 3}):
        random = np.random.default_rng(1)
        values = {
            "x": random.standard_normal((sizes["B"], sizes["H"], sizes["W"], 3)).astype(dtype.numpy),
            "w": random.standard_normal(w.shape).astype(dtype.numpy),
        }
        found, wanted = run(values, sizes)[0], interpret(graph, values, sizes)[0]
        for name in wanted:
            np.testing.assert_allclose(found[name], wanted[name], 2e-5, 2e-5, err_msg=f"{name} at {sizes}")


def network(batch: Any) -> tuple[Graph, dict[str, Any]]:
    """A small network of everything with its gradients, momentum steps as updates."""
    x = leaf("input", "x", TensorType(F32, (batch, 8, 8, 1)))
    params = {
        "w1": (3, 3, 1, 6), "b1": (6,), "wd": (3, 3, 1, 6), "w2": (3, 3, 6, 8), "b2": (8,), "w3": (2, 2, 8, 5),
    }  # fmt: skip
    p = {name: leaf("param", name, TensorType(F32, shape)) for name, shape in params.items()}
    slots = {name: leaf("slot", f"{name}.v", TensorType(F32, shape)) for name, shape in params.items()}

    def conv(x: Node, w: Node, stride: int = 1, pad: int = 1, groups: int = 1) -> Node:
        attrs = {"stride": (stride,) * 2, "low": (pad,) * 2, "high": (pad,) * 2, "dilation": (1, 1)}
        return make("conv", x, w, groups=groups, **attrs)

    def biased(y: Node, b: Node) -> Node:
        return y + broadcast(b, y.shape, (3,))

    pool = {"window": (2, 2), "stride": (2, 2), "low": (0, 0), "high": (0, 0)}
    h = make("relu", biased(conv(x, p["w1"]), p["b1"]))
    h = make("tanh", conv(make("max_pool", h, **pool), p["wd"], groups=6))
    h = make("relu", biased(conv(h, p["w2"], stride=2), p["b2"]))
    y = reduce("sum", conv(h, p["w3"], pad=0), 1, 2)
    loss = reduce("sum", y * y, 0, 1)
    grads = dict(zip(p, gradients(loss, list(p.values())), strict=True))
    velocity = {name: slots[name] * 0.9 + grads[name] for name in p}
    updates = {slots[name]: v for name, v in velocity.items()} | {p[n]: p[n] - 0.01 * velocity[n] for n in p}
    graph = Graph("network", (x, *p.values(), *slots.values()), {"loss": loss, "y": y}, updates)
    random = np.random.default_rng(2)
    values = {n.attr("name"): random.standard_normal(n.shape).astype(np.float32) for n in graph.leaves[1:]}
    return graph, values | {"x": random.standard_normal((4, 8, 8, 1)).astype(np.float32)}


@pytest.mark.parametrize("passes", ["O0", "O2"])
@pytest.mark.parametrize("batch", [4, B], ids=str)
def test_a_network_with_its_gradients_and_momentum(passes: str, batch: Any) -> None:
    graph, values = network(batch)
    found, wanted = compile_graph(graph, passes)(values, {"B": 4}), interpret(graph, values, {"B": 4})
    for part, exact in zip(found, wanted, strict=True):
        for name, array in exact.items():
            key = name if isinstance(name, str) else name.attr("name")
            np.testing.assert_allclose(part[key], array, 1e-4, 1e-4 * np.abs(array).max(), err_msg=str(key))


X, W = TensorType(F32, (2, 8, 3)), TensorType(F32, (3, 3, 4))


@pytest.mark.parametrize(
    ("types", "changed", "operands", "words"),
    [
        ((X, W), {"stride": (0,)}, (0,), "stride must be at least 1"),
        ((X, W), {"dilation": (0,)}, (0,), "dilation must be at least 1"),
        ((X, W), {"low": (-1,)}, (0,), "padding must be at least 0"),
        ((X, W), {"stride": (1, 1)}, (0,), "an integer for each of the 1 spatial axes"),
        ((X, W), {"groups": 2}, (), "2 groups do not divide 3 input channels"),
        ((X, TensorType(F32, (3, 1, 4))), {"groups": 3}, (), "3 groups do not divide 4 output channels"),
        ((X, W), {"groups": 0}, (), "groups must be a positive integer"),
        ((X, W), {"dilation": (4,)}, (0,), "a window spans 9 elements, but axis 1 of f32[2, 8, 3] has 8"),
        ((X, TensorType(F32, (3, 2, 4))), {}, (0, 1), "3 channels in a group, but the weights"),
        ((X, TensorType(F64, (3, 3, 4))), {}, (0, 1), "one element type"),
        ((X, TensorType(F32, (3, 4))), {}, (0, 1), "the weights of"),
        ((TensorType(I32, (2, 8, 3)), W), {}, (0,), "float"),
        ((TensorType(F32, (2, 3)), W), {}, (0,), "1 to 3 spatial axes"),
    ],
    ids=str,
)
def test_what_no_convolution_is(
    types: tuple[TensorType, ...], changed: dict[str, Any], operands: tuple[int, ...], words: str
) -> None:
    with pytest.raises(TypeMismatch) as caught:
        OPS["conv"].infer(*types, **{**PLAIN, **changed})
    assert words in caught.value.message
    assert caught.value.operands == operands


def test_gradients_must_fit_the_sizes_they_name() -> None:
    y = TensorType(F32, (2, 6, 4))
    assert OPS["conv_data"].infer(y, W, size=(8,), **PLAIN) == X
    assert OPS["conv_weights"].infer(X, y, size=(3,), **PLAIN) == W
    with pytest.raises(TypeMismatch, match=r"spatial sizes \[9\] give f32\[2, 7, 4\]"):
        OPS["conv_data"].infer(y, W, size=(9,), **PLAIN)
    with pytest.raises(TypeMismatch, match=r"by \[2\] taps gives f32\[2, 7, 4\]"):
        OPS["conv_weights"].infer(X, y, size=(2,), **PLAIN)
