"""normalise-convolution: which convolutions are matrix products, and that they mean the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc.ops  # noqa: F401
from graphc.ir.graph import Graph
from graphc.ir.interpret import interpret
from graphc.ir.node import leaf, make
from graphc.ir.types import F64, TensorType
from graphc.passes.normalise_convolution import normalise_convolution

PLAIN = {"stride": (1, 1), "low": (0, 0), "high": (0, 0), "dilation": (1, 1), "groups": 1}


def convolutions(taps: tuple[int, ...], changed: dict[str, Any]) -> Graph:
    """A convolution of a 3 x 4 image of 2 channels, and both gradients."""
    attrs = {**PLAIN, **changed}
    x = leaf("input", "x", TensorType(F64, (2, 3, 4, 2)))
    w = leaf("param", "w", TensorType(F64, (*taps, 2 // attrs["groups"], 6)))
    y = make("conv", x, w, **attrs)
    dy = leaf("input", "dy", y.type)
    dx, dw = y.definition.vjp(y, dy)
    return Graph("convolutions", (x, w, dy), {"y": y, "dx": dx, "dw": dw})


@pytest.mark.parametrize(
    ("taps", "changed", "is_product"),
    [
        ((1, 1), {}, True),
        ((1, 1), {"dilation": (2, 3)}, True),
        ((1, 1), {"stride": (1, 2)}, False),
        ((1, 1), {"low": (0, 1)}, False),
        ((1, 1), {"groups": 2}, False),
        ((3, 4), {}, True),
        ((3, 4), {"stride": (2, 2)}, True),
        ((3, 4), {"high": (1, 1)}, False),
        ((3, 3), {}, False),
    ],
    ids=str,
)
def test_one_tap_or_one_window(taps: tuple[int, ...], changed: dict[str, Any], is_product: bool) -> None:
    graph = convolutions(taps, changed)
    result = normalise_convolution(graph)
    assert sum(node.op == "contract" for node in result.nodes()) == (3 if is_product else 0)
    assert sum(node.op.startswith("conv") for node in result.nodes()) == (0 if is_product else 3)
    random = np.random.default_rng(0)
    values = {x.attr("name"): random.standard_normal(x.shape) for x in graph.leaves}
    found, wanted = interpret(result, values, {})[0], interpret(graph, values, {})[0]
    for name in wanted:
        np.testing.assert_allclose(found[name], wanted[name], 1e-12, 1e-12)
