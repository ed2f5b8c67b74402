"""Reductions over named axes. `axis` names what goes away, `keep` what stays; without either everything goes."""

from __future__ import annotations

from graphc.frontend.arithmetic import Operand
from graphc.frontend.call import Site, Wrong
from graphc.frontend.functions import function
from graphc.frontend.values import Size, Tensor, Value, tensor
from graphc.ir.dims import divide_exactly, product
from graphc.ir.node import Node, make
from graphc.ir.types import I32
from graphc.ops.build import cast, fill, size_of


def reduced(site: Site) -> tuple[Tensor, Operand, tuple[int, ...]]:
    """The operand, and the axes that vanish; flexible axes are plain axes of size 1 here."""
    x = site.tensor("x")
    given = site.operand("x")
    origin = Operand(x, given.span, given.name, given.origin, given.origin_text)
    if site.has("axis") and site.has("keep"):
        site.error("GC0404", "`axis` and `keep` exclude each other", site.where("keep"))
        raise Wrong
    if site.has("keep"):
        kept = site.axes("keep", origin)
        return x, origin, tuple(i for i in range(x.rank) if i not in kept)
    return x, origin, site.axes("axis", origin)


def _fold(site: Site, op: str, x: Tensor, axes: tuple[int, ...]) -> Tensor:
    if not axes:
        return x
    made = site.make(op, x.node, axes=axes)
    return tensor(made.node, tuple(free for i, free in enumerate(x.flexible) if i not in axes))


def _numbers(site: Site, x: Tensor) -> Tensor:
    """Truth values count as 0 and 1."""
    return x if x.dtype.kind != "b" else tensor(cast(x.node, I32), x.flexible)


@function("sum(x, axis=, keep=)")
def _sum(site: Site) -> Value:
    x, _, axes = reduced(site)
    return _fold(site, "reduce_sum", _numbers(site, x), axes)


@function("prod(x, axis=, keep=)")
def _prod(site: Site) -> Value:
    x, _, axes = reduced(site)
    return _fold(site, "reduce_prod", _numbers(site, x), axes)


@function("any(x, axis=, keep=)")
def _any(site: Site) -> Value:
    x, _, axes = reduced(site)
    return _fold(site, "reduce_or", x, axes)


@function("all(x, axis=, keep=)")
def _all(site: Site) -> Value:
    x, _, axes = reduced(site)
    return _fold(site, "reduce_and", x, axes)


@function("mean(x, axis=, keep=)")
def _mean(site: Site) -> Value:
    """The sum divided by the number of elements; truth values and integers become floats first."""
    x, _, axes = reduced(site)
    if not x.dtype.is_float:
        x = tensor(cast(x.node, site.real), x.flexible)
    total = _fold(site, "reduce_sum", x, axes)
    return tensor(mean_of(total.node, x, axes), total.flexible)


def mean_of(total: Node, x: Tensor, axes: tuple[int, ...]) -> Node:
    """total / the product of the sizes of x's axes."""
    count = size_of(product(x.shape[i] for i in axes), x.dtype)
    return make("div", total, fill(count, total.shape))


@function("var(x, axis=, keep=)")
def _var(site: Site) -> Value:
    """The mean of the squared distance from the mean (divided by the count, not the count less one)."""
    x, _, axes = reduced(site)
    x = site.tensor("x", "f")
    mean = mean_of(_fold(site, "reduce_sum", x, axes).node, x, axes)
    kept = tuple(i for i in range(x.rank) if i not in axes)
    distance = make("sub", x.node, make("broadcast", mean, shape=x.shape, axes=kept) if axes else mean)
    square = tensor(make("mul", distance, distance), x.flexible)
    total = _fold(site, "reduce_sum", square, axes)
    return tensor(mean_of(total.node, x, axes), total.flexible)


@function("count(x, axis=, keep=)")
def _count(site: Site) -> Value:
    """How many elements a sum over these axes adds up, as a dimension."""
    x, _, axes = reduced(site)
    return Size(product(x.shape[i] for i in axes))


@function("maxout(x, parts, axis=)")
def _maxout(site: Site) -> Value:
    """The largest of each `parts` neighbours along an axis (the last): Goodfellow et al. 2013."""
    x = site.tensor("x", "fiu")
    given = site.operand("x")
    axis = site.axis("axis", Operand(x, given.span, given.name, given.origin, given.origin_text), -1)
    parts = site.integer("parts", None, 1)
    size = divide_exactly(x.shape[axis], parts)
    if size is None:
        site.error("GC0313", f"an axis of {x.shape[axis]} has no groups of {parts}", site.where("parts"))
        raise Wrong
    groups = site.make("reshape", x.node, shape=(*x.shape[:axis], size, parts, *x.shape[axis + 1 :]))
    made = site.make("reduce_max", groups.node, axes=(axis + 1,))
    return tensor(made.node, tuple(free and i != axis for i, free in enumerate(x.flexible)))


def _axis_function(name: str) -> None:
    @function(f"{name}(x, axis=)")
    def run(site: Site) -> Value:
        kinds = "f" if name not in ("argmax", "argmin") else "fiu"
        x = site.tensor("x", kinds)
        given = site.operand("x")
        origin = Operand(x, given.span, given.name, given.origin, given.origin_text)
        axis = site.axis("axis", origin, -1)
        made = site.make(name, x.node, axis=axis)
        keeps = name in ("softmax", "log_softmax")
        return tensor(made.node, tuple(free for i, free in enumerate(x.flexible) if keeps or i != axis))


for _name in ("softmax", "log_softmax", "logsumexp", "argmax", "argmin"):
    _axis_function(_name)
