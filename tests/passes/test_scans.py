"""The passes that move work out of recurrences, on the derivative of a recurrent layer."""

from __future__ import annotations

from graphc.autodiff import gradients
from graphc.ir.dims import symbol
from graphc.ir.graph import Graph
from graphc.ir.node import Node, constant, leaf, make
from graphc.ir.types import F64, I32, TensorType
from graphc.ir.verify import verify
from graphc.ops.scan import build_scan, inner_leaf
from graphc.passes import levels
from graphc.passes.bodies import scans

B, E, H = 3, 4, 5
T = symbol("T")


def layer(x: Node, wx: Node, wh: Node) -> Node:
    """Every h of h' = tanh(x[t] wx + h wh); x is [T, B, *]."""
    t, h = inner_leaf("index", TensorType(I32)), inner_leaf("carry", TensorType(F64, (B, H)))
    z = make("contract", make("gather", x, t, axis=0), wx, spec="be,eh->bh") + make("contract", h, wh, spec="bi,ij->bj")
    new = make("tanh", z)
    return build_scan(T, False, t, [(h, constant(0.0, new.type), new)], [new])[1][0]


def two_layers() -> Graph:
    x = leaf("input", "x", TensorType(F64, (T, B, E)))
    weights = [leaf("param", name, TensorType(F64, shape)) for name, shape in (
        ("a", (E, H)), ("b", (H, H)), ("c", (H, H)), ("d", (H, H)), ("out", (H, E)),
    )]  # fmt: skip
    a, b, c, d, out = weights
    every = layer(layer(x, a, b), c, d)
    y = make("contract", every, out, spec="tbh,he->tbe")
    loss = make("reduce_sum", y * y, axes=(0, 1, 2))
    results = {f"d{i}": g for i, g in enumerate(gradients(loss, weights))}
    return Graph("g", (x, *weights), {"loss": loss, **results})


def test_a_recurrence_and_what_its_derivative_reads_are_one_loop() -> None:
    graph = two_layers()
    assert len(scans(graph)) == 6
    tidy = levels.pipeline("tidy-scans").run(graph)
    verify(tidy)
    assert len(scans(tidy)) == 4


def test_only_the_products_of_carried_values_stay_inside() -> None:
    graph = levels.pipeline("O1").run(two_layers())
    verify(graph)
    for scan in scans(graph):
        assert [n.op for n in scan.attr("body").nodes()].count("contract") == 1, "h @ wh, or its cotangent"
        assert scan.attr("carries") == 1, "no weight's gradient is carried"


def test_a_bias_goes_with_the_product_that_leaves_the_loop() -> None:
    """h' = tanh((x[t] w + b) + h w): the sum with b is made for all steps at once, behind the product."""
    x, w, b = (leaf("input", n, TensorType(F64, s)) for n, s in (("x", (T, B, H)), ("w", (H, H)), ("b", (H,))))
    t, h = inner_leaf("index", TensorType(I32)), inner_leaf("carry", TensorType(F64, (B, H)))
    now = make("contract", make("gather", x, t, axis=0), w, spec="bi,ij->bj")
    now = now + make("broadcast", b, shape=(B, H), axes=(1,))
    new = make("tanh", now + make("contract", h, w, spec="bi,ij->bj"))
    (last,), _ = build_scan(T, False, t, [(h, constant(0.0, new.type), new)], [])
    graph = levels.pipeline("O1").run(Graph("g", (x, w, b), {"y": last}))
    (scan,) = scans(graph)
    assert [n.op for n in scan.attr("body").nodes() if not n.is_leaf] == ["contract", "add", "tanh"]


def test_a_sum_of_products_becomes_one_product() -> None:
    """acc' = acc + x[t]^T x[t] is no loop at all."""
    x = leaf("input", "x", TensorType(F64, (T, B, E)))
    t, acc = inner_leaf("index", TensorType(I32)), inner_leaf("carry", TensorType(F64, (E, E)))
    now = make("gather", x, t, axis=0)
    term = make("contract", now, now, spec="bi,bj->ij")
    (total,), _ = build_scan(T, False, t, [(acc, constant(0.0, acc.type), acc + term)], [])
    graph = levels.pipeline("O1").run(Graph("g", (x,), {"y": total}))
    assert [n.op for n in graph.nodes() if not n.is_leaf] == ["contract"]


def test_what_is_not_read_is_not_computed() -> None:
    x = leaf("input", "x", TensorType(F64, (T, H)))
    t, h, g = inner_leaf("index", TensorType(I32)), *(inner_leaf("carry", TensorType(F64, (H,))) for _ in "hg")
    now = make("gather", x, t, axis=0)
    start = constant(0.0, h.type)
    (_, last), _ = build_scan(T, False, t, [(h, start, make("exp", h) + g), (g, start, g * now)], [now, h])
    graph = levels.pipeline("tidy-scans").run(Graph("g", (x,), {"y": last}))
    (scan,) = scans(graph)
    assert [n.op for n in scan.attr("body").nodes() if not n.is_leaf] == ["mul"]
    assert len(scan.type.items) == 1
