"""`einsum(a[i, k] * b[k, j] -> [i, j])`: contractions of two operands at a time, from left to right."""

from __future__ import annotations

from graphc.frontend import syntax as s
from graphc.frontend.arithmetic import Operand
from graphc.frontend.dimension import product_attrs
from graphc.frontend.expression import operand
from graphc.frontend.scope import Frame, Shared
from graphc.frontend.values import POISON, Poison, Tensor, Value, tensor
from graphc.ir.dims import Dim
from graphc.ir.node import Node, make
from graphc.ops.build import reduce
from graphc.ops.contraction import contract
from graphc.source import Span

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def einsum(shared: Shared, frame: Frame, node: s.Einsum) -> Value:
    """The sum over every label that is missing in the output of the product of the terms."""
    operands: list[Operand] = []
    letters: dict[str, str] = {}
    sizes: dict[str, tuple[Dim, Span, str]] = {}
    fine = True
    for term in node.terms:
        given = operand(shared, frame, term.operand)
        operands.append(given)
        fine = _label(shared, term, given, letters, sizes) and fine
    seen: set[str] = set()
    for label in node.output:
        if label.name not in letters and fine:
            shared.error("GC0312", f"the label `{label.name}` is in no term", label.span)
            fine = False
        if label.name in seen:
            shared.error("GC0312", f"the label `{label.name}` stands twice in the result", label.span)
            fine = False
        seen.add(label.name)
    if not fine:
        return POISON
    specs = ["".join(letters[label.name] for label in term.labels) for term in node.terms]
    output = "".join(letters[label.name] for label in node.output)
    return _chain(shared, frame, node, operands, specs, output)


def _label(
    shared: Shared,
    term: s.EinsumTerm,
    given: Operand,
    letters: dict[str, str],
    sizes: dict[str, tuple[Dim, Span, str]],
) -> bool:
    """Checks one term and learns the sizes of its labels."""
    value = given.value
    if isinstance(value, Poison):
        return False
    if not isinstance(value, Tensor) or not value.dtype.is_float:
        shared.error("GC0312", "einsum works on float tensors", given.span, help="convert with cast(x, f32)")
        return False
    if value.rank != len(term.labels):
        title = f"{len(term.labels)} labels for {value}"
        shared.error("GC0312", title, term.span, also=given.origins())
        return False
    names = [label.name for label in term.labels]
    for axis, (label, dim) in enumerate(zip(term.labels, value.shape, strict=True)):
        if names.index(label.name) < axis:
            shared.unsupported("a label twice in one term is", label.span, "GC0905")
            return False
        if len(letters) >= len(LETTERS) and label.name not in letters:
            shared.error("GC0312", f"more than {len(LETTERS)} labels", label.span)
            return False
        letters.setdefault(label.name, LETTERS[len(letters)] if len(letters) < len(LETTERS) else "")
        known = sizes.setdefault(label.name, (dim, label.span, given.name or "a term"))
        if known[0] != dim:
            title = f"the label `{label.name}` is {known[0]} and {dim}"
            also = [(known[1], f"{known[0]} here"), *given.origins()]
            shared.error("GC0201", title, label.span, f"{dim} here", also=also)
            return False
    return True


def _chain(
    shared: Shared, frame: Frame, node: s.Einsum, operands: list[Operand], specs: list[str], output: str
) -> Value:
    tensors = [given.value for given in operands]
    first = tensors[0]
    assert isinstance(first, Tensor)
    for given, value in zip(operands[1:], tensors[1:], strict=True):
        assert isinstance(value, Tensor)
        if value.dtype != first.dtype:
            also = [(operands[0].span, str(first)), (given.span, str(value))]
            title = f"einsum needs one element type, got {first.dtype} and {value.dtype}"
            return shared.error("GC0203", title, node.span, also=also, help="use cast")
    current: Node = first.node
    attrs = product_attrs(shared, frame, first.dtype)
    labels = specs[0]
    for index in range(1, len(tensors)):
        other = tensors[index]
        assert isinstance(other, Tensor)
        later = "".join(specs[index + 1 :]) + output
        if index == len(tensors) - 1:
            kept = output
        else:
            kept = "".join(dict.fromkeys(letter for letter in labels + specs[index] if letter in later))
        current = contract(current, other.node, f"{labels},{specs[index]}->{kept}", **attrs)
        shared.spans.setdefault(current, node.span)
        labels = kept
    if len(tensors) == 1:
        current = reduce("sum", current, *(i for i, letter in enumerate(labels) if letter not in output))
        labels = "".join(letter for letter in labels if letter in output)
    if labels != output:
        current = make("transpose", current, perm=tuple(labels.index(letter) for letter in output))
    return tensor(current)
