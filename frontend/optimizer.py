"""Optimizers: definitions in the language, applied to one parameter at a time.

The settings of an optimizer, `step` and its slots have the element type of the parameter, so that one definition
serves f32 and f64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from graphc.frontend import syntax as s
from graphc.frontend.arithmetic import Operand, as_type, to_tensor
from graphc.frontend.block import assign, misplaced
from graphc.frontend.expression import evaluate, operand, real_of
from graphc.frontend.literal import _static
from graphc.frontend.parameter import initializer
from graphc.frontend.pattern import matches, matching
from graphc.frontend.resolve import ModuleScope
from graphc.frontend.scope import Binding, Frame, Shared, nearest
from graphc.frontend.values import POISON, Literal, Poison, Size, Tensor, Value, tensor
from graphc.ir.graph import rebuild
from graphc.ir.node import Node, constant, leaf
from graphc.ir.types import TensorType
from graphc.ops.build import cast, splat
from graphc.program import Initializer, Update, Variable
from graphc.source import Span


@dataclass(slots=True, eq=False)
class Choice:
    """An optimizer with its settings, for all parameters or for those that fit a pattern."""

    pattern: str | None
    definition: s.Optimizer
    module: ModuleScope
    settings: dict[str, Value] = field(default_factory=dict)


def default_of(choices: Sequence[Choice]) -> Choice | None:
    """The choice for the parameters that no pattern takes."""
    return next((choice for choice in choices if choice.pattern is None), None)


def choose(shared: Shared, frame: Frame, one: s.OptimizerUse) -> Choice | None:
    """`optimizer = adam(lr = ...)`; None after an error."""
    call = one.value
    if not isinstance(call, s.Call):
        help = "write a call: sgd(lr = 0.1)"
        shared.error("GC0606", "an optimizer is chosen by a call", call.span, help=help)
        return None
    found = _definition(shared, frame, call.function)
    if one.pattern is not None:
        matching(shared, one.pattern.value, one.pattern.span)
    if found is None:
        return None
    definition, module = found
    choice = Choice(one.pattern.value if one.pattern else None, definition, module)
    _settings(shared, frame, choice, call)
    return choice


def _definition(shared: Shared, frame: Frame, node: s.Expression) -> tuple[s.Optimizer, ModuleScope] | None:
    """The optimizer a name means: of the file, else of std.optim."""
    standard = shared.optimizers()
    if isinstance(node, s.Name):
        found = frame.module.find(node.name) or standard.find(node.name)
        known = [*frame.module.names(), *standard.declarations]
        name = node.name
        if name in frame.module.broken:
            return None
    elif isinstance(node, s.Attribute) and isinstance(node.base, s.Name) and node.base.name in frame.module.modules:
        module = frame.module.modules[node.base.name]
        found, known, name = module.find(node.name.name), module.names(), node.name.name
    else:
        help = nearest(node.name.lower(), standard.declarations) if isinstance(node, s.DimensionName) else ""
        shared.error("GC0606", "expected the name of an optimizer", node.span, help=help)
        return None
    if found is None or not isinstance(found[0], s.Optimizer):
        help = nearest(name, known) or "there are " + ", ".join(standard.declarations)
        shared.error("GC0101", f"no optimizer `{name}`", node.span, help=help)
        return None
    return found[0], found[1]


@dataclass(frozen=True)
class _Range:
    """What a setting is called, where it makes sense, and a test for that."""

    name: str
    range: str
    holds: Callable[[float], bool]


_FORGETTING = ("at least 0 and less than 1", lambda x: 0 <= x < 1)
SETTINGS = {
    "lr": _Range("a learning rate", "at least 0", lambda x: x >= 0),
    "decay": _Range("a decay", "at least 0", lambda x: x >= 0),
    "eps": _Range("an eps", "greater than 0, or 0 / 0 is NaN where a gradient is 0", lambda x: x > 0),
    "mu": _Range("a momentum", *_FORGETTING),
    "rho": _Range("a rho", *_FORGETTING),
    "b1": _Range("a b1", *_FORGETTING),
    "b2": _Range("a b2", *_FORGETTING),
}
"""Settings of std.optim written as numbers: outside of these ranges the update is undefined or grows for ever."""


def _settings(shared: Shared, frame: Frame, choice: Choice, call: s.Call) -> None:
    definition = choice.definition
    names = [setting.name.name for setting in definition.settings]
    spans: dict[str, Span] = {}
    for position, argument in enumerate(call.arguments):
        key = argument.name.name if argument.name else names[position] if position < len(names) else ""
        where = argument.name.span if argument.name else argument.span
        value = operand(shared, frame, argument.value).value
        if key not in names:
            help = nearest(key, names) or "settings: " + ", ".join(names)
            title = f"`{definition.name.name}` has no setting `{key}`" if key else "too many settings"
            shared.error("GC0403", title, where, help=help)
        elif key in spans:
            shared.error("GC0404", f"`{key}` is given twice", argument.span, also=[(spans[key], "first")])
        else:
            spans[key] = argument.value.span
            choice.settings[key] = _setting(shared, frame, choice, value, argument.value.span, key)
    for setting in definition.settings:
        if setting.name.name not in spans and setting.default is None:
            title = f"`{definition.name.name}` needs `{setting.name.name}`"
            shared.error("GC0402", title, call.span, also=[(setting.span, "declared here")])
            choice.settings[setting.name.name] = POISON


def _setting(shared: Shared, frame: Frame, choice: Choice, value: Value, span: Span, key: str) -> Value:
    number = _static(value)
    is_standard = choice.module is shared.optimizers()
    if number is not None and not math.isfinite(number):
        return shared.error("GC0405", f"`{key}` is {number}", span, "must be a finite number")
    if number is not None and is_standard and key in SETTINGS and not SETTINGS[key].holds(number):
        title = f"{SETTINGS[key].name} of {number}"
        return shared.error("GC0405", title, span, f"must be {SETTINGS[key].range}")
    if isinstance(value, Literal | Size):
        return value
    made = to_tensor(shared, value, real_of(shared, frame), span)
    if isinstance(made, Tensor) and (made.rank or not made.dtype.is_float):
        return shared.error("GC0405", f"`{key}` must be a float scalar, not {made}", span)
    return made


@dataclass(slots=True, eq=False)
class Updater:
    """Applies the chosen optimizers; collects the slots it makes."""

    shared: Shared
    choices: Sequence[Choice]
    step: Node
    slots: dict[str, Variable] = field(default_factory=dict)

    def __call__(self, param: Node, gradient: Node) -> Update:
        """The new value of a parameter, and of its slots."""
        path = str(param.attr("name"))
        choice = default_of(self.choices)
        for one in self.choices:
            if one.pattern is not None and matches(one.pattern, path):
                choice = one
        if choice is None:
            return param, {}
        return self._update(choice, param, gradient, path)

    def _update(self, choice: Choice, param: Node, gradient: Node, path: str) -> Update:
        definition = choice.definition
        frame = Frame(choice.module, "optimizer", element=param.dtype)
        dtype = param.dtype
        at = definition.parameter.span
        frame.names["step"] = Binding(tensor(cast(self.step, dtype)), definition.header)
        frame.names[definition.parameter.name] = Binding(tensor(param), at)
        stand_in = leaf("gradient", path, gradient.type)
        frame.names[definition.gradient.name] = Binding(tensor(stand_in), definition.gradient.span)
        for setting in definition.settings:
            frame.names[setting.name.name] = Binding(self._setting(choice, setting, frame), setting.name.span)
        new, slots = run_definition(self, frame, definition, param, path)
        made = rebuild([new, *slots.values()], lambda node, inputs: _without_zeros(node, inputs, stand_in, gradient))
        return made[0], dict(zip(slots, made[1:], strict=True))

    def _setting(self, choice: Choice, setting: s.Parameter, frame: Frame) -> Value:
        value = choice.settings.get(setting.name.name)
        if value is None and setting.default is not None:
            value = evaluate(self.shared, frame, setting.default)
        if isinstance(value, Tensor):
            return tensor(cast(value.node, frame.element or value.dtype))
        assert value is not None
        wanted = TensorType(frame.element) if frame.element is not None else None
        if wanted is None or isinstance(value, Poison):
            return value
        what = f"`{setting.name.name}`"
        return as_type(self.shared, Operand(value, setting.span), wanted, (), setting.type.span, what)


def _without_zeros(node: Node, inputs: tuple[Node, ...], stand_in: Node, gradient: Node) -> Node | None:
    """An optimizer's node with the gradient in its place, and without what a setting of 0 multiplies.

    So a decay of 0 costs nothing, and gradient descent does not read what has no gradient.
    """
    if node is stand_in:
        return gradient
    is_zero = [splat(x) == 0 for x in inputs]
    if node.op == "mul" and any(is_zero):
        return constant(0, node.type)
    if node.op in ("add", "sub") and is_zero[1]:
        return inputs[0]
    return inputs[1] if node.op == "add" and is_zero[0] else None


def run_definition(updater: Updater, frame: Frame, definition: s.Optimizer, param: Node, path: str) -> Update:
    """Runs an optimizer's body in a frame that holds its arguments."""
    shared = updater.shared
    slots: dict[str, Node] = {}
    for one in definition.body:
        shared.count(one.span)
        if isinstance(one, s.Slot):
            node = _slot(updater, frame, one, param, path)
            slots[one.name.name] = node
        elif isinstance(one, s.Assign):
            assign(shared, frame, one)
        else:
            misplaced(shared, one, "an optimizer")
    updates = {node: _result(shared, frame, name, node) for name, node in slots.items()}
    return _result(shared, frame, definition.parameter.name, param), updates


