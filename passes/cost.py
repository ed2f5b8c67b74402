"""What an element of a value costs: fusion computes cheap values again, and bounds what one kernel computes."""

from __future__ import annotations

from graphc.ir.node import Node
from graphc.ops.op import Pointwise

UNLIMITED = 1 << 30


def element_cost(node: Node) -> int:
    """The cost of one element of the node from its operands' elements; UNLIMITED for what has a loop of its own."""
    cost = node.definition.cost if isinstance(node.definition, Pointwise) else None
    return UNLIMITED if cost is None else cost


def weight(node: Node) -> int:
    """What the node adds to the code of its kernel's innermost loop; of a reduction that is one instruction."""
    cost = element_cost(node)
    return 1 if cost == UNLIMITED else cost
