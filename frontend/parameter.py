"""Declarations that own memory: parameters, states, instances of blocks and arrays of them."""

from __future__ import annotations

from graphc.frontend import syntax as s
from graphc.frontend.arithmetic import Operand, as_type
from graphc.frontend.binding import may_own
from graphc.frontend.dimension import Declared, declared, dim_of, is_static, precision_of
from graphc.frontend.expression import evaluate, operand
from graphc.frontend.literal import _static
from graphc.frontend.scope import Binding, Frame, Shared, nearest, number_of_arguments
from graphc.frontend.static import setting, takes_setting
from graphc.frontend.values import (
    POISON,
    BlockValue,
    Instance,
    InstanceArray,
    ModuleValue,
    Poison,
    Tensor,
    Value,
    describe,
    tensor,
)
from graphc.ir.dims import Dim
from graphc.ir.node import Node, leaf
from graphc.ir.types import TensorType
from graphc.ops.build import cast
from graphc.program import Initializer, Variable
from graphc.source import Span

INITIALIZERS: dict[str, tuple[tuple[str, float | None], ...]] = {  # arguments and their defaults
    "zeros": (),
    "ones": (),
    "constant": (("value", None),),
    "uniform": (("low", -0.05), ("high", 0.05)),
    "normal": (("mean", 0.0), ("std", 0.05)),
    "truncated_normal": (("mean", 0.0), ("std", 0.05)),
    "glorot_uniform": (),
    "glorot_normal": (),
    "he_uniform": (),
    "he_normal": (),
    "lecun_normal": (),
    "orthogonal": (("gain", 1.0),),
}


def path_of(frame: Frame, name: str) -> str:
    """The path of a declaration: the key in checkpoints."""
    return f"{frame.path}.{name}" if frame.path else name


def is_new(shared: Shared, frame: Frame, name: s.Identifier) -> bool:
    """Whether a declared name is free in its body."""
    if not may_own(shared, name, path_of(frame, name.name)):
        return False
    before = frame.names.get(name.name)
    if before is not None:
        also = [(before.span, "first declared here")]
        shared.error("GC0103", f"`{name.name}` is declared twice", name.span, "again", also=also)
    return before is None


def param(shared: Shared, frame: Frame, one: s.ParamTensor) -> None:
    """`param w: f32[D, C] = zeros()`."""
    frozen = frame.frozen or _annotations(shared, one.annotations)
    if not is_new(shared, frame, one.name):
        return
    memory = declared(shared, frame, one.type, is_param=True)
    start = Initializer("zeros") if one.value is None else initializer(shared, frame, one.value)
    if one.value is None:
        help = f"{one.name.name}: {one.type.span.text} = glorot_uniform()"
        shared.error("GC0605", f"the parameter `{one.name.name}` has no initial value", one.name.span, help=help)
    if memory is None or not _is_memory(shared, memory, one.type, "parameter"):
        frame.names[one.name.name] = Binding(POISON, one.name.span, one.type.span)
        return
    trainable = memory.type.dtype.is_float and not frozen
    made = Variable(leaf("param", path_of(frame, one.name.name), memory.type), start, trainable, one.doc)
    node = _own(shared, shared.params, made, one.name.span)
    if one.type.dtype.name == "real":
        node = cast(node, precision_of(shared, frame.module).compute)
    frame.names[one.name.name] = Binding(tensor(node), one.name.span, one.type.span, memory.axes)
    shared.spans.setdefault(node, one.name.span)
    _remember(frame, one.name.name)


def _remember(frame: Frame, name: str) -> None:
    if isinstance(frame.instance, Instance):
        frame.instance.members[name] = frame.names[name].value


def _is_memory(shared: Shared, made: Declared, type: s.Type, what: str) -> bool:
    for dim, axis in zip(made.type.shape, type.axes, strict=True):
        if not is_static(dim) and not shared.is_symbolic_check:
            title = f"a {what} needs sizes known at compile time, and `{axis.span.text}` is known at the call"
            shared.error("GC0307", title, axis.span, str(dim))
            return False
    if any(made.flexible):
        shared.error("GC0303", f"a {what} has no `_` axis", type.span)
        return False
    return True


def _own(shared: Shared, owned: dict[str, tuple[Variable, Span]], made: Variable, span: Span) -> Node:
    """Registers a variable under its path; a second use of an instance must ask for the same."""
    before = owned.get(made.name)
    if before is None:
        owned[made.name] = (made, span)
        return made.leaf
    if before[0].leaf.type != made.leaf.type and not shared.is_symbolic_check:
        title = f"`{made.name}` is {before[0].leaf.type} and {made.leaf.type}"
        help = "an instance has one set of parameters: declare a second instance for other sizes"
        shared.error("GC0308", title, span, help=help)
    return made.leaf


