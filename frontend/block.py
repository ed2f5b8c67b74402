"""Bodies of blocks and models: statements in order, each changing the frame."""

from __future__ import annotations

from graphc.frontend import syntax as s
from graphc.frontend.arithmetic import as_type, to_tensor
from graphc.frontend.binding import bind, may_name
from graphc.frontend.dimension import check_dim, declared, dim_of
from graphc.frontend.expression import evaluate, operand, real_of
from graphc.frontend.parameter import array_of_instances, instance, param, state
from graphc.frontend.requirement import require
from graphc.frontend.scope import Binding, DimBinding, Frame, Shared
from graphc.frontend.values import (
    POISON,
    Instance,
    InstanceArray,
    Many,
    Poison,
    Size,
    Tensor,
    Value,
    describe,
)
from graphc.ir.dims import symbol
from graphc.source import Span


def run_body(shared: Shared, frame: Frame, body: tuple[s.Statement, ...]) -> None:
    """Every statement of a body, up to a requirement of a block that does not hold."""
    for one in body:
        run(shared, frame, one)
        if frame.is_unmet:
            return


def run(shared: Shared, frame: Frame, one: s.Statement) -> None:
    """One statement."""
    from graphc.frontend.scan import carry, emit, scan

    shared.count(one.span)
    match one:
        case s.ParamTensor() | s.ParamInstance() | s.State() | s.GradientRule() if frame.scan is not None:
            misplaced(shared, one, "a scan")
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
            scan(shared, frame, one)
        case s.Carry() if frame.scan is not None:
            carry(shared, frame, one)
        case s.Emit() if frame.scan is not None:
            emit(shared, frame, one)
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
    help = "write it below `train NAME:`, with the model's name" if home == "a train section" else ""
    shared.error("GC0013", f"`{word}` belongs into {home}, not into {where}", one.span, help=help)


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
    from graphc.frontend.values import Literal

    if isinstance(value, Literal | Size):
        return value
    return to_tensor(shared, value, real_of(shared, frame), span)


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
        at_run_time = isinstance(collection, Size)
        help = f"a loop at run time is `scan {one.name.name} in {one.collection.span.text}:`" if at_run_time else ""
        help = help or "for runs over an array of instances: param layers[N] = ..."
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
    if frame.indices:
        help = f"emit {one.name.name}, and probe it behind the scan"
        shared.error("GC0504", f"the probe `{one.name.name}` is inside of a scan", one.span, help=help)
        return
    if isinstance(made, Tensor) and not frame.is_training:
        path = f"{frame.path}.{one.name.name}" if frame.path else one.name.name
        shared.probes[path] = made.node
