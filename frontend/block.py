"""Bodies of blocks and models: statements in order, each changing the frame."""

from __future__ import annotations

from graphc.frontend import syntax as s
from graphc.frontend.arithmetic import Operand, as_type, to_tensor
from graphc.frontend.dimension import check_dim, declared, dim_of
from graphc.frontend.expression import LITERAL_NAMES, evaluate, lookup, operand, real_of
from graphc.frontend.parameter import array_of_instances, instance, param, state
from graphc.frontend.requirement import require
from graphc.frontend.scope import Binding, DimBinding, Frame, Shared
from graphc.frontend.values import (
    POISON,
    Instance,
    InstanceArray,
    Many,
    Poison,
    Tensor,
    Value,
    describe,
)
from graphc.ir.dims import symbol
from graphc.source import Span


def run_body(shared: Shared, frame: Frame, body: tuple[s.Statement, ...]) -> None:
    """Every statement of a body."""
    for one in body:
        run(shared, frame, one)


def run(shared: Shared, frame: Frame, one: s.Statement) -> None:
    """One statement."""
    shared.count(one.span)
    match one:
        case s.Assign():
            assign(shared, frame, one)
        case s.ParamTensor():
            param(shared, frame, one)
        case s.ParamInstance() if one.count is None:
            instance(shared, frame, one)
        case s.ParamInstance():
            array_of_instances(shared, frame, one)
        case s.State():
            state(shared, frame, one)
        case s.Dimension():
            dimension(shared, frame, one)
        case s.Require():
            require(shared, frame, one)
        case s.For():
            loop(shared, frame, one)
        case s.When():
            when(shared, frame, one)
        case s.Probe():
            probe(shared, frame, one)
        case s.GradientRule():
            pass  # read when the body is complete (gradient.py)
        case s.Scan():
            _scan(shared, frame, one)
        case _:
            misplaced(shared, one, "a block")


def misplaced(shared: Shared, one: s.Statement, where: str) -> None:
    """A statement that the grammar takes anywhere but that belongs elsewhere."""
    word, home = {
        s.Slot: ("slot", "an optimizer"),
        s.Carry: ("carry", "a scan"),
        s.Emit: ("emit", "a scan"),
        s.Input: ("input", "a train section"),
        s.Hyper: ("hyper", "a train section"),
        s.Metric: ("metric", "a train section"),
        s.OptimizerUse: ("optimizer", "a train section"),
        s.ParamTensor: ("param", "a model or block"),
        s.ParamInstance: ("param", "a model or block"),
        s.State: ("state", "a model or block"),
        s.Scan: ("scan", "a model or block"),
        s.For: ("for", "a model or block"),
        s.GradientRule: ("grad", "a block"),
        s.When: ("when", "a model or block"),
        s.Require: ("require", "a model or block"),
        s.Dimension: ("dim", "a module, model or block"),
        s.Assign: ("an assignment", "a model, block or optimizer"),
        s.Probe: ("probe", "a model or train section"),
    }.get(type(one), ("this", "elsewhere"))
    shared.error("GC0013", f"`{word}` belongs into {home}, not into {where}", one.span)


def assign(shared: Shared, frame: Frame, one: s.Assign) -> None:
    """`a = value`, `a, b = value` or `a: type = value`."""
    given = operand(shared, frame, one.value)
    value = given.value
    if one.type is not None:
        wanted = declared(shared, frame, one.type)
        name = one.targets[0]
        if wanted is None:
            bind(shared, frame, name, POISON, name.span)
            return
        what = f"`{name.name}`"
        made = as_type(shared, given, wanted.type, wanted.flexible, one.type.span, what)
        bind(shared, frame, name, made, name.span, one.type.span, wanted.axes)
        return
    if len(one.targets) == 1:
        bind(shared, frame, one.targets[0], _storable(shared, frame, value, one.value.span), one.targets[0].span)
        return
    items: tuple[Value, ...] = value.items if isinstance(value, Many) else ()
    if isinstance(value, Poison):
        items = (POISON,) * len(one.targets)
    elif len(items) != len(one.targets):
        title = f"{len(one.targets)} names for {describe(value)}"
        shared.error("GC0205", title, one.value.span)
        items = (POISON,) * len(one.targets)
    for target, item in zip(one.targets, items, strict=True):
        bind(shared, frame, target, item, target.span)