def _annotations(shared: Shared, annotations: tuple[s.Annotation, ...]) -> bool:
    """Whether a parameter is frozen."""
    frozen = False
    for one in annotations:
        if one.name.name == "frozen" and not one.arguments:
            frozen = True
        else:
            help = nearest(one.name.name, ("frozen",)) or "a parameter can be @frozen"
            shared.error("GC0109", f"unknown annotation `@{one.name.name}`", one.span, help=help)
    return frozen


def initializer(shared: Shared, frame: Frame, node: s.Expression) -> Initializer:
    """`zeros()`, `normal(std=0.02)`, or a number."""
    if isinstance(node, s.Call) and isinstance(node.function, s.Name):
        name = node.function.name
        if name in INITIALIZERS:
            return _with_arguments(shared, frame, name, node)
        help = nearest(name, INITIALIZERS) or "there are " + ", ".join(INITIALIZERS)
        shared.error("GC0110", f"`{name}` is no initialiser", node.function.span, help=help)
        return Initializer("zeros")
    number = _static(evaluate(shared, frame, node))
    if number is None or isinstance(number, bool):
        shared.error("GC0110", "expected an initialiser such as zeros(), or a number", node.span)
        return Initializer("zeros")
    return Initializer("constant", (("value", float(number)),))


def _with_arguments(shared: Shared, frame: Frame, kind: str, node: s.Call) -> Initializer:
    parameters = dict(INITIALIZERS[kind])
    names = list(parameters)
    given: set[str] = set()
    for position, argument in enumerate(node.arguments):
        key = argument.name.name if argument.name else names[position] if position < len(names) else ""
        if key not in parameters:
            where = argument.name.span if argument.name else argument.span
            help = f"{kind}({', '.join(names)})"
            shared.error(
                "GC0403",
                f"`{kind}` has no argument `{key}`" if key else f"`{kind}` takes {number_of_arguments(len(names))}",
                where,
                help=help,
            )
            continue
        number = _static(evaluate(shared, frame, argument.value))
        if key in given:
            shared.error("GC0404", f"`{key}` is given twice", argument.span)
        elif number is None or isinstance(number, bool):
            shared.error("GC0405", f"`{key}` of `{kind}` must be a number known at compile time", argument.value.span)
        else:
            parameters[key] = float(number)
        given.add(key)
    missing = [name for name, value in parameters.items() if value is None and name not in given]
    if missing:
        shared.error("GC0402", f"`{kind}` needs `{missing[0]}`", node.span)
    _check_initializer(shared, kind, parameters, node.span)
    return Initializer(kind, tuple((name, value if value is not None else 0.0) for name, value in parameters.items()))


def _check_initializer(shared: Shared, kind: str, values: dict[str, float | None], span: Span) -> None:
    std, low, high = values.get("std"), values.get("low"), values.get("high")
    if std is not None and not std >= 0.0:
        shared.error("GC0405", f"`std` of `{kind}` must not be negative", span)
    if low is not None and high is not None and not low <= high:
        shared.error("GC0405", f"`low` of `{kind}` must not exceed `high`", span)


def state(shared: Shared, frame: Frame, one: s.State) -> None:
    """`state running: f32[C] = zeros()`."""
    if not is_new(shared, frame, one.name):
        return
    made = declared(shared, frame, one.type)
    start = initializer(shared, frame, one.value)
    if made is None or not _is_memory(shared, made, one.type, "state"):
        frame.names[one.name.name] = Binding(POISON, one.name.span, one.type.span)
        return
    variable = Variable(leaf("state", path_of(frame, one.name.name), made.type), start, False, one.doc)
    node = _own(shared, shared.states, variable, one.name.span)
    frame.states[one.name.name] = node
    current = shared.state_values.get(node, node)
    frame.names[one.name.name] = Binding(tensor(current), one.name.span, one.type.span, made.axes)
    _remember(frame, one.name.name)


def instance(shared: Shared, frame: Frame, one: s.ParamInstance) -> None:
    """`param l1 = dense[O=64](eps=1e-3)`."""
    if is_new(shared, frame, one.name):
        made = _instance(shared, frame, one, path_of(frame, one.name.name))
        frame.names[one.name.name] = Binding(made, one.name.span)
        _remember(frame, one.name.name)


