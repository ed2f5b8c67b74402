"""Making nodes in derivative rules and decompositions: the few phrases that every family says."""

from __future__ import annotations

from graphc.ir.dims import Dim
from graphc.ir.node import ConstArray, Node, constant, make
from graphc.ir.types import I64, DType, TensorType


def zeros(type: TensorType) -> Node:
    """The zero of a type."""
    return constant(0, type)


def operand(value: Node | float, model: Node) -> Node:
    """A node as it is; a number as a constant of the model's type."""
    return value if isinstance(value, Node) else constant(value, model.type)


def where(condition: Node, yes: Node | float, no: Node | float) -> Node:
    """Elementwise choice; at most one of the two may be a number."""
    model = yes if isinstance(yes, Node) else no
    assert isinstance(model, Node)
    return make("where", condition, operand(yes, model), operand(no, model))


def compare(op: str, a: Node, b: Node | float) -> Node:
    return make(op, a, operand(b, a))


def cast(x: Node, dtype: DType) -> Node:
    return x if x.dtype == dtype else make("cast", x, dtype=dtype)


def remaining(rank: int, axes: tuple[int, ...]) -> tuple[int, ...]:
    """The axes of a rank that are not in `axes`."""
    return tuple(i for i in range(rank) if i not in axes)


def broadcast(x: Node, shape: tuple[Dim, ...], axes: tuple[int, ...]) -> Node:
    """x with its axis i at axis axes[i] of `shape`; x itself if that changes nothing."""
    return x if x.shape == shape else make("broadcast", x, shape=shape, axes=axes)


def spread(x: Node, shape: tuple[Dim, ...], axes: tuple[int, ...]) -> Node:
    """Puts back `axes` that a reduction of a value of this shape removed: the same value all along them."""
    return broadcast(x, shape, remaining(len(shape), axes))


def fill(x: Node, shape: tuple[Dim, ...]) -> Node:
    """A scalar node at every index of a shape."""
    return broadcast(x, shape, ())


def reduce(op: str, x: Node, *axes: int) -> Node:
    """reduce_OP over axes; x itself for none."""
    return make(f"reduce_{op}", x, axes=tuple(sorted(axes))) if axes else x


def size_of(dim: Dim, dtype: DType) -> Node:
    """A dimension as a scalar of a dtype: a constant if it is known."""
    if isinstance(dim, int):
        return constant(dim, TensorType(dtype))
    return cast(make("dim", dim=dim), dtype) if dtype != I64 else make("dim", dim=dim)


def splat(x: Node) -> float | int | bool | None:
    """The one value at every index of a constant, also behind a broadcast or cast; None if there is none."""
    while x.op in ("broadcast", "reshape"):
        x = x.inputs[0]
    if x.op != "const":
        return None
    value = x.attr("value")
    return None if isinstance(value, ConstArray) else value


def is_constant(x: Node) -> bool:
    """Whether a value is a constant, also behind broadcasts, reshapes and casts."""
    while x.op in ("broadcast", "reshape", "cast"):
        x = x.inputs[0]
    return x.op == "const"
