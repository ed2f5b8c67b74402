"""Reshapes and transposes move past elementwise ops, towards the results, where that lets the ops fuse.

In `relu(reshape(contract(...)) + bias)` the reshape stands between a contraction and its epilogue.  Moved behind the
elementwise ops it is the last thing that happens, and often meets its inverse.  An op is passed only when every
other operand follows for free: the same movement, a constant, or a broadcast that takes the other shape as well.
"""

from __future__ import annotations

from itertools import pairwise

from graphc.ir.axes import reshape_groups
from graphc.ir.dims import Dim
from graphc.ir.graph import Graph, rebuild
from graphc.ir.node import Node, make
from graphc.ir.rewrite import Rule, rewrite, rule
from graphc.ops.contraction import like, parse
from graphc.ops.op import Elementwise
from graphc.passes.match import splat, splat_value
from graphc.passes.movement import MOVEMENT_RULES, perm_of_index
from graphc.passes.normalise_contract import contract_axes
from graphc.passes.pipeline import graph_pass
from graphc.passes.reductions import reduce_inserted

SINKING = ("reshape", "transpose")


@rule()
def sink(node: Node) -> Node | None:
    """f(move(x), move(y), ...) -> move(f(x, y, ...)), for elementwise f"""
    if not isinstance(node.definition, Elementwise):
        return None
    mover = next((x for x in node.inputs if x.op in SINKING), None)
    if mover is None or not _is_worth_it(mover):
        return None
    operands = [before_movement(x, mover) for x in node.inputs]
    if any(x is None for x in operands):
        return None
    inner = make(node.op, *(x for x in operands if x is not None), **node.attrs_dict)
    return make(mover.op, inner, **mover.attrs_dict)


def _is_worth_it(mover: Node) -> bool:
    """A movement of a leaf stays: nothing is computed before it, so there is nothing to fuse with."""
    return not mover.inputs[0].is_leaf


def before_movement(x: Node, mover: Node) -> Node | None:
    """A node whose movement by `mover` is x, found without any work; None if there is none."""
    source = mover.inputs[0]
    value = splat_value(x)
    if value is not None:
        return splat(value, x.type.with_shape(source.shape))
    if x.op == mover.op and x.inputs[0].shape == source.shape and x.attrs == mover.attrs:
        return x.inputs[0]
    if x.op != "broadcast":
        return None
    return _untransposed(x, mover) if mover.op == "transpose" else _unreshaped(x, mover)


def _untransposed(x: Node, mover: Node) -> Node | None:
    """broadcast(y) as it was before a transpose that keeps the order of y's axes."""
    perm = mover.attr("perm")
    axes = tuple(perm[axis] for axis in x.attr("axes"))
    if any(a >= b for a, b in pairwise(axes)):
        return None
    return make("broadcast", x.inputs[0], shape=mover.inputs[0].shape, axes=axes)


def _unreshaped(x: Node, mover: Node) -> Node | None:
    """broadcast(y) as it was before a reshape that leaves y's axes alone, or regroups them among themselves."""
    before = mover.inputs[0].shape
    groups = reshape_groups(before, x.shape)
    if groups is None:
        return None
    own = x.attr("axes")
    placed: list[int] = []
    shape: list[Dim] = []
    for source, target in groups:
        inside = [axis for axis in target if axis in own]
        if inside and any(x.shape[axis] != 1 for axis in target if axis not in own):
            return None
        if inside:
            placed += source
            shape += [before[axis] for axis in source]
    inner = x.inputs[0] if tuple(shape) == x.inputs[0].shape else make("reshape", x.inputs[0], shape=tuple(shape))
    return make("broadcast", inner, shape=before, axes=tuple(placed))


SINK_RULES: tuple[Rule, ...] = (*MOVEMENT_RULES, reduce_inserted, sink)


def store_transposed(graph: Graph) -> Graph:
    """transpose(contract(a, b)) -> contract(a, b) with the result's labels in that order, if nothing else reads it.

    The kernel stores with other strides instead of a copy.  Its vectors run along the last axis of the result,
    which therefore must not be a batch axis.
    """
    users, roots = graph.users(), frozenset(graph.roots)

    def store(node: Node, inputs: tuple[Node, ...]) -> Node | None:
        if node.op != "transpose" or inputs[0].op != "contract":
            return None
        before = node.inputs[0]
        if before in roots or len(users[before]) != 1:
            return None
        a, b, result = parse(inputs[0].attr("spec"))
        moved = "".join(result[axis] for axis in node.attr("perm"))
        if moved[-1] in contract_axes(inputs[0].attr("spec")).batch:
            return None
        return like(inputs[0], *inputs[0].inputs, spec=f"{a},{b}->{moved}")

    return graph.with_roots(rebuild(graph.roots, store))


@rule("scatter_add", "subtract_rows")
def index_of_transposed(node: Node) -> Node | None:
    """scatter_add(index, transpose(x)) -> scatter_add(transpose(index), x), where only axes of the index move

    Likewise subtract_rows.  Rows of one index are added in another order, so the sums are rounded differently.
    """
    at = 0 if node.op == "scatter_add" else 1
    index, updates = node.inputs[at : at + 2]
    axis = node.attr("axis") if node.op == "scatter_add" else 0
    perm = perm_of_index(updates, axis, index) if updates.op == "transpose" else None
    if perm is None:
        return None
    back = make("transpose", index, perm=tuple(perm.index(i) for i in range(len(perm))))
    return make(node.op, *node.inputs[:at], back, updates.inputs[0], *node.inputs[at + 2 :], **node.attrs_dict)


@graph_pass("sink-movement")
def sink_movement(graph: Graph) -> Graph:
    """Moves reshapes and transposes behind elementwise ops, so that those fuse with what computes their operands.

    A transpose right behind a contraction goes into it instead, one of scattered rows into their index.
    """
    return rewrite(store_transposed(rewrite(graph, (index_of_transposed,))), SINK_RULES)