def _storable(shared: Shared, frame: Frame, value: Value, span: Span) -> Value:
    """What a name may stand for: values and lists of them, not blocks or functions."""
    if isinstance(value, Many):
        return shared.error("GC0205", f"one name for {describe(value)}", span, help="write a, b = ...")
    if isinstance(value, Instance | InstanceArray):
        return shared.error("GC0206", f"{describe(value)} is no value", span)
    if isinstance(value, Poison | Tensor):
        return value
    from graphc.frontend.values import Literal, Size

    if isinstance(value, Literal | Size):
        return value
    return to_tensor(shared, value, real_of(shared, frame), span)


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


def _assign_state(shared: Shared, frame: Frame, name: s.Identifier, value: Value, before: Binding) -> None:
    leaf = frame.states[name.name]
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


def dimension(shared: Shared, frame: Frame, one: s.Dimension) -> None:
    """`dim K = D / A` in a body: derived, known when the others are."""
    name = one.name.name
    before = frame.dims.get(name)
    if before is not None:
        also = [(before.span, "declared here")]
        shared.error("GC0103", f"the dimension `{name}` is declared twice", one.name.span, also=also)
        return
    if one.value is None or one.bounds is not None:
        help = f"write dim {name} = ..."
        shared.error("GC0301", f"inside a body `{name}` needs a value", one.name.span, help=help)
        dim = symbol(name) if one.value is None else None
    else:
        dim = dim_of(shared, frame, one.value)
        if dim is not None and not check_dim(shared, dim, one.value.span):
            dim = None
    frame.dims[name] = DimBinding(dim if dim is not None else symbol(name), one.name.span)


def loop(shared: Shared, frame: Frame, one: s.For) -> None:
    """`for one in layers:` runs the body once for each instance."""
    collection = evaluate(shared, frame, one.collection)
    if isinstance(collection, Poison) or not may_name(shared, one.name):
        return
    if not isinstance(collection, InstanceArray):
        help = "for runs over an array of instances: param layers[N] = ..."
        shared.error("GC0406", f"cannot loop over {describe(collection)}", one.collection.span, help=help)
        return
    before = frame.names.get(one.name.name)
    if before is not None:
        also = [(before.span, "declared here")]
        shared.error("GC0103", f"`{one.name.name}` has a meaning already", one.name.span, also=also)
        return
    for item in collection.items:
        count = len(shared.diagnostics)
        frame.names[one.name.name] = Binding(item, one.name.span)
        run_body(shared, frame, one.body)
        if len(shared.diagnostics) > count:
            break  # the same errors would come once more for each instance
    frame.names.pop(one.name.name, None)


def when(shared: Shared, frame: Frame, one: s.When) -> None:
    """`when training:` takes part in the training step only; elsewhere what it assigns keeps its value."""
    if one.condition.name != "training" or not frame.is_training:
        return
    inner = frame.when_training
    frame.when_training = True
    run_body(shared, frame, one.body)
    frame.when_training = inner


def probe(shared: Shared, frame: Frame, one: s.Probe) -> None:
    """`probe name = value`: an extra output of the model."""
    value = operand(shared, frame, one.value)
    made = to_tensor(shared, value.value, real_of(shared, frame), value.span)
    if isinstance(made, Tensor) and not frame.is_training:
        path = f"{frame.path}.{one.name.name}" if frame.path else one.name.name
        shared.probes[path] = made.node


def _scan(shared: Shared, frame: Frame, one: s.Scan) -> None:
    """One error; what the loop assigns is poison, so that nothing after it complains."""
    shared.unsupported("`scan` is", one.header, "GC0904")
    stack = list(one.body)
    while stack:
        inner = stack.pop()
        if isinstance(inner, s.Assign):
            for target in inner.targets:
                frame.names[target.name] = Binding(POISON, target.span)
        elif isinstance(inner, s.Carry | s.Emit):
            frame.names[inner.name.name] = Binding(POISON, inner.name.span)
        elif isinstance(inner, s.For | s.When):
            stack.extend(inner.body)


__all__ = ["lookup", "run", "run_body"]
