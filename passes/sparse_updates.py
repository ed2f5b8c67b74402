"""Gradient descent on a table of which a step reads some rows: only those rows are read and written.

The gradient of `gather(table, index)` is a scatter into a table of zeros.  Plain gradient descent multiplies it by the
learning rate and takes it from the table; where nothing was scattered, the table stays as it is.
"""

from __future__ import annotations

from graphc.ir.graph import Graph
from graphc.ir.node import Node, make
from graphc.ir.types import TensorType
from graphc.passes.match import splat, splat_value
from graphc.passes.pipeline import graph_pass


@graph_pass("sparse-updates")
def sparse_updates(graph: Graph) -> Graph:
    """Changes a table from which a multiple of a scatter is taken only in the rows that the scatter names.

    new table = table - rate * scatter_add(index, updates) -> subtract_rows(table, index, updates, rate)
    """
    if not any(value.op == "sub" for value in graph.updates.values()):
        return graph
    uses = {node: len(users) for node, users in graph.users().items()}
    for root in graph.roots:
        uses[root] += 1
    updates = [_row_update(leaf, value, uses) or value for leaf, value in graph.updates.items()]
    return graph.with_roots([*graph.outputs.values(), *updates])


def _row_update(table: Node, value: Node, uses: dict[Node, int]) -> Node | None:
    """The same update by rows; None if it is no such update, or if a part of it has another use."""
    if value.op != "sub" or value.inputs[0] is not table or value.inputs[1].op != "mul":
        return None
    product = value.inputs[1]
    for gradient, factor in (product.inputs, product.inputs[::-1]):
        rate = _scalar(factor)
        is_sparse = gradient.op == "scatter_add" and gradient.attr("axis") == 0 and table.type.is_static
        if rate is not None and is_sparse and uses[value] == uses[product] == uses[gradient] == 1:
            return make("subtract_rows", table, *gradient.inputs, rate)
    return None


def _scalar(factor: Node) -> Node | None:
    """The scalar that a value has at every index."""
    number = splat_value(factor)
    if number is not None:
        return splat(number, TensorType(factor.dtype))
    return factor.inputs[0] if factor.op == "broadcast" and factor.inputs[0].shape == () else None
