"""Checks of what no model reaches: blocks on their own, their dimensions free symbols; constants; optimizers."""

from __future__ import annotations

from graphc.frontend import syntax as s
from graphc.frontend.binding import may_name
from graphc.frontend.block import run_body
from graphc.frontend.constant import constant_value
from graphc.frontend.dimension import check_sizes, dtype_of
from graphc.frontend.gradient import apply_rules, ruled_names, stopped
from graphc.frontend.optimizer import Choice, Updater
from graphc.frontend.resolve import ModuleScope
from graphc.frontend.scope import Binding, DimBinding, Frame, Shared, nearest
from graphc.frontend.solve import expected, finish
from graphc.frontend.static import setting, takes_setting
from graphc.frontend.values import POISON, Literal, Tensor, Value
from graphc.ir.dims import symbol
from graphc.ir.node import leaf
from graphc.ir.types import F32, I64, TensorType

BLOCK_ANNOTATIONS = ("recompute",)


def check_module(shared: Shared, module: ModuleScope) -> None:
    """Every declaration of the file that is compiled, except the bodies of its blocks and models."""
    for one in module.tree.declarations:
        match one:
            case s.Constant():
                may_name(shared, one.name)
                constant_value(shared, one, module)
            case s.Block():
                _signature(shared, one)
            case s.Optimizer():
                may_name(shared, one.name)
                _optimizer(shared, module, one)


def check_blocks(shared: Shared, module: ModuleScope) -> None:
    """The blocks that no model of the file has expanded; those that others call come with their callers."""
    shared.is_symbolic_check = True
    blocks = [one for one in module.tree.declarations if isinstance(one, s.Block) and not one.is_model]
    for one in reversed(blocks):
        if one not in shared.expanded:
            for table in (shared.params, shared.states, shared.state_values, shared.probes, shared.requirements):
                table.clear()
            shared.instances.clear()
            _block(shared, module, one)
    shared.is_symbolic_check = False


def _signature(shared: Shared, block: s.Block) -> None:
    may_name(shared, block.name, is_block=True)
    for one in block.annotations:
        if one.name.name not in BLOCK_ANNOTATIONS or block.is_model:
            help = nearest(one.name.name, BLOCK_ANNOTATIONS) or "a block can be @recompute"
            shared.error("GC0109", f"unknown annotation `@{one.name.name}`", one.span, help=help)
    for group in (block.generics, tuple(parameter.name for parameter in (*block.parameters, *block.outputs))):
        seen: dict[str, s.Identifier] = {}
        for name in group:
            before = seen.setdefault(name.name, name)
            if before is not name and not block.is_model:
                also = [(before.span, "the first")]
                shared.error("GC0103", f"`{name.name}` stands twice in the signature", name.span, also=also)


def _block(shared: Shared, module: ModuleScope, block: s.Block) -> None:
    """Elaborates a block on its own: each dimension is a symbol that equals nothing else, `...` is one such axis."""
    dims = {one.name: DimBinding(symbol(one.name), one.span) for one in block.generics}
    frame = Frame(module, "block", dims=dims, is_training=True)
    frame.leading = (symbol("leading axes"),)
    ruled = ruled_names(shared, block)
    arguments: dict[str, Value] = {}
    for parameter in block.parameters:
        name = parameter.name.name
        value: Value = POISON
        if takes_setting(parameter):
            wanted = None
            if parameter.default is not None:
                value = setting(shared, frame, parameter.default).value
        else:
            wanted = expected(shared, frame, parameter.type)
        if wanted is not None and check_sizes(shared, wanted[0], parameter.type):
            value = Tensor(leaf("input", name, wanted[0]), wanted[1])
        if not takes_setting(parameter):  # one may be called `pad`, as the argument that it is handed on to
            may_name(shared, parameter.name)
        arguments[name] = value
        axes = tuple(axis.span.text for axis in parameter.type.axes)
        shown = stopped(value) if name in ruled else value
        frame.names[name] = Binding(shown, parameter.name.span, parameter.type.span, axes)
    shared.active.append((block, block.name.span))
    shared.expanded[block] = None
    run_body(shared, frame, block.body)
    shared.active.pop()
    results = finish(shared, frame, block)
    if ruled:
        apply_rules(shared, frame, block, arguments, results)


def _optimizer(shared: Shared, module: ModuleScope, definition: s.Optimizer) -> None:
    """Applies an optimizer to a parameter of an unknown size."""
    kind = TensorType(F32, (symbol("size of the parameter"),))
    settings: dict[str, Value] = {}
    frame = Frame(module, "const")
    names = [definition.parameter, definition.gradient, *(one.name for one in definition.settings)]
    for position, name in enumerate(names):
        may_name(shared, name)
        if name.name in [other.name for other in names[:position]]:
            shared.error("GC0103", f"`{name.name}` stands twice in the signature", name.span)
    for one in definition.settings:
        dtype = dtype_of(shared, frame, one.type.dtype)
        if one.type.axes or (dtype is not None and not dtype.is_float):
            shared.error("GC0606", "a setting of an optimizer is a float scalar", one.type.span)
        settings[one.name.name] = Literal(0.5) if dtype is not None else POISON
    choice = Choice(None, definition, module, settings)
    updater = Updater(shared, (choice,), leaf("step", "step", TensorType(I64)))
    updater(leaf("param", "p", kind), leaf("gradient", "p", kind))
