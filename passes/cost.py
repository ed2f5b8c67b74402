"""What an element of a value costs: fusion computes cheap values again, and bounds what one kernel computes."""

from __future__ import annotations

from graphc.ir.node import Node
from graphc.ops.op import Pointwise

COSTS = {
    "neg": 1, "abs": 1, "sign": 2, "add": 1, "sub": 1, "mul": 1, "max": 1, "min": 1, "relu": 1, "not": 1, "and": 1,
    "or": 1, "eq": 1, "ne": 1, "lt": 1, "le": 1, "gt": 1, "ge": 1, "isnan": 1, "isinf": 1, "where": 1, "cast": 1,
    "floor": 1, "ceil": 1, "round": 1, "pad": 2, "concat": 2, "gather": 4, "div": 4, "sqrt": 5, "rsqrt": 6,
    "floordiv": 8, "mod": 8, "exp": 10, "expm1": 14, "log": 12, "log1p": 14, "sigmoid": 14, "tanh": 16, "sin": 16,
    "cos": 16, "erf": 18, "pow": 30, "random_uniform": 60,
}  # fmt: skip
"""Vector instructions for one element, roughly; what is not listed is not computed twice."""

UNLIMITED = 1 << 30


def element_cost(node: Node) -> int:
    """The cost of one element of the node from its operands' elements; UNLIMITED for what has a loop of its own."""
    return COSTS.get(node.op, UNLIMITED) if isinstance(node.definition, Pointwise) else UNLIMITED


def weight(node: Node) -> int:
    """What the node adds to the code of its kernel's innermost loop; of a reduction that is one instruction."""
    cost = element_cost(node)
    return 1 if cost == UNLIMITED else cost
