"""Calls of blocks: a block is expanded where it is called, with its dimensions solved from the arguments."""

from __future__ import annotations

from graphc.frontend import syntax as s
from graphc.frontend.arithmetic import Operand
from graphc.frontend.block import run_body
from graphc.frontend.expression import operand
from graphc.frontend.gradient import apply_rules, ruled_names, stopped
from graphc.frontend.scope import Binding, DimBinding, Frame, Shared, nearest, number_of_arguments
from graphc.frontend.solve import check_argument, check_solved, finish, solve_argument
from graphc.frontend.static import setting, takes_setting
from graphc.frontend.values import POISON, BlockValue, Instance, Many, Poison, Value
from graphc.source import Span


def call_block(
    shared: Shared, frame: Frame, target: BlockValue | Instance, node: s.Call, piped: Operand | None, span: Span
) -> Value:
    """The value (or values) of a block applied to arguments."""
    block = target.block
    cycle = _cycle(shared, block)
    if cycle:
        also = [(block.name.span, "this block")]
        return shared.error("GC0701", f"recursive definition: {cycle}", node.function.span, also=also)
    if isinstance(target, BlockValue) and owns_memory(block):
        help = f"declare an instance: param name = {block.name.name}"
        title = f"`{block.name.name}` has parameters of its own and is called through an instance"
        return shared.error("GC0407", title, node.function.span, help=help)
    arguments = _bind(shared, frame, target, node, piped, span)
    if arguments is None:
        return POISON
    shared.count(span)
    inner = _frame(frame, target)
    for parameter in block.parameters:
        if parameter.name.name in arguments:
            solve_argument(shared, inner, parameter, arguments[parameter.name.name].value)
    if any(isinstance(given.value, Poison) for given in arguments.values()):
        _give_up(target)
        return _poisoned(block)
    if not check_solved(shared, inner, block, arguments, node):
        return _poisoned(block)
    shared.active.append((block, span))
    shared.expanded[block] = None
    values = _expand(shared, inner, target, arguments)
    shared.active.pop()
    return values[0] if len(values) == 1 else Many(tuple(values))


def _give_up(target: BlockValue | Instance) -> None:
    """After an error: nothing is reported of the instance's parameters."""
    if isinstance(target, Instance):
        target.is_called = True
        for name in _memory_names(target.block):
            target.members.setdefault(name, POISON)


def _poisoned(block: s.Block) -> Value:
    return POISON if len(block.outputs) == 1 else Many((POISON,) * len(block.outputs))


def _cycle(shared: Shared, block: s.Block) -> str:
    """`f -> g -> f` if the block is being expanded already."""
    names = [active.name.name for active, _ in shared.active]
    for index, (active, _) in enumerate(shared.active):
        if active is block:
            return " -> ".join([*names[index:], block.name.name])
    return ""


def _memory_names(block: s.Block) -> list[str]:
    kinds = (s.ParamTensor, s.ParamInstance, s.State)
    return [one.name.name for one in block.body if isinstance(one, kinds)]


def owns_memory(block: s.Block) -> bool:
    """Whether a block declares parameters or states."""
    stack = list(block.body)
    while stack:
        one = stack.pop()
        if isinstance(one, s.ParamTensor | s.ParamInstance | s.State):
            return True
        if isinstance(one, s.For | s.When | s.Scan):
            stack.extend(one.body)
    return False


def _frame(frame: Frame, target: BlockValue | Instance) -> Frame:
    """A fresh frame: a block sees its own dimensions and arguments, nothing of the caller."""
    given = target.dims if isinstance(target, Instance) else {}
    dims = {generic.name: DimBinding(given.get(generic.name), generic.span) for generic in target.block.generics}
    path = target.path if isinstance(target, Instance) else frame.path
    inner = Frame(target.module, "block", path, dims, is_training=frame.is_training, indices=frame.indices)
    if isinstance(target, Instance):
        inner.instance = target
        inner.frozen = target.frozen
    return inner


def _bind(
    shared: Shared, frame: Frame, target: BlockValue | Instance, node: s.Call, piped: Operand | None, span: Span
) -> dict[str, Operand] | None:
    """The arguments by name, those of the instance's declaration included; None after an error."""
    block, name = target.block, target.block.name.name
    names = [parameter.name.name for parameter in block.parameters]
    settings = [parameter.name.name for parameter in block.parameters if takes_setting(parameter)]
    fixed = target.arguments if isinstance(target, Instance) else {}
    bound = {key: Operand(value, target.span) for key, value in fixed.items()} if isinstance(target, Instance) else {}
    open_names = [key for key in names if key not in bound]
    positional = [] if piped is None else [piped]
    positional += [operand(shared, frame, one.value) for one in node.arguments if one.name is None]
    fine = True
    if len(positional) > len(open_names):
        title = f"`{name}` takes {number_of_arguments(len(open_names))}, not {len(positional)}"
        also = [(block.name.span, "declared here")]
        shared.error("GC0402", title, positional[len(open_names)].span, also=also)
        fine = False
    bound.update(zip(open_names, positional, strict=False))
    for one in node.arguments:
        if one.name is None:
            continue
        key = one.name.name
        value = (setting if key in settings else operand)(shared, frame, one.value)
        if key not in names:
            help = nearest(key, names) or f"arguments: {', '.join(names)}"
            shared.error("GC0403", f"`{name}` has no argument `{key}`", one.name.span, help=help)
            fine = False
        elif key in bound and key not in fixed:
            shared.error("GC0404", f"`{key}` is given twice", one.span)
            fine = False
        else:
            bound[key] = value
    for parameter in block.parameters:
        if parameter.name.name not in bound and parameter.default is None and fine:
            also = [(parameter.span, "declared here")]
            shared.error("GC0402", f"`{name}` needs the argument `{parameter.name.name}`", span, also=also)
            return None
    return bound if fine else None


def _expand(shared: Shared, inner: Frame, target: BlockValue | Instance, arguments: dict[str, Operand]) -> list[Value]:
    block = target.block
    ruled = ruled_names(shared, block)
    plain: dict[str, Value] = {}
    for parameter in block.parameters:
        key = parameter.name.name
        given = arguments.get(key)
        if given is None:
            assert parameter.default is not None
            read = setting if takes_setting(parameter) else operand
            given = Operand(read(shared, inner, parameter.default).value, parameter.default.span)
        value = check_argument(shared, inner, parameter, given, block.name.name)
        plain[key] = value
        inner.names[key] = Binding(
            stopped(value) if key in ruled else value,
            parameter.name.span,
            parameter.type.span,
            tuple(axis.span.text for axis in parameter.type.axes),
        )
    if any(isinstance(value, Poison) for value in plain.values()):
        _give_up(target)
        return [POISON] * len(block.outputs)
    run_body(shared, inner, block.body)
    if inner.is_unmet:
        _give_up(target)
        return [POISON] * len(block.outputs)
    if isinstance(target, Instance):
        target.is_called = True
    results = finish(shared, inner, block)
    return apply_rules(shared, inner, block, plain, results) if ruled else results
