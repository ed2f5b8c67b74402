"""Giving names their values: which names may be bound, and what a state or a carry asks of its new value."""

from __future__ import annotations

from graphc.frontend import syntax as s
from graphc.frontend.arithmetic import Operand, as_type
from graphc.frontend.expression import LITERAL_NAMES
from graphc.frontend.scope import Binding, Carried, Frame, Recurrence, Shared
from graphc.frontend.values import POISON, Instance, InstanceArray, Tensor, Value, describe
from graphc.source import Span


def bind(
    shared: Shared,
    frame: Frame,
    name: s.Identifier,
    value: Value,
    span: Span,
    type_span: Span | None = None,
    axes: tuple[str, ...] = (),
) -> None:
    """Gives a name a value. Rebinding a value is allowed; parameters, instances and built-ins keep their name."""
    if not may_name(shared, name):
        frame.names[name.name] = Binding(POISON, span)
        return
    before = frame.names.get(name.name)
    if before is not None and name.name in frame.states:
        _assign_state(shared, frame, name, value, before)
        return
    if frame.scan is not None and not may_assign(shared, frame, frame.scan, name):
        frame.names[name.name] = Binding(POISON, span)
        return
    if frame.scan is not None and name.name in frame.scan.carries:
        _assign_carry(shared, frame, frame.scan.carries[name.name], name, value)
        return
    if before is not None and isinstance(before.value, Instance | InstanceArray):
        also = [(before.span, "declared here")]
        shared.error("GC0103", f"`{name.name}` is {describe(before.value)}", name.span, also=also)
        return
    frame.names[name.name] = Binding(value, span, type_span, axes)


def may_name(shared: Shared, name: s.Identifier, *, is_block: bool = False) -> bool:
    """Whether a name is free: built-ins cannot be shadowed, but a file may have its own block for a derived one."""
    from graphc.frontend.functions import DERIVED, FUNCTIONS

    if is_block and name.name in DERIVED:
        return True
    if name.name in FUNCTIONS or name.name in LITERAL_NAMES or name.name == "_":
        help = "choose another name"
        shared.error("GC0108", f"`{name.name}` is built in and cannot be a name", name.span, help=help)
        return False
    return True


RESERVED = ("step", "seed")  # the names of the leaves that every training step has


def may_own(shared: Shared, name: s.Identifier, path: str) -> bool:
    """Whether an input, parameter or state may have this path."""
    if path in RESERVED:
        help = "choose another name"
        shared.error("GC0108", f"`{path}` is the name of a built-in input of training", name.span, help=help)
        return False
    return may_name(shared, name)


def _assign_carry(shared: Shared, frame: Frame, carried: Carried, name: s.Identifier, value: Value) -> None:
    """A new value of a carry, which keeps its type."""
    type = carried.declaration.type
    given = Operand(value, name.span)
    made = as_type(shared, given, carried.leaf.type, carried.flexible, type.span, f"the carry `{name.name}`")
    frame.names[name.name] = Binding(made, name.span, type.span, carried.axes)


def _assign_state(shared: Shared, frame: Frame, name: s.Identifier, value: Value, before: Binding) -> None:
    leaf = frame.states[name.name]
    if frame.indices:
        help = "a state changes once a step: let the scan carry or emit what it needs"
        also = [(before.span, "the state")]
        shared.error("GC0504", f"the state `{name.name}` cannot change inside a scan", name.span, help=help, also=also)
        return
    if not frame.when_training:
        help = "indent it below `when training:`"
        also = [(before.span, "the state")]
        shared.error("GC0604", f"the state `{name.name}` changes only in training", name.span, help=help, also=also)
        return
    given = Operand(value, name.span)
    made = as_type(shared, given, leaf.type, (False,) * len(leaf.shape), before.span, f"`{name.name}`")
    frame.names[name.name] = Binding(made, before.span, before.type_span, before.axes)
    if isinstance(made, Tensor):
        shared.state_values[leaf] = made.node


def may_assign(shared: Shared, frame: Frame, recurrence: Recurrence, name: s.Identifier) -> bool:
    """Whether the body may bind a name: a carry or a name of its own, neither one from outside nor an output."""
    if name.name in recurrence.carries:
        return True
    before = frame.names.get(name.name)
    index, text = recurrence.statement.index, recurrence.statement.axis.span.text
    if before is not None and before is recurrence.outer.names.get(name.name):
        help = f"to take it from step to step declare it in the scan: carry {name.name}: ... = {name.name}"
        also = [(before.span, "its value outside")]
        shared.error("GC0501", f"`{name.name}` is bound outside of this scan", name.span, help=help, also=also)
        return False
    if before is not None and name.name == index.name:
        shared.error("GC0103", f"`{name.name}` is the index of the scan", name.span, also=[(index.span, "here")])
        return False
    outputs = shared.active[-1][0].outputs if shared.active else ()
    if name.name not in recurrence.emitted and name.name in [output.name.name for output in outputs]:
        help = f"declare carry {name.name} for its last value, or emit {name.name} with an axis {text} for all of them"
        shared.error(
            "GC0501", f"the output `{name.name}` would have a value inside of the scan only", name.span, help=help
        )
        return False
    return True
