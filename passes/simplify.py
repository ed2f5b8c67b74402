"""Simplification: all exact equations together, to their common fixed point."""

from __future__ import annotations

from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.rewrite import Rule, rewrite, rule
from graphc.ops.contraction import like, parse
from graphc.passes.algebra import ARITHMETIC_RULES
from graphc.passes.fold_constants import FOLD_RULES
from graphc.passes.logic import LOGIC_RULES
from graphc.passes.movement import MOVEMENT_RULES
from graphc.passes.pipeline import graph_pass
from graphc.passes.reductions import REDUCTION_RULES


@rule("contract")
def contract_transposed(node: Node) -> Node | None:
    """contract(transpose(a), b) -> contract(a, b): the spec says the order of axes"""
    a, b, result = parse(node.attr("spec"))
    labels, operands = [a, b], list(node.inputs)
    for position, x in enumerate(node.inputs):
        if x.op == "transpose":
            perm = x.attr("perm")
            labels[position] = "".join(labels[position][perm.index(axis)] for axis in range(len(perm)))
            operands[position] = x.inputs[0]
    if operands == list(node.inputs):
        return None
    return like(node, operands[0], operands[1], spec=f"{labels[0]},{labels[1]}->{result}")


SIMPLIFY_RULES: tuple[Rule, ...] = (
    *FOLD_RULES, *ARITHMETIC_RULES, *LOGIC_RULES, *MOVEMENT_RULES, *REDUCTION_RULES, contract_transposed
)  # fmt: skip


@graph_pass("simplify")
def simplify(graph: Graph) -> Graph:
    """Applies every exact equation, constant folding included."""
    return rewrite(graph, SIMPLIFY_RULES)


@graph_pass("simplify-fast-math")
def simplify_fast_math(graph: Graph) -> Graph:
    """Applies also the equations that hold for real numbers only; no level has this pass."""
    return rewrite(graph, SIMPLIFY_RULES, fast_math=True)
