"""What losses on class numbers share: the numbers, compared with every class, and weights of classes."""

from __future__ import annotations

from graphc.frontend import syntax as s
from graphc.frontend.call import Site, Wrong
from graphc.frontend.constant import array
from graphc.frontend.values import Many, Poison, Tensor, describe
from graphc.ir.dims import Dim
from graphc.ir.node import Node, make
from graphc.ir.types import I32, TensorType
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
    weights = _weights(site, TensorType(logits.dtype, (logits.shape[axis],)))
    if labels.dtype.is_float:
        site.fail("weights", "needs labels that are class numbers")
        raise Wrong
    spread = make("broadcast", weights, shape=logits.shape, axes=(axis,))
    return at_class(spread, cast(labels.node, I32), axis)


def _weights(site: Site, wanted: TensorType) -> Node:
    """A written list of numbers, or a value of the type."""
    written = site.arguments["weights"]
    value = site.value("weights")
    made = value
    if isinstance(value, Many) and isinstance(written, s.Sequence):
        made = array(site.shared, value, wanted, written, site.where("logits"))
        if isinstance(made, Poison):
            raise Wrong
    if not isinstance(made, Tensor) or made.node.type != wanted:
        site.fail("weights", f"must be one number for each class, {wanted}, not {describe(value)}")
        raise Wrong
    return made.node
