"""Views: what a slice, transpose or reshape shows of a tensor in memory, as an offset and a stride for each axis."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from graphc.ir.axes import reshape_groups
from graphc.ir.dims import Dim
from graphc.ir.node import Node

VIEWS = frozenset({"slice", "transpose", "reshape"})


@dataclass(frozen=True)
class View:
    """Element (i, j, ..) lies at element offset + i * strides[0] + j * strides[1] + .. of the value of `base`."""

    base: Node
    offset: Dim
    strides: tuple[Dim, ...]


def row_major(shape: tuple[Dim, ...]) -> tuple[Dim, ...]:
    """Elements between neighbours along each axis of a tensor without gaps."""
    strides: list[Dim] = []
    step: Dim = 1
    for extent in reversed(shape):
        strides.insert(0, step)
        step = step * extent
    return tuple(strides)


def view_of(x: Node) -> View | None:
    """x as a view of the first node below it that is no index mapping; None if a reshape merges axes with gaps."""
    chain: list[Node] = []
    while x.op in VIEWS:
        chain.append(x)
        x = x.inputs[0]
    view = View(x, 0, row_major(x.shape))
    for node in reversed(chain):
        found = _seen_through(node, view)
        if found is None:
            return None
        view = found
    return view


def _seen_through(node: Node, view: View) -> View | None:
    """The view that a node shows of what `view` says about its operand."""
    if node.op == "transpose":
        return View(view.base, view.offset, tuple(view.strides[axis] for axis in node.attr("perm")))
    if node.op == "slice":
        offset = view.offset
        for start, stride in zip(node.attr("start"), view.strides, strict=True):
            offset = offset + start * stride
        steps = zip(node.attr("step"), view.strides, strict=True)
        return View(view.base, offset, tuple(step * stride for step, stride in steps))
    strides = _regrouped(node.inputs[0].shape, node.shape, view.strides)
    return None if strides is None else View(view.base, view.offset, strides)


def _regrouped(before: tuple[Dim, ...], after: tuple[Dim, ...], strides: tuple[Dim, ...]) -> tuple[Dim, ...] | None:
    """The strides after a reshape: axes that it merges must follow each other without gaps."""
    groups = reshape_groups(before, after)
    if groups is None:
        return None
    result: dict[int, Dim] = {}
    for source, target in groups:
        if any(strides[i] != strides[j] * before[j] for i, j in pairwise(source)):
            return None
        step: Dim = strides[source[-1]] if source else 0
        for axis in reversed(target):
            result[axis] = step
            step = step * after[axis]
    return tuple(result[axis] for axis in range(len(after)))
