"""The `train` section of a model: inputs, hyper-parameters, loss, metrics, clipping and the optimizers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from graphc.frontend import elsewhere
from graphc.frontend import syntax as s
from graphc.frontend.arithmetic import Operand, as_type, to_tensor
from graphc.frontend.binding import bind, may_own
from graphc.frontend.block import assign, misplaced
from graphc.frontend.clip import Clip, clip_of
from graphc.frontend.dimension import declared
from graphc.frontend.expression import evaluate, operand, real_of
from graphc.frontend.literal import _static
from graphc.frontend.optimizer import Choice, choose, default_of
from graphc.frontend.scan import scan
from graphc.frontend.scope import Binding, Frame, Shared
from graphc.frontend.values import POISON, Poison, Tensor, Value, tensor
from graphc.ir.node import Node, leaf
from graphc.ir.types import I64, TensorType
from graphc.ops.build import cast
from graphc.source import Span

STEP = leaf("step", "step", TensorType(I64))
SPECIAL = ("loss", "clip")


@dataclass(slots=True, eq=False)
class Section:
    """What a train section says, elaborated once in each mode."""

    inputs: dict[str, Node] = field(default_factory=dict)
    hypers: dict[str, tuple[Node, float]] = field(default_factory=dict)
    loss: Node | None = None
    metrics: dict[str, Node] = field(default_factory=dict)
    clip: Clip | None = None
    choices: list[Choice] = field(default_factory=list)


def train_section(shared: Shared, frame: Frame, train: s.Train) -> Section:
    """Reads a section in the frame that the model's body left behind."""
    section = Section()
    frame.kind = "train"
    step = tensor(cast(STEP, real_of(shared, frame)))
    if "step" not in frame.names:
        frame.names["step"] = Binding(step, train.header)
    given: dict[str, Span] = {}
    for one in train.body:
        shared.count(one.span)
        match one:
            case s.Input():
                _input(shared, frame, section, one)
            case s.Hyper():
                _hyper(shared, frame, section, one)
            case s.Assign() if len(one.targets) == 1 and one.targets[0].name in SPECIAL:
                _special(shared, frame, section, one, given)
            case s.Assign():
                _warn_of_fit(shared, one)
                assign(shared, frame, one)
            case s.Scan():
                scan(shared, frame, one)
            case s.Metric():
                _metric(shared, frame, section, one)
            case s.OptimizerUse():
                _optimizer(shared, frame, section, one)
            case s.Probe():
                pass
            case _:
                misplaced(shared, one, "a train section")
    if "loss" not in given:
        shared.error("GC0606", f"`train {train.model.name}` has no loss", train.header, help="add loss = ...")
    written = any(isinstance(one, s.OptimizerUse) and one.pattern is None for one in train.body)
    if not written and not any(choice.pattern is None for choice in section.choices):
        help = "add optimizer = adam(lr = 1e-3)"
        shared.error("GC0606", f"`train {train.model.name}` has no optimizer", train.model.span, help=help)
    return section


def _warn_of_fit(shared: Shared, one: s.Assign) -> None:
    """A warning of a name that looks like a setting of training and is a value like any other."""
    for target in one.targets:
        setting = elsewhere.FIT.get(target.name)
        if setting is not None:
            help = f"it is an argument of fit: model.fit(data, {setting}=...), or --{setting} of `graphc train`"
            shared.warn("GC0608", f"`{target.name}` sets nothing here", target.span, help=help)


def _is_free(shared: Shared, frame: Frame, name: s.Identifier, path_taken: Callable[[str], bool]) -> bool:
    if not may_own(shared, name, name.name):
        return False
    before = frame.names.get(name.name)
    if before is not None or path_taken(name.name):
        also = [(before.span, "declared here")] if before is not None else []
        shared.error("GC0103", f"`{name.name}` has a meaning already", name.span, also=also)
        return False
    return True