def _slot(updater: Updater, frame: Frame, one: s.Slot, param: Node, path: str) -> Node:
    shared = updater.shared
    if one.name.name in frame.names:
        also = [(frame.names[one.name.name].span, "declared here")]
        shared.error("GC0103", f"`{one.name.name}` has a meaning already", one.name.span, also=also)
    start = _slot_start(shared, frame, one)
    kind = param.type
    if one.type is not None:
        kind = TensorType(param.dtype)
        if one.type.axes:
            help = "without a type a slot has the parameter's shape"
            shared.error("GC0606", "a slot with a type is a scalar", one.type.span, help=help)
    node = leaf("slot", f"{one.name.name}/{path}", kind)
    updater.slots.setdefault(f"{one.name.name}/{path}", Variable(node, start, False))
    frame.names[one.name.name] = Binding(tensor(node), one.name.span)
    return node


def _slot_start(shared: Shared, frame: Frame, one: s.Slot) -> Initializer:
    if isinstance(one.value, s.Name):  # a setting of the optimizer, when it is a number
        value = evaluate(shared, frame, one.value)
        number = _static(value)
        if isinstance(value, Poison):
            return Initializer("zeros")
        if number is None or isinstance(number, bool):
            shared.error("GC0110", "a slot starts as zeros(), ones() or a number", one.value.span)
            return Initializer("zeros")
        return Initializer("constant", (("value", float(number)),))
    return initializer(shared, frame, one.value)


def _result(shared: Shared, frame: Frame, name: str, node: Node) -> Node:
    binding = frame.names[name]
    if isinstance(binding.value, Poison):
        return node
    what = f"`{name}`"
    flexible = (False,) * len(node.shape)
    made = as_type(shared, Operand(binding.value, binding.span), node.type, flexible, binding.span, what)
    return made.node if isinstance(made, Tensor) else node
