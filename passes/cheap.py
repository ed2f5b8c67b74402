"""What a value costs to compute again: fusion asks before it stores a value that several kernels read.

Nodes are interned, so a graph cannot say that a value is computed twice; a fused group can, by taking a node into
its body although others use it too.  This analysis says for which nodes that is worth it.
"""

from __future__ import annotations

from graphc.ir.node import Node
from graphc.ops.op import Pointwise

FREE_OPS = ("const", "iota", "dim", "broadcast", "reshape", "transpose", "reverse", "slice", "leaf", "item")
"""Ops that compute no number: they are an index, a constant or memory that is there already."""

COSTS = {
    "neg": 1, "abs": 1, "sign": 2, "add": 1, "sub": 1, "mul": 1, "max": 1, "min": 1, "relu": 1, "not": 1, "and": 1,
    "or": 1, "eq": 1, "ne": 1, "lt": 1, "le": 1, "gt": 1, "ge": 1, "isnan": 1, "isinf": 1, "where": 1, "cast": 1,
    "floor": 1, "ceil": 1, "round": 1, "pad": 2, "concat": 2, "gather": 4, "div": 4, "sqrt": 5, "rsqrt": 6,
    "floordiv": 8, "mod": 8, "exp": 10, "expm1": 14, "log": 12, "log1p": 14, "sigmoid": 14, "tanh": 16, "sin": 16,
    "cos": 16, "erf": 18, "pow": 30,
}  # fmt: skip
"""Vector instructions for one element, roughly; what is not listed is not computed twice."""

CHEAP_LIMIT = 4
"""A value that costs no more is computed again: a load and a store cost about as much."""
MAX_LOADS = 2
MAX_NODES = 32
UNLIMITED = 1 << 30


def element_cost(node: Node) -> int:
    """The cost of one element of the node from its operands' elements; UNLIMITED for reductions, kernels, groups."""
    if node.op in FREE_OPS:
        return 0
    return COSTS.get(node.op, UNLIMITED) if isinstance(node.definition, Pointwise) else UNLIMITED


def is_free(node: Node) -> bool:
    """Whether the node is no arithmetic at all: always part of the kernels that read it, never stored for them."""
    return node.op in FREE_OPS and not node.is_leaf and node.op != "item"


def is_cheap(node: Node, limit: int = CHEAP_LIMIT) -> bool:
    """Whether computing an element again is no dearer than loading it.

    The cost is that of the node and all its operands down to what is in memory in any case: leaves and the results
    of reductions, contractions and groups; of those at most MAX_LOADS may be read.  The walk is bounded.
    """
    cost, loads, seen = 0, 0, {node}
    pending = [node]
    while pending:
        x = pending.pop()
        own = element_cost(x)
        if x.is_leaf or (own == UNLIMITED and x is not node):
            loads += 1
            continue
        cost += own
        if cost > limit or loads > MAX_LOADS or len(seen) > MAX_NODES:
            return False
        for y in x.inputs:
            if y not in seen:
                seen.add(y)
                pending.append(y)
    return loads <= MAX_LOADS
