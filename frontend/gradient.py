"""`grad x = ...` in a block: the block's own derivative replaced by a rule, as a custom_vjp node for each output.

The body is computed from stop_gradient(x), so x receives its derivative from the rule alone. A rule is linear in the
cotangents: for one output those of the others are zero, and the parts add up.
"""

from __future__ import annotations

from graphc.frontend import syntax as s
from graphc.frontend.arithmetic import Operand, as_type
from graphc.frontend.expression import evaluate
from graphc.frontend.scope import Frame, Shared
from graphc.frontend.values import Poison, Tensor, Value, tensor
from graphc.ir.graph import Graph, rebuild
from graphc.ir.node import Node, leaf, make, postorder
from graphc.ops.build import zeros


def ruled_names(shared: Shared, block: s.Block) -> dict[str, s.GradientRule]:
    """The arguments whose derivative a rule replaces; reports rules for anything else."""
    rules: dict[str, s.GradientRule] = {}
    arguments = [parameter.name.name for parameter in block.parameters]
    for one in block.body:
        if not isinstance(one, s.GradientRule):
            continue
        name = one.name.name
        if block.is_model:
            shared.error("GC0601", "a model has no `grad` rule", one.span, help="put it into a block")
        elif name not in arguments:
            help = f"arguments: {', '.join(arguments)}"
            shared.error("GC0601", f"`{name}` is no argument of `{block.name.name}`", one.name.span, help=help)
        elif name in rules:
            also = [(rules[name].name.span, "the first")]
            shared.error("GC0103", f"two gradient rules for `{name}`", one.name.span, also=also)
        else:
            rules[name] = one
    return rules


def stopped(value: Value) -> Value:
    """The value without derivative."""
    if not isinstance(value, Tensor) or not value.dtype.is_float:
        return value
    return Tensor(make("stop_gradient", value.node), value.flexible)


def apply_rules(
    shared: Shared, frame: Frame, block: s.Block, arguments: dict[str, Value], results: list[Value]
) -> list[Value]:
    """The outputs with their rules attached."""
    rules = ruled_names(shared, block)
    targets = [(name, value) for name, value in arguments.items() if name in rules and isinstance(value, Tensor)]
    for name, value in targets:
        if not value.dtype.is_float:
            shared.error("GC0602", f"`{name}` is {value} and has no derivative", rules[name].name.span)
            return results
    made: list[Value] = []
    for index, result in enumerate(results):
        if not isinstance(result, Tensor) or not result.dtype.is_float:
            made.append(result)
            continue
        dy = leaf("input", "cotangent", result.node.type)
        frame.cotangents = {}
        for position, (output, other) in enumerate(zip(block.outputs, results, strict=True)):
            if isinstance(other, Tensor) and other.dtype.is_float:
                node = dy if position == index else zeros(other.node.type)
                frame.cotangents[output.name.name] = Tensor(node, other.flexible)
        derivatives = [_rule(shared, frame, rules[name], value) for name, value in targets]
        frame.cotangents = None
        known = [value for value in derivatives if value is not None]
        if len(known) < len(derivatives):
            made.append(result)
            continue
        made.append(tensor(_custom_vjp(result.node, [x.node for _, x in targets], known, dy), result.flexible))
    return made


def _rule(shared: Shared, frame: Frame, rule: s.GradientRule, x: Tensor) -> Node | None:
    value = evaluate(shared, frame, rule.value)
    if isinstance(value, Poison):
        return None
    what = f"the derivative by `{rule.name.name}`"
    made = as_type(shared, Operand(value, rule.value.span), x.node.type, x.flexible, rule.name.span, what)
    return made.node if isinstance(made, Tensor) else None


def _custom_vjp(y: Node, xs: list[Node], derivatives: list[Node], dy: Node) -> Node:
    """custom_vjp(y, x..., captured...): what a rule uses besides the cotangent is captured as operands."""
    depends: dict[Node, bool] = {}
    captured: dict[Node, Node] = {}
    for node in postorder(derivatives):
        depends[node] = node is dy or any(depends[x] for x in node.inputs)
    for node in depends:
        outer = [x for x in node.inputs if depends[node] and not depends[x]]
        outer += [node] if node in derivatives and not depends[node] else []
        for x in outer:
            if x.op != "const" and x not in captured:
                captured[x] = leaf("input", f"captured{len(captured)}", x.type)
    new = rebuild(derivatives, lambda node, _: captured.get(node))
    outputs = {f"x{index}": node for index, node in enumerate(new)}
    rule = Graph("rule", (*captured.values(), dy), outputs)
    return make("custom_vjp", y, *xs, *captured, rule=rule, count=len(xs))
