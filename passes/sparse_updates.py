"""Updates of a table of which a step reads some rows, without a gradient that is zero but for those rows.

The gradient of `gather(table, index)` is a scatter into a table of zeros.  Plain gradient descent multiplies it by the
learning rate and takes it from the table; where nothing was scattered, the table stays as it is: only the other rows
are read and written.  Other optimisers change every row.  Theirs is a gather again: of the sums of the rows that the
index names, as many as it has places, and a row of zeros for all others.
"""

from __future__ import annotations

from graphc.ir.dims import product
from graphc.ir.graph import Graph, rebuild
from graphc.ir.node import Node, make
from graphc.ir.types import TensorType
from graphc.ops.op import Elementwise
from graphc.passes.match import splat, splat_value
from graphc.passes.pipeline import graph_pass

LARGE = 1 << 18  # elements of a gradient that does not stay in the cache until the update reads it
WIDE = 16  # elements of a row that is read at once


@graph_pass("sparse-updates")
def sparse_updates(graph: Graph) -> Graph:
    """Changes a table from which a multiple of a scatter is taken only in the rows that the scatter names.

    new table = table - rate * scatter_add(index, updates) -> subtract_rows(table, index, updates, rate)

    A large scatter that is read element by element becomes a gather of sums, which fuses with its readers:

    scatter_add(index, updates) -> gather(scatter_add(gather(last, index), updates), last), last = last_places(index)
    """
    if not graph.updates:
        return graph
    uses = {node: len(users) for node, users in graph.users().items()}
    for root in graph.roots:
        uses[root] += 1
    updates = [_row_update(leaf, value, uses) or value for leaf, value in graph.updates.items()]
    return _gather_sums(graph.with_roots([*graph.outputs.values(), *updates]))


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


def _gather_sums(graph: Graph) -> Graph:
    """The graph with its large scatters replaced where elementwise ops alone read them."""
    users, roots = graph.users(), dict.fromkeys(graph.roots)
    chosen = {
        node: None
        for node in graph.nodes()
        if _is_large_scatter(node)
        and node not in roots
        and all(isinstance(user.definition, Elementwise) for user in users[node])
    }

    def replace(node: Node, inputs: tuple[Node, ...]) -> Node | None:
        if node not in chosen:
            return None
        index, updates = inputs
        last = make("last_places", index, size=node.attr("size"))
        sums = make("scatter_add", make("gather", last, index, axis=0), updates, axis=0, size=product(index.shape) + 1)
        return make("gather", sums, last, axis=0)

    return graph.with_roots(rebuild(graph.roots, replace)) if chosen else graph


def _is_large_scatter(node: Node) -> bool:
    """Whether the sums of all rows would take more memory than those of the rows that an index can name, by far."""
    if node.op != "scatter_add" or node.attr("axis") != 0:
        return False
    rows, row, places = node.attr("size"), product(node.shape[1:]), product(node.inputs[0].shape)
    if not isinstance(rows, int) or not isinstance(row, int) or row < WIDE or rows * row < LARGE:
        return False
    return not isinstance(places, int) or 2 * places < rows
