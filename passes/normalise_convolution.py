"""Convolutions that are matrix products: one tap that meets every pixel, and windows as large as the image.

A contraction merges all pixels of a batch into its rows, where a convolution goes row by row of an image.
"""

from __future__ import annotations

from graphc.ir.graph import Graph
from graphc.ir.node import Node, make
from graphc.ir.rewrite import rewrite, rule
from graphc.ops.bfloat import elements_attr
from graphc.passes.pipeline import graph_pass

SPATIAL = "xyz"


def _parts(node: Node) -> tuple[Node, Node, Node]:
    """The image, the weights and the result's image, those that `node` is the place of included."""
    first, second = node.inputs
    if node.op == "conv":
        return first, second, node
    return (node, second, first) if node.op == "conv_data" else (first, node, second)


def _labels(node: Node) -> tuple[str, str, str] | None:
    """The labels of image, weights and result as operands of a contraction; None if it is none."""
    image, weights, _ = _parts(node)
    if node.attr("groups") != 1 or any(node.attr("low")) or any(node.attr("high")):
        return None
    spatial, taps = SPATIAL[: len(image.shape) - 2], weights.shape[:-2]
    if all(k == 1 for k in taps) and all(s == 1 for s in node.attr("stride")):
        return f"n{spatial}i", "io", f"n{spatial}o"
    if taps == image.shape[1:-1] and all(d == 1 for d in node.attr("dilation")):
        return f"n{spatial}i", f"{spatial}io", "no"
    return None


@rule("conv", "conv_data", "conv_weights")
def as_contraction(node: Node) -> Node | None:
    """conv and its gradients with one tap, or one window -> contract"""
    labels = _labels(node)
    if labels is None:
        return None
    rows = list(zip(labels, _parts(node), strict=True))
    (a, x), (b, y) = (row for row in rows if row[1] is not node)
    wanted = next(part for part, image in rows if image is node)
    operands = _reshaped(x, a), _reshaped(y, b)
    total = make("contract", *operands, spec=f"{a},{b}->{wanted}", **elements_attr(node))
    return total if total.shape == node.shape else make("reshape", total, shape=node.shape)


def _reshaped(x: Node, labels: str) -> Node:
    """The operand without the spatial axes that have no label: they are 1 long."""
    rank = len(x.shape)
    if len(labels) == rank:
        return x
    shape = (x.shape[0], x.shape[-1]) if labels == "no" else x.shape[-2:]
    return make("reshape", x, shape=shape)


@graph_pass("normalise-convolution")
def normalise_convolution(graph: Graph) -> Graph:
    """Makes contractions of the convolutions that are matrix products."""
    return rewrite(graph, (as_contraction,))
