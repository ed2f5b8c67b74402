"""Operands of products that are rounded to bfloat16 become tensors of pairs, each rounded once and half as large.

A kernel of its own rounds them, so a tensor that several products read, or every row tile of one, is rounded once.
Two neighbours along a summed axis make a pair: an instruction adds the products of both.
"""

from __future__ import annotations

from graphc.ir.graph import Graph
from graphc.ir.node import Node, make
from graphc.ir.rewrite import rewrite, rule
from graphc.ops.bfloat import elements_of
from graphc.ops.contraction import parse
from graphc.passes.bodies import scans
from graphc.passes.normalise_contract import contract_axes, label_sizes
from graphc.passes.pipeline import graph_pass
from graphc.passes.tidy_scans import trimmed

SUMMED_AXES = {"conv": (-1, -2), "conv_data": (-1, -1), "conv_weights": (0, 0)}
"""The axes of a convolution's operands that are summed besides the taps: channels, outputs, images."""


@rule("contract")
def operands_as_pairs(node: Node) -> Node | None:
    """contract(a, b, elements="bf16") -> contract(bf16_pairs(a), bf16_pairs(b), elements="bf16_pairs")"""
    spec = node.attr("spec")
    axes = contract_axes(spec)
    if elements_of(node) != "bf16" or not (axes.m and axes.n and axes.k) or parse(spec)[2][-1] in axes.batch:
        return None
    label = _paired(node, axes.k)
    labels = parse(spec)[:2]
    pairs = [make("bf16_pairs", x, axis=own.index(label)) for x, own in zip(node.inputs, labels, strict=True)]
    return make("contract", *pairs, spec=spec, elements="bf16_pairs")


@rule(*SUMMED_AXES)
def images_as_pairs(node: Node) -> Node | None:
    """conv(x, w, elements="bf16") -> conv(bf16_pairs(x), bf16_pairs(w), elements="bf16_pairs"), likewise its gradients

    With groups, or one number to sum, there are no pairs: both operands are rounded.
    """
    if elements_of(node) != "bf16":
        return None
    attrs = {name: value for name, value in node.attrs if name != "elements"}
    operands = list(zip(node.inputs, SUMMED_AXES[node.op], strict=True))
    if attrs["groups"] > 1 or any(x.shape[axis] == 1 for x, axis in operands):
        return make(node.op, *(make("bf16", x) for x, _ in operands), **attrs)
    pairs = [make("bf16_pairs", x, axis=axis % len(x.shape)) for x, axis in operands]
    return make(node.op, *pairs, **attrs, elements="bf16_pairs")


def _paired(node: Node, summed: str) -> str:
    """The summed label along which neighbours are paired: the innermost that is known to be even, if there is one."""
    sizes = label_sizes(node)
    even = [x for x in summed if isinstance(size := sizes[x], int) and size % 2 == 0]
    return (even or [*summed])[-1]


@graph_pass("pair-operands")
def pair_operands(graph: Graph) -> Graph:
    """Rounds the operands of bfloat16 products into tensors of pairs; what all steps of a scan read, before it."""
    graph = rewrite(graph, (operands_as_pairs, images_as_pairs))
    for scan in reversed(scans(graph)):
        if _rounds_what_is_around(scan):
            graph = trimmed(graph, scan)
    return graph


def _rounds_what_is_around(scan: Node) -> bool:
    """Whether every step rounds a value that is the same in all of them."""
    body: Graph = scan.attr("body")
    around = dict.fromkeys(body.leaves[1 + scan.attr("carries") + scan.attr("sequences") :])
    return any(node.op == "bf16_pairs" and node.inputs[0] in around for node in body.nodes())
