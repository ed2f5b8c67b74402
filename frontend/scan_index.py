"""Indices computed from the indices of scans, such as `x[t - 1]`: where they lie, and what keeps them on their axis."""

from __future__ import annotations

from graphc.frontend.scope import Shared
from graphc.frontend.values import Tensor
from graphc.ir.dims import Dim, bounds, is_at_least
from graphc.ir.node import Node, constant, make
from graphc.ops.build import size_of

Affine = tuple[dict[Node, int], Dim]
"""How often each index is taken, and what is added."""
DEPTH = 20


def is_plain(shared: Shared, index: Tensor) -> bool:
    """Whether this is the index of a scan itself."""
    return index.node in shared.lengths


def on_axis(shared: Shared, index: Tensor, size: Dim) -> Tensor | None:
    """The index, kept on an axis of this size where it may leave it; None if it never is on the axis.

    What is computed from other values than the indices of scans and sizes is left as it is.
    """
    found = _affine(shared, index.node, DEPTH)
    if found is None or not found[0]:
        return index
    low = high = found[1]
    for one, times in found[0].items():
        reach = (shared.lengths[one] - 1) * times
        low, high = (low + reach, high) if times < 0 else (low, high + reach)
    most = bounds(high)[1]
    if (most is not None and most < 0) or is_at_least(low, size):
        return None
    node = index.node
    if not is_at_least(low, 0):
        node = make("max", node, constant(0, node.type))
    if not is_at_least(size - 1, high):
        node = make("min", node, size_of(size - 1, node.dtype))
    return Tensor(node, ())


def _affine(shared: Shared, node: Node, depth: int) -> Affine | None:
    """An integer scalar as a sum of multiples of scans' indices and a dimension; None if it is no such sum."""
    if node in shared.lengths:
        return {node: 1}, 0
    if depth == 0 or node.shape or not node.dtype.is_integer:
        return None
    if node.op == "const":
        return {}, int(node.attr("value"))
    if node.op == "dim":
        return {}, node.attr("dim")
    inputs = node.inputs if node.op in ("add", "sub", "neg", "mul", "cast") else ()
    parts = [_affine(shared, x, depth - 1) for x in inputs]
    known = [part for part in parts if part is not None]
    if not known or len(known) < len(parts):
        return None
    match node.op:
        case "cast":
            return known[0]
        case "neg":
            return _times(known[0], -1)
        case "add":
            return _sum(known[0], known[1])
        case "sub":
            return _sum(known[0], _times(known[1], -1))
    for one, other in (known, known[::-1]):
        if not one[0] and isinstance(one[1], int):
            return _times(other, one[1])
    return None


def _times(a: Affine, factor: int) -> Affine:
    return {node: count * factor for node, count in a[0].items()}, a[1] * factor


def _sum(a: Affine, b: Affine) -> Affine:
    total = dict(a[0])
    for node, count in b[0].items():
        total[node] = total.get(node, 0) + count
    return {node: count for node, count in total.items() if count}, a[1] + b[1]