def _taken(shared: Shared, section: Section) -> Callable[[str], bool]:
    return lambda name: name in shared.params or name in section.inputs or name in section.hypers or name == "step"


def _input(shared: Shared, frame: Frame, section: Section, one: s.Input) -> None:
    if not _is_free(shared, frame, one.name, _taken(shared, section)):
        return
    made = declared(shared, frame, one.type)
    value: Value = POISON
    if made is not None:
        node = leaf("input", one.name.name, made.type)
        shared.spans.setdefault(node, one.name.span)
        section.inputs[one.name.name] = node
        value = Tensor(node, made.flexible)
    axes = made.axes if made is not None else ()
    frame.names[one.name.name] = Binding(value, one.name.span, one.type.span, axes)


def _hyper(shared: Shared, frame: Frame, section: Section, one: s.Hyper) -> None:
    if not _is_free(shared, frame, one.name, _taken(shared, section)):
        return
    made = declared(shared, frame, one.type)
    number = _static(evaluate(shared, frame, one.value))
    value: Value = POISON
    if made is not None and (made.type.rank or not made.type.dtype.is_float):
        shared.error("GC0606", f"a hyper-parameter is a float scalar, not {made.type}", one.type.span)
    elif number is None or isinstance(number, bool):
        shared.error("GC0606", "a hyper-parameter starts as a number known at compile time", one.value.span)
    elif made is not None:
        node = leaf("hyper", one.name.name, made.type)
        shared.spans.setdefault(node, one.name.span)
        section.hypers[one.name.name] = (node, float(number))
        value = tensor(node)
    frame.names[one.name.name] = Binding(value, one.name.span, one.type.span)


def _special(shared: Shared, frame: Frame, section: Section, one: s.Assign, given: dict[str, Span]) -> None:
    name = one.targets[0]
    if name.name in given:
        also = [(given[name.name], "the first")]
        shared.error("GC0103", f"`{name.name}` is given twice", name.span, also=also)
        return
    given[name.name] = name.span
    if name.name == "clip":
        section.clip = clip_of(shared, frame, one.value)
        return
    result = operand(shared, frame, one.value)
    value = to_tensor(shared, result.value, real_of(shared, frame), result.span)
    if isinstance(value, Poison):
        return
    if value.rank or not value.dtype.is_float:
        help = "take its mean or sum" if value.rank else "a loss is a float"
        shared.error("GC0602", f"the loss must be a float scalar, not {value}", one.value.span, str(value), help=help)
        return
    section.loss = value.node
    frame.names["loss"] = Binding(value, name.span)


def _metric(shared: Shared, frame: Frame, section: Section, one: s.Metric) -> None:
    if one.name.name in section.metrics or one.name.name == "loss":
        shared.error("GC0103", f"the figure `{one.name.name}` is given twice", one.name.span)
        return
    result = operand(shared, frame, one.value)
    value = to_tensor(shared, result.value, real_of(shared, frame), result.span)
    if isinstance(value, Poison):
        return
    if value.rank:
        help = "take its mean or sum"
        shared.error("GC0602", f"a metric is a scalar, not {value}", one.value.span, str(value), help=help)
        return
    section.metrics[one.name.name] = value.node


def _optimizer(shared: Shared, frame: Frame, section: Section, one: s.OptimizerUse) -> None:
    if one.pattern is None and default_of(section.choices) is not None:
        help = 'to choose for some parameters: optimizer for "embed.*" = ...'
        shared.error("GC0103", "a second `optimizer`", one.keyword, help=help)
        return
    choice = choose(shared, frame, one)
    if choice is not None:
        section.choices.append(choice)


def scalar_setting(shared: Shared, frame: Frame, node: s.Expression, wanted: TensorType, what: str) -> Value:
    """A setting of an optimizer or clip as a scalar of a type."""
    value = evaluate(shared, frame, node)
    return as_type(shared, Operand(value, node.span), wanted, (), node.span, what)


__all__ = ["STEP", "Section", "bind", "scalar_setting", "train_section"]
