"""`x @ w`: the last axis of x meets the last but one of w (the only one, if w has one axis)."""

from __future__ import annotations

from graphc.frontend.arithmetic import Operand, build, unify_types
from graphc.frontend.dimension import product_attrs
from graphc.frontend.scope import Frame, Shared
from graphc.frontend.values import POISON, Poison, Tensor, Value
from graphc.ir.dims import Dim
from graphc.ir.types import DType
from graphc.source import Span

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def matmul(shared: Shared, frame: Frame, left: Operand, right: Operand, span: Span, sign: Span, real: DType) -> Value:
    """A contraction. More than two axes are batches: those of the shorter operand are the last ones of the longer."""
    for side in (left, right):
        if not isinstance(side.value, Tensor):
            if isinstance(side.value, Poison):
                return POISON
            return shared.error("GC0206", "`@` needs tensors", side.span, "this is a number")
    made = unify_types(shared, (left, right), real, sign, "`@`")
    if made is None:
        return POISON
    x, w = made
    for value, side in ((x, left), (w, right)):
        if value.rank == 0:
            return shared.error("GC0201", "`@` needs axes, and a scalar has none", side.span, help="to scale, use *")
    if not x.dtype.is_float:
        return shared.error("GC0203", f"`@` works on floats, not {x.dtype}", sign, help="convert with cast(x, f32)")
    inner, outer = x.shape[-1], w.shape[max(w.rank - 2, 0)]
    if inner != outer:
        return _mismatch(shared, left, right, x, w, span, sign)
    spec = _spec(x, w)
    if spec is None:
        title = f"`@` joins batches of {x} and {w}"
        also = [(left.span, str(x)), (right.span, str(w)), *left.origins(), *right.origins()]
        help = "the leading axes of the shorter must be the last leading axes of the longer"
        return shared.error("GC0201", title, sign, help=help, also=also)
    attrs = product_attrs(shared, frame, x.dtype)
    return build(shared, "contract", (left, right), (x.node, w.node), span, spec=spec, **attrs)


def _spec(x: Tensor, w: Tensor) -> str | None:
    """The contraction; None if the batch axes differ."""
    if w.rank <= 2:
        batch = LETTERS[: x.rank - 1]
        return f"{batch}z,z{'y' * (w.rank - 1)}->{batch}{'y' * (w.rank - 1)}"
    rows = "x" if x.rank > 1 else ""
    own, other = x.shape[: max(x.rank - 2, 0)], w.shape[:-2]
    longest: tuple[Dim, ...] = own if len(own) >= len(other) else other
    shortest = other if longest is own else own
    if shortest and longest[len(longest) - len(shortest) :] != shortest:
        return None
    letters = LETTERS[: len(longest)]
    mine, theirs = letters[len(longest) - len(own) :], letters[len(longest) - len(other) :]
    return f"{mine}{rows}z,{theirs}zy->{letters}{rows}y"


def _mismatch(shared: Shared, left: Operand, right: Operand, x: Tensor, w: Tensor, span: Span, sign: Span) -> Value:
    axis = "first axis" if w.rank <= 2 else "last but one axis"
    inner, outer = x.shape[-1], w.shape[max(w.rank - 2, 0)]
    name, other = left.name or "the left side", right.name or "the right side"
    text = (
        f"the last axis of {name}{_named(left, -1)} must equal the {axis} of {other}{_named(right, max(w.rank - 2, 0))}"
    )
    help = ""
    if w.rank == 2 and w.shape[1] == inner:
        first, second = _axis_text(right, 0, w), _axis_text(right, 1, w)
        product = f"einsum({_labels(left, x)} * {right.name or 'w'}[c, d] -> {_result(x)})"
        help = f"write {w.dtype}[{second}, {first}], or {product}"
    also = [*right.origins(), *left.origins()[:0], (left.span, "")]
    if not right.origins():
        also = [(left.span, str(x)), (right.span, str(w))]
    return shared.error("GC0201", f"`@` joins {inner} with {outer}", sign, text, help=help, also=also, place=span)


def _named(operand: Operand, axis: int) -> str:
    """` (D = 784)` for an axis that was declared by name."""
    value = operand.value
    assert isinstance(value, Tensor)
    text = _axis_text(operand, axis, value)
    dim = str(value.shape[axis])
    return f" ({dim})" if text == dim else f" ({text} = {dim})"


def _axis_text(operand: Operand, axis: int, value: Tensor) -> str:
    """An axis as its declaration writes it, else its size."""
    if operand.origin is not None:
        inside = operand.origin.text.partition("[")[2].removesuffix("]")
        axes = [part.strip() for part in inside.split(",")] if inside else []
        if len(axes) == value.rank:
            return axes[axis]
    return str(value.shape[axis])


def _labels(operand: Operand, x: Tensor) -> str:
    return f"{operand.name or 'x'}[{', '.join([*LETTERS[4 : 3 + x.rank], 'd'] if x.rank != 2 else ['b', 'd'])}]"


def _result(x: Tensor) -> str:
    return f"[{', '.join([*LETTERS[4 : 3 + x.rank], 'c'] if x.rank != 2 else ['b', 'c'])}]"