def array_of_instances(shared: Shared, frame: Frame, one: s.ParamInstance) -> None:
    """`param layers[N] = layer[A=4]`: N instances with the paths layers.0, layers.1, ..."""
    if not is_new(shared, frame, one.name):
        return
    assert one.count is not None
    count = dim_of(shared, frame, one.count)
    value: Value = POISON
    if count is not None and not isinstance(count, int):
        if not shared.is_symbolic_check:
            title = f"the number of instances must be known at compile time, not {count}"
            shared.error("GC0307", title, one.count.span)
        count = 1 if shared.is_symbolic_check else None
    if count is not None and count < 1:
        shared.error("GC0304", f"an array of {count} instances", one.count.span)
    elif count is not None and count + len(shared.instances) > shared.limits.instances:
        title = f"more than {shared.limits.instances} instances"
        shared.error("GC0801", title, one.count.span, f"{count} here")
    elif count is not None:
        path = path_of(frame, one.name.name)
        first = _instance(shared, frame, one, f"{path}.0")
        if isinstance(first, Instance):
            rest = [_copy(first, f"{path}.{index}") for index in range(1, count)]
            shared.instances.extend(rest)
            value = InstanceArray([first, *rest])
    frame.names[one.name.name] = Binding(value, one.name.span)
    _remember(frame, one.name.name)


def _copy(first: Instance, path: str) -> Instance:
    return Instance(path, first.block, first.module, first.dims, first.arguments, first.span, first.frozen)


def _instance(shared: Shared, frame: Frame, one: s.ParamInstance, path: str) -> Instance | Poison:
    frozen = frame.frozen or _annotations(shared, one.annotations)
    dims = _dimensions(shared, frame, one)
    found = _block(shared, frame, one.block)
    if not isinstance(found, BlockValue) or dims is None:
        return POISON
    arguments = _static_arguments(shared, frame, one, found.block)
    generics = [generic.name for generic in found.block.generics]
    for argument in one.dimensions:
        if argument.name.name not in generics:
            help = nearest(argument.name.name, generics) or f"dimensions: {', '.join(generics)}"
            title = f"`{found.block.name.name}` has no dimension `{argument.name.name}`"
            shared.error(
                "GC0403", title, argument.name.span, help=help, also=[(found.block.name.span, "declared here")]
            )
            return POISON
    names = [parameter.name.name for parameter in found.block.parameters]
    for given in one.arguments:
        if given.name is None or given.name.name not in names:
            title = (
                f"`{found.block.name.name}` has no argument `{given.name.name}`" if given.name else "name the argument"
            )
            listed = f"arguments: {', '.join(names)}; sizes stand in brackets: {', '.join(generics)}"
            help = (nearest(given.name.name, names) if given.name else "") or listed
            shared.error("GC0403", title, given.span, help=help)
            return POISON
    if len(shared.instances) >= shared.limits.instances:
        shared.error("GC0801", f"more than {shared.limits.instances} instances", one.span)
        return POISON
    made = Instance(path, found.block, found.module, dims, arguments, one.name.span, frozen)
    shared.instances.append(made)
    return made


def _dimensions(shared: Shared, frame: Frame, one: s.ParamInstance) -> dict[str, Dim] | None:
    dims: dict[str, Dim] = {}
    fine = True
    for argument in one.dimensions:
        dim = dim_of(shared, frame, argument.value)
        if argument.name.name in dims:
            shared.error("GC0404", f"`{argument.name.name}` is given twice", argument.span)
            fine = False
        if dim is None or (isinstance(dim, int) and dim < 1):
            if dim is not None:
                shared.error("GC0304", f"a dimension of {dim}", argument.value.span, "dimensions are at least 1")
            fine = False
        else:
            dims[argument.name.name] = dim
    return dims if fine else None


def _static_arguments(shared: Shared, frame: Frame, one: s.ParamInstance, block: s.Block) -> dict[str, Value]:
    made: dict[str, Value] = {}
    settings = [parameter.name.name for parameter in block.parameters if takes_setting(parameter)]
    for argument in one.arguments:
        if argument.name is not None:
            read = setting if argument.name.name in settings else operand
            made[argument.name.name] = read(shared, frame, argument.value).value
    return made


def _block(shared: Shared, frame: Frame, path: s.Path) -> Value:
    node: s.Expression = s.Name(path.parts[0].span, path.parts[0].name)
    for part in path.parts[1:]:
        node = s.Attribute(path.parts[0].span.to(part.span), node, part)
    value = evaluate(shared, frame, node)
    if isinstance(value, BlockValue | Poison):
        return value
    if isinstance(value, ModuleValue):
        return shared.error("GC0401", "a module is no block", path.span, help=f"write {path}.NAME")
    help = "declare a tensor with a type: param w: f32[D, C] = zeros()"
    return shared.error("GC0401", f"expected a block, found {describe(value)}", path.span, help=help)


def typed(shared: Shared, given: Operand, wanted: TensorType, declared_at: Span, what: str) -> Tensor | Poison:
    """A value as a declared type without flexible axes."""
    return as_type(shared, given, wanted, (False,) * wanted.rank, declared_at, what)
