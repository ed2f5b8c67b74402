"""Products that are only read by their parts are finished by their parts: the gates of a recurrent cell.

In `i, f, g, o = split(x @ wx + h @ wh + b)` the sum is elementwise and as wide as the product.  Taken apart before the
sum, all of the cell can follow the product: one register tile holds the same units of all gates.
"""

from __future__ import annotations

from graphc.ir.graph import Graph, rebuild
from graphc.ir.node import Node, make
from graphc.ops.contraction import may_split, part_of
from graphc.ops.op import Elementwise
from graphc.passes.grouping import MOST_PARTS
from graphc.passes.pipeline import graph_pass


@graph_pass("split-parts")
def split_parts(graph: Graph) -> Graph:
    """Takes what is elementwise between a product and its parts apart as they are."""
    users = graph.users()
    roots = dict.fromkeys(graph.roots)
    new: dict[Node, Node] = {}
    for node in graph.nodes():
        if may_split(node):
            new.update(_parts(node, users, roots))
    return graph.with_roots(rebuild(graph.roots, lambda node, _: new.get(node))) if new else graph


def _parts(product: Node, users: dict[Node, list[Node]], roots: dict[Node, None]) -> dict[Node, Node]:
    """The parts of what is elementwise behind the product, as elementwise ops of its parts."""
    chain = {product: None}
    last = product
    while last not in roots and len(users[last]) == 1:
        (user,) = users[last]
        if not isinstance(user.definition, Elementwise) or user.shape != product.shape:
            break
        chain[user] = None
        last = user
    slices = users[last]
    if last in roots or last is product or not 2 <= len(slices) <= MOST_PARTS:
        return {}
    numbers = [part_of(x, last) for x in slices]
    if None in numbers or len(dict.fromkeys(x.shape for x in slices)) != 1:
        return {}
    return {part: _part(last, part, chain) for part in slices}


def _part(last: Node, part: Node, chain: dict[Node, None]) -> Node:
    made: dict[Node, Node] = {}
    for node in chain:  # in order
        if not isinstance(node.definition, Elementwise):
            made[node] = _slice(node, part)
        else:
            made[node] = make(node.op, *(made.get(x) or _slice(x, part) for x in node.inputs), **node.attrs_dict)
    return made[last]


def _slice(x: Node, part: Node) -> Node:
    return make("slice", x, **part.attrs_dict)
