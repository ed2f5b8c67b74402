"""The values of all steps at once: an expression of one step as an expression of stacked values.

The step's axes move one place back to make room for the steps' axis in front.
"""

from __future__ import annotations

from collections.abc import Callable

from graphc.ir.dims import Dim
from graphc.ir.node import Node, make
from graphc.ops.bfloat import elements_of
from graphc.ops.contraction import like, parse
from graphc.ops.op import Elementwise, Reduction

Rule = Callable[[Node, tuple["Node | None", ...], Dim], "Node | None"]


def stack(node: Node, inputs: tuple[Node | None, ...], length: Dim) -> Node | None:
    """The values of `node` at all steps, from those of its inputs; None if no rule says how.

    An input that is the same at every step is None.  At least one is not.
    """
    if isinstance(node.definition, Elementwise) or node.op in ("where", "cast"):
        every = [_spread(x, now, length) for x, now in zip(node.inputs, inputs, strict=True)]
        return make(node.op, *every, **node.attrs_dict)
    if isinstance(node.definition, Reduction):
        assert inputs[0] is not None, "the operand of a reduction varies"
        return make(node.op, inputs[0], axes=tuple(axis + 1 for axis in node.attr("axes")))
    rule = _RULES.get(node.op)
    return rule(node, inputs, length) if rule is not None else None


def _spread(x: Node, now: Node | None, length: Dim) -> Node:
    """The stacked operand; the same value at every step if it is None."""
    return now if now is not None else make("broadcast", x, shape=(length, *x.shape), axes=_behind(len(x.shape)))


def _behind(rank: int) -> tuple[int, ...]:
    return tuple(range(1, rank + 1))


def contract(node: Node, inputs: tuple[Node | None, ...], length: Dim, summed: bool = False) -> Node | None:
    """A contraction at all steps, or its sum over them."""
    a, b, result = parse(node.attr("spec"))
    label = next((x for x in "tuvwxyzabcdefghijklmnopqrs" if x not in a + b), None)
    if label is None:
        return None
    labels = [("" if now is None else label) + own for now, own in zip(inputs, (a, b), strict=True)]
    operands = [x if now is None else now for x, now in zip(node.inputs, inputs, strict=True)]
    if summed and None in inputs:  # only one operand varies: it is summed first
        if elements_of(node) is not None:
            return None  # the sum of what is rounded is not the rounded sum
        at = 1 if inputs[0] is None else 0
        operands[at], labels[at] = make("reduce_sum", operands[at], axes=(0,)), (a, b)[at]
    target = result if summed else label + result
    return like(node, operands[0], operands[1], spec=f"{labels[0]},{labels[1]}->{target}")


def _broadcast(node: Node, inputs: tuple[Node | None, ...], length: Dim) -> Node | None:
    axes = (0, *(axis + 1 for axis in node.attr("axes")))
    return make("broadcast", *_given(inputs), shape=(length, *node.shape), axes=axes)


def _reshape(node: Node, inputs: tuple[Node | None, ...], length: Dim) -> Node | None:
    return make("reshape", *_given(inputs), shape=(length, *node.shape))


def _transpose(node: Node, inputs: tuple[Node | None, ...], length: Dim) -> Node | None:
    return make("transpose", *_given(inputs), perm=(0, *(axis + 1 for axis in node.attr("perm"))))


def _reverse(node: Node, inputs: tuple[Node | None, ...], length: Dim) -> Node | None:
    return make("reverse", *_given(inputs), axes=tuple(axis + 1 for axis in node.attr("axes")))


def _slice(node: Node, inputs: tuple[Node | None, ...], length: Dim) -> Node | None:
    start, stop, step = node.attr("start"), node.attr("stop"), node.attr("step")
    return make("slice", *_given(inputs), start=(0, *start), stop=(length, *stop), step=(1, *step))


def _concat(node: Node, inputs: tuple[Node | None, ...], length: Dim) -> Node | None:
    every = [_spread(x, now, length) for x, now in zip(node.inputs, inputs, strict=True)]
    return make("concat", *every, axis=node.attr("axis") + 1)


def _gather(node: Node, inputs: tuple[Node | None, ...], length: Dim) -> Node | None:
    """Rows of one table picked at every step."""
    if inputs[0] is not None or inputs[1] is None or node.attr("axis") != 0:
        return None
    return make("gather", node.inputs[0], inputs[1], axis=0)


def _given(inputs: tuple[Node | None, ...]) -> list[Node]:
    return [x for x in inputs if x is not None]


_RULES: dict[str, Rule] = {
    "contract": contract,
    "broadcast": _broadcast,
    "reshape": _reshape,
    "transpose": _transpose,
    "reverse": _reverse,
    "slice": _slice,
    "concat": _concat,
    "gather": _gather,
}


def sum_over_steps(node: Node, inputs: tuple[Node | None, ...], length: Dim) -> Node | None:
    """The sum of a node's values at all steps, from its stacked inputs; None if no rule says how."""
    if node.op == "contract":
        return contract(node, inputs, length, summed=True)
    if node.op == "reduce_sum" and inputs[0] is not None:
        return make("reduce_sum", inputs[0], axes=(0, *(axis + 1 for axis in node.attr("axes"))))
    if node.op == "scatter_add" and node.attr("axis") == 0 and None not in inputs:
        return make("scatter_add", *_given(inputs), axis=0, size=node.attr("size"))
    return None
