"""Ops about the graph itself: stopped and replaced derivatives, fused groups and their results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from graphc.ir.graph import Graph, inline, rebuild
from graphc.ir.node import AnyType, Node, leaf, make
from graphc.ir.types import F64, I32, TensorType, TupleType, TypeMismatch
from graphc.ops.op import Array, Composite, Cotangents, Sample, Structured, expect, register


@register
class StopGradient(Composite):
    """stop_gradient(x): the value of x, taken as a constant by every derivative."""

    name = "stop_gradient"
    differentiable = False

    def infer(self, x: TensorType) -> TensorType:
        return x

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        return (None,)

    def evaluate(self, x: Array) -> Array:
        return x

    def decompose(self, node: Node) -> Node:
        return node.inputs[0]

    def samples(self, size: int) -> Iterator[Sample]:
        yield Sample((TensorType(F64, (size,)),))
        yield Sample((TensorType(I32, (size,)),))


@register
class CustomVjp(Composite):
    """custom_vjp(y, x..., captured..., rule, count): the value of y, with a derivative of its own by each x.

    There are `count` values x.  The leaves of the graph `rule` are the captured values, then the cotangent of y;
    its outputs are the cotangents of the x in order.  A cotangent also flows to y by y's own computation: y is
    built from stop_gradient(x), so that x gets its derivative once.  None flows to the captured values.
    """

    name = "custom_vjp"
    differentiable = True

    def infer(self, y: TensorType, *others: TensorType, rule: Graph, count: int) -> TensorType:
        expect(isinstance(rule, Graph), "custom_vjp: the rule is not a graph")
        expect(isinstance(count, int) and 0 <= count <= len(others), f"custom_vjp: there are no {count} operands")
        given, wanted = [*others[count:], y], [x.type for x in rule.leaves]
        expect(given == wanted, f"custom_vjp: the rule takes {wanted}, not {given}", 0)
        results = [x.type for x in rule.outputs.values()]
        message = f"custom_vjp: the rule gives {results}, the operands are {list(others[:count])}"
        expect(results == list(others[:count]), message, *range(1, count + 1))
        return y

    def vjp(self, node: Node, dy: Node) -> Cotangents:
        rule, count = node.attr("rule"), node.attr("count")
        captured = node.inputs[1 + count :]
        return (dy, *inline(rule, [*captured, dy]), *(None,) * len(captured))

    def evaluate(self, y: Array, *others: Array, rule: Graph, count: int) -> Array:
        return y

    def decompose(self, node: Node) -> Node:
        return node.inputs[0]

    def samples(self, size: int) -> Iterator[Sample]:
        """y itself is the only operand: what a rule says by intent disagrees with differences of the value."""
        type = TensorType(F64, (size,))
        dy = leaf("input", "dy", type)
        yield Sample((type,), {"rule": Graph("rule", (dy,), {}), "count": 0})


@register
class Fused(Structured):
    """fused(inputs..., body): a group of ops that one kernel computes.

    The leaves of the graph `body` stand for the inputs in order.  One output is the value itself, several are
    read by `item`.  Autodiff takes the group apart (`inline_groups`).
    """

    name = "fused"
    kernel = "group"
    differentiable = False

    def infer(self, *types: TensorType, body: Graph) -> AnyType:
        expect(isinstance(body, Graph), "fused: the body is not a graph")
        wanted = [x.type for x in body.leaves]
        expect(list(types) == wanted, f"fused: the body takes {wanted}, not {list(types)}")
        expect(len(body.outputs) > 0 and not body.updates, "fused: the body has no output, or it has updates")
        results = tuple(x.type for x in body.outputs.values())
        return results[0] if len(results) == 1 else TupleType(results)

    def evaluate(self, *arrays: Array, body: Graph) -> Array:
        from graphc.ir.interpret import interpret

        values = {x.attr("name"): a for x, a in zip(body.leaves, arrays, strict=True)}
        outputs = tuple(interpret(body, values, {})[0].values())
        return outputs[0] if len(outputs) == 1 else outputs

    def samples(self, size: int) -> Iterator[Sample]:
        type = TensorType(F64, (size,))
        a, b = leaf("input", "a0", type), leaf("input", "a1", type)
        yield Sample((type, type), {"body": Graph("body", (a, b), {"r0": make("tanh", a * b) + a})})
        yield Sample((type, type), {"body": Graph("body", (a, b), {"r0": a * b, "r1": make("exp", a)})})


@register
class Item(Structured):
    """item(group, index): one of several results of a fused group."""

    name = "item"
    kernel = "part"
    differentiable = False

    def infer(self, group: TupleType, *, index: int) -> TensorType:
        if not isinstance(group, TupleType):
            raise TypeMismatch(f"item: {group} is one value, not a group", (0,))
        valid = isinstance(index, int) and 0 <= index < len(group.items)
        expect(valid, f"item: there is no result {index} in {group}", 0)
        return group.items[index]

    def evaluate(self, group: tuple[Array, ...], *, index: int) -> Array:
        return group[index]

    def samples(self, size: int) -> Iterator[Sample]:
        both = TupleType((TensorType(F64, (size,)), TensorType(I32, (size,))))
        yield Sample((both,), {"index": 0})
        yield Sample((both,), {"index": 1})


def inline_groups(roots: Iterable[Node]) -> list[Node]:
    """The same values without fused groups."""

    def open_group(node: Node, inputs: tuple[Node, ...]) -> Node | None:
        if node.op == "item" and node.inputs[0].op == "fused":
            group, index = inputs[0], int(node.attr("index"))
            return _inlined(group.attr("body"), group.inputs)[index]
        if node.op == "fused" and isinstance(node.type, TensorType):
            return _inlined(node.attr("body"), inputs)[0]
        return None

    return rebuild(roots, open_group)


def _inlined(body: Graph, values: tuple[Node, ...]) -> list[Node]:
    return inline_groups(inline(body, values))
