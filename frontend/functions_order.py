"""Running sums and sorting, each along one axis (the last)."""

from __future__ import annotations

from graphc.frontend.arithmetic import Operand
from graphc.frontend.call import Site, Wrong
from graphc.frontend.functions import function
from graphc.frontend.subscript import _within
from graphc.frontend.values import Many, Tensor, Value, tensor
from graphc.ir.dims import Dim, bounds
from graphc.ir.node import Node, make
from graphc.ir.types import I32
from graphc.ops.build import cast
from graphc.ops.order import along


def _line(site: Site, x: Tensor) -> int:
    """The axis along which the function works."""
    given = site.operand("x")
    return site.axis("axis", Operand(x, given.span, given.name, given.origin, given.origin_text), -1)


def _free(x: Tensor, axis: int) -> tuple[bool, ...]:
    """The axes that stay flexible: those that the function leaves alone."""
    return tuple(free and i != axis for i, free in enumerate(x.flexible))


@function("cumsum(x, axis=, reverse=, exclusive=)")
def _cumsum(site: Site) -> Value:
    """The sum of the elements up to each; truth values count as 0 and 1."""
    x = site.tensor("x")
    axis = _line(site, x)
    numbers = cast(x.node, I32) if x.dtype.kind == "b" else x.node
    made = site.make("cumsum", numbers, axis=axis, reverse=site.flag("reverse"), exclusive=site.flag("exclusive"))
    return tensor(made.node, _free(x, axis))


@function("argsort(x, axis=, descending=)")
def _argsort(site: Site) -> Value:
    """The indices that sort x; of equal elements the first comes first, NaN counts as greatest."""
    x = site.tensor("x")
    axis = _line(site, x)
    made = site.make("argsort", x.node, axis=axis, descending=site.flag("descending"))
    return tensor(made.node, _free(x, axis))


@function("sort(x, axis=, descending=)")
def _sort(site: Site) -> Value:
    """The elements in order; derivatives go to where they came from."""
    x = site.tensor("x")
    axis = _line(site, x)
    order = site.make("argsort", x.node, axis=axis, descending=site.flag("descending"))
    return tensor(along(x.node, order.node, axis), _free(x, axis))


@function("top_k(x, k, axis=)")
def _top_k(site: Site) -> Value:
    """The k greatest elements, the greatest first, and their indices."""
    x = site.tensor("x")
    axis, count = _line(site, x), site.dim("k")
    if bounds(count)[0] < 1:
        site.fail("k", "must be at least 1")
        raise Wrong
    if not _within(site.shared, count, x.shape[axis], site.span):
        raise Wrong
    order = site.make("argsort", x.node, axis=axis, descending=True)
    index = _first(order.node, count, axis)
    free = _free(x, axis)
    return Many((tensor(along(x.node, index, axis), free), tensor(index, free)))


def _first(x: Node, count: Dim, axis: int) -> Node:
    """The first elements along an axis."""
    stop = (*x.shape[:axis], count, *x.shape[axis + 1 :])
    return make("slice", x, start=(0,) * len(x.shape), stop=stop, step=(1,) * len(x.shape))
