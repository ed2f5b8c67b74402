"""Composites become the primitives that fusion and lowering know."""

from __future__ import annotations

from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.rewrite import rewrite, rule
from graphc.ops.op import Composite
from graphc.passes.pipeline import graph_pass

GRADIENT_MARKS = ("stop_gradient", "custom_vjp")


@rule()
def decompose_composite(node: Node) -> Node | None:
    """composite(x, ...) -> its decomposition"""
    return node.definition.decompose(node) if isinstance(node.definition, Composite) else None


@rule(*GRADIENT_MARKS)
def drop_mark(node: Node) -> Node | None:
    """stop_gradient(x) -> x, custom_vjp(y, ...) -> y"""
    return node.inputs[0]


@graph_pass("decompose")
def decompose(graph: Graph) -> Graph:
    """Says every composite (softmax, cross_entropy, ...) with primitives."""
    return rewrite(graph, (decompose_composite,))


@graph_pass("drop-gradient-marks")
def drop_gradient_marks(graph: Graph) -> Graph:
    """Removes what only derivatives read: stop_gradient and custom_vjp; for use after autodiff."""
    return rewrite(graph, (drop_mark,))
