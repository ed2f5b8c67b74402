"""What losses on class numbers share: the numbers, compared with every class, and weights of classes."""

from __future__ import annotations

from graphc.frontend.call import Site, Wrong
from graphc.frontend.values import Tensor
from graphc.ir.dims import Dim
from graphc.ir.node import Node, make
from graphc.ir.types import I32
from graphc.ops.build import cast, reduce, remaining, where


def class_numbers(labels: Node, count: Dim) -> Node:
    """The labels as i32, read from the table 0 .. count - 1: a label out of range is then an error of the call."""
    return make("gather", make("iota", dtype=I32, shape=(count,), axis=0), labels, axis=0)


def at_class(x: Node, numbers: Node, axis: int) -> Node:
    """x without `axis`: at each place its element of the class that `numbers` (i32) names there; 0 if there is none.

    By comparison with every class, as the op `cross_entropy` does it: vector code, and a dense derivative.
    """
    classes = make("iota", dtype=I32, shape=x.shape, axis=axis)
    spread = make("broadcast", numbers, shape=x.shape, axes=remaining(len(x.shape), (axis,)))
    return reduce("sum", where(make("eq", classes, spread), x, 0.0), axis)


def row_weights(site: Site, logits: Tensor, labels: Tensor, axis: int) -> Node:
    """The argument `weights`, one number for each class, at the class of each row; 0 for a label that is no class."""
    weights = site.tensor("weights", "f")
    if labels.dtype.is_float:
        site.fail("weights", "needs labels that are class numbers")
        raise Wrong
    if weights.dtype != logits.dtype or weights.shape != (logits.shape[axis],):
        site.fail("weights", f"must be one {logits.dtype} for each of {logits.shape[axis]} classes, not {weights}")
        raise Wrong
    spread = make("broadcast", weights.node, shape=logits.shape, axes=(axis,))
    return at_class(spread, cast(labels.node, I32), axis)
