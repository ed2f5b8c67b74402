"""The sum of what flows back to one value from its several uses."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.ir.dims import Dim, product
from graphc.ir.node import Node, make


def total(flows: Sequence[Node]) -> Node:
    """The sum in the order given; parts of a value that was taken apart are put side by side instead.

    The derivative of a slice is zero outside of it: slices that follow each other along one axis, from end to end,
    have as their sum one concatenation, and nothing is added.
    """
    whole = _side_by_side(flows) if len(flows) > 1 else None
    if whole is not None:
        return whole
    result, *others = flows
    for flow in others:
        result = _sum(result, flow)
    return result


def _sum(a: Node, b: Node) -> Node:
    """a + b; of two scatters into one table a single one, so that it stays as sparse as its indices."""
    if a.op != "scatter_add" or b.op != "scatter_add" or a.attrs != b.attrs:
        return a + b
    (i, x), (j, y), axis, size = a.inputs, b.inputs, a.attr("axis"), a.attr("size")
    if i.dtype != j.dtype:
        return a + b
    parts = [(_line(index, 0, index.shape), _line(updates, axis, index.shape)) for index, updates in ((i, x), (j, y))]
    index = make("concat", *(index for index, _ in parts), axis=0)
    updates = make("concat", *(updates for _, updates in parts), axis=axis)
    return make("scatter_add", index, updates, axis=axis, size=size)


def _line(x: Node, axis: int, index: tuple[Dim, ...]) -> Node:
    """x with the axes of an index, which stand from `axis` on, as one."""
    shape = (*x.shape[:axis], product(index), *x.shape[axis + len(index) :])
    return x if shape == x.shape else make("reshape", x, shape=shape)


def _side_by_side(flows: Sequence[Node]) -> Node | None:
    parts: dict[Dim, tuple[Dim, Node]] = {}  # start -> (end, what is not zero)
    axis = None
    for flow in flows:
        if flow.op != "pad" or flow.attr("value") != 0 or any(flow.attr("interior")):
            return None
        low, high = flow.attr("low"), flow.attr("high")
        padded = [i for i, ends in enumerate(zip(low, high, strict=True)) if ends != (0, 0)]
        if len(padded) != 1 or axis not in (None, padded[0]) or low[padded[0]] in parts:
            return None
        axis = padded[0]
        parts[low[axis]] = low[axis] + flow.inputs[0].shape[axis], flow.inputs[0]
    assert axis is not None, "there is a flow"
    ordered: list[Node] = []
    at: Dim = 0
    while at in parts:
        at, part = parts.pop(at)
        ordered.append(part)
    return make("concat", *ordered, axis=axis) if not parts and at == flows[0].shape[axis] else None
