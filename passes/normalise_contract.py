"""Contractions in the form that their kernels take: every one has M, N and K axes, all longer than 1.

With respect to `contract(a, b)` a label is a batch label (in a, b and the result), M (a and result), N (b and
result) or K (a and b).  What lacks M, N or K has nothing to block for registers or caches: it becomes a product
and a sum, which fuse with their surroundings.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphc.ir.dims import Dim
from graphc.ir.graph import Graph
from graphc.ir.node import Node, make
from graphc.ir.rewrite import rewrite, rule
from graphc.ops.bfloat import elements_of
from graphc.ops.contraction import like, parse
from graphc.passes.pipeline import graph_pass


@dataclass(frozen=True)
class ContractAxes:
    """The labels of a contraction by their part in it, each in the order of the operand that has them first."""

    batch: str
    m: str
    n: str
    k: str


def contract_axes(spec: str) -> ContractAxes:
    """Sorts the labels of a spec."""
    a, b, result = parse(spec)
    return ContractAxes(
        batch="".join(x for x in a if x in b and x in result),
        m="".join(x for x in a if x not in b),
        n="".join(x for x in b if x not in a),
        k="".join(x for x in a if x not in result and x in b),
    )


@rule("contract")
def drop_unit_labels(node: Node) -> Node | None:
    """contract over axes of size 1 -> reshape(contract(reshape, reshape))"""
    a, b, result = parse(node.attr("spec"))
    sizes = label_sizes(node)
    if all(size != 1 for size in sizes.values()):
        return None
    short = ["".join(x for x in labels if sizes[x] != 1) for labels in (a, b, result)]
    operands = [
        make("reshape", x, shape=tuple(sizes[label] for label in labels)) if x.type.rank != len(labels) else x
        for x, labels in zip(node.inputs, short, strict=False)
    ]
    inner = like(node, operands[0], operands[1], spec=f"{short[0]},{short[1]}->{short[2]}")
    return inner if inner.shape == node.shape else make("reshape", inner, shape=node.shape)


@rule("contract")
def contract_as_sum(node: Node) -> Node | None:
    """contract without M, N or K -> sum(broadcast(a) * broadcast(b))"""
    axes = contract_axes(node.attr("spec"))
    if (axes.m and axes.n and axes.k) or elements_of(node) == "bf16_pairs":
        return None
    a, b, result = parse(node.attr("spec"))
    labels = result if not axes.k else b if not axes.m else a  # without M, b has every label; without N, a has
    sizes = label_sizes(node)
    factors = [make("bf16", x) if elements_of(node) == "bf16" else x for x in node.inputs]
    left, right = (_spread(x, own, labels, sizes) for x, own in zip(factors, (a, b), strict=True))
    total = make("mul", left, right)
    if axes.k:
        total = make("reduce_sum", total, axes=tuple(i for i, x in enumerate(labels) if x in axes.k))
    left_over = [x for x in labels if x not in axes.k]
    perm = tuple(left_over.index(x) for x in result)
    return total if perm == tuple(range(len(perm))) else make("transpose", total, perm=perm)


@rule("contract")
def batch_label_last(node: Node) -> Node | None:
    """contract whose result ends in a batch axis -> transpose(contract that ends in M or N)

    A kernel stores vectors of neighbouring results, and there is no product to share among the batch.
    """
    a, b, result = parse(node.attr("spec"))
    axes = contract_axes(node.attr("spec"))
    if not (axes.m and axes.n and axes.k) or result[-1] not in axes.batch:
        return None
    batch = [x for x in result if x in axes.batch]
    order = [*batch, *(x for x in result if x not in axes.batch)]
    inner = like(node, *node.inputs, spec=f"{a},{b}->{''.join(order)}")
    return make("transpose", inner, perm=tuple(order.index(x) for x in result))


def label_sizes(node: Node) -> dict[str, Dim]:
    """The dimension of every label of a contraction."""
    a, b, _ = parse(node.attr("spec"))
    return {
        label: size
        for x, labels in zip(node.inputs, (a, b), strict=True)
        for label, size in zip(labels, x.shape, strict=True)
    }


def _spread(x: Node, own: str, labels: str, sizes: dict[str, Dim]) -> Node:
    """The operand with its axes in the order of `labels`, repeated along those it lacks."""
    order = sorted(own, key=labels.index)
    if order != list(own):
        x = make("transpose", x, perm=tuple(own.index(label) for label in order))
    if len(order) == len(labels):
        return x
    shape = tuple(sizes[label] for label in labels)
    return make("broadcast", x, shape=shape, axes=tuple(labels.index(label) for label in order))


@graph_pass("normalise-contract")
def normalise_contract(graph: Graph) -> Graph:
    """Leaves only contractions with M, N and K axes longer than 1; the others become products and sums."""
    return rewrite(graph, (drop_unit_labels, contract_as_sum, batch_label_last))
