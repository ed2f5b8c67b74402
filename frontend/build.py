"""The elaborator: a file's tree -> a Program, with every error of the file.

A model's body is elaborated once for inference and, if the file trains it, once for training; nodes are interned, so
the parts that do not differ are the same nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

from graphc.diagnostics import Diagnostic, has_errors, in_order
from graphc.frontend import syntax as s
from graphc.frontend.binding import may_own
from graphc.frontend.block import run_body
from graphc.frontend.check import check_blocks, check_module
from graphc.frontend.determined import determined
from graphc.frontend.dimension import check_dim, check_precision, declared, dim_of, precision_of
from graphc.frontend.invoke import call_block
from graphc.frontend.limits import DEFAULT_LIMITS, Limits
from graphc.frontend.optimizer import Updater
from graphc.frontend.recursion import deep_recursion
from graphc.frontend.resolve import Load, ModuleScope, Resolver
from graphc.frontend.scope import Binding, DimBinding, Frame, Precision, Shared, Stop, nearest
from graphc.frontend.sites import SEED
from graphc.frontend.solve import finish
from graphc.frontend.training import STEP, Section, train_section
from graphc.frontend.values import POISON, Instance, Tensor
from graphc.ir.dims import Dim, Symbol, symbol, symbols
from graphc.ir.graph import Graph
from graphc.ir.node import Node, leaf, postorder
from graphc.program import Program, Training, entry, training_entries
from graphc.source import Source, Span


def elaborate(
    source: Source,
    *,
    load: Load,
    dims: Mapping[str, int] | None = None,
    model: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> tuple[Program | None, list[Diagnostic]]:
    """The program of a file, or None when it has errors; every error and warning, in order of place.

    `load` reads a used file by its path, `dims` pins run-time dimensions, `model` picks one of several models.
    """
    resolver = Resolver(load, limits)
    module = resolver.main(source)
    if module is None:
        return None, in_order(resolver.diagnostics)
    shared = Shared(limits, Precision(), call_block)
    shared.optimizers = lambda: resolver.standard("optim")
    shared.precision = precision_of(shared, module)
    shared.diagnostics.extend(resolver.diagnostics)
    program = None
    with deep_recursion(), suppress(Stop):
        program = _elaborate(shared, module, dict(dims or {}), model)
    found = in_order(shared.diagnostics)[: limits.errors]
    return (None if has_errors(found) else program), found


def _elaborate(shared: Shared, module: ModuleScope, pinned: dict[str, int], name: str | None) -> Program | None:
    check_precision(shared, module)
    table = module_dims(shared, module, pinned)
    check_module(shared, module)
    programs = {one.name.name: _Model(shared, module, table, one).program() for one in module.models}
    check_blocks(shared, module)
    chosen = _choose(shared, module, name)
    return programs[chosen.name.name] if chosen is not None else None


def _choose(shared: Shared, module: ModuleScope, name: str | None) -> s.Block | None:
    """The model to compile: the one named, else the only one, else the only one that is trained."""
    start = module.source.span(0, 0)
    names = [one.name.name for one in module.models]
    for train in module.trains.values():
        if train.model.name not in names:
            help = nearest(train.model.name, names) or "models: " + ", ".join(names)
            shared.error("GC0101", f"no model `{train.model.name}`", train.model.span, help=help if names else "")
    if name is not None:
        found = [one for one in module.models if one.name.name == name]
        if not found:
            help = nearest(name, names) or "models: " + ", ".join(names)
            shared.error("GC0101", f"no model `{name}` in {module.source.name}", start, help=help if names else "")
        return found[0] if found else None
    if len(module.models) == 1:
        return module.models[0]
    trained = [one for one in module.models if one.name.name in module.trains]
    if len(trained) == 1:
        return trained[0]
    if has_errors(shared.diagnostics):
        return None
    if module.models:
        help = "choose one, by --model or model=...: " + ", ".join(names)
        shared.warn("GC0111", "the file has several models", module.models[1].name.span, help=help)
    else:
        shared.warn("GC0111", "the file has no model", start, help="blocks become code where a model calls them")
    return None


def module_dims(shared: Shared, module: ModuleScope, pinned: Mapping[str, int] | None = None) -> dict[str, DimBinding]:
    """The dimensions of a file: numbers, derived ones, run-time symbols with their bounds; pinned ones are numbers."""
    frame = Frame(module, "const")
    left = dict(pinned or {})
    for name, one in module.dims.items():
        dim: Dim | None
        bounds = _bounds(shared, frame, one) if one.bounds is not None else None
        if one.value is not None:
            dim = dim_of(shared, frame, one.value)
        elif one.bounds is not None:
            dim = symbol(name, *bounds) if bounds is not None else None
        else:
            dim = symbol(name)
        if name in left:
            dim = _pinned(shared, one, left.pop(name), dim, bounds)
        if dim is not None and not check_dim(shared, dim, (one.value or one.name).span):
            dim = None
        frame.dims[name] = DimBinding(dim if dim is not None else symbol(name), one.name.span)
    for name in left:
        help = nearest(name, module.dims) or "dimensions: " + ", ".join(module.dims)
        shared.error("GC0102", f"no dimension `{name}` to pin", module.source.span(0, 0), help=help)
    return frame.dims


def _bounds(shared: Shared, frame: Frame, one: s.Dimension) -> tuple[int, int] | None:
    assert one.bounds is not None
    low, high = (dim_of(shared, frame, side) for side in one.bounds)
    if low is None or high is None:
        return None
    if not isinstance(low, int) or not isinstance(high, int):
        shared.error("GC0301", "bounds are numbers known at compile time", one.span)
    elif not 1 <= low <= high:
        shared.error(
            "GC0304", f"the bounds {low}..{high} hold no size", one.span, "from 1, the first not above the second"
        )
    elif high > shared.limits.dimension:
        shared.error("GC0803", f"a dimension of {high}; the limit is {shared.limits.dimension}", one.bounds[1].span)
    else:
        return low, high
    return None


def _pinned(
    shared: Shared, one: s.Dimension, given: int, written: Dim | None, bounds: tuple[int, int] | None
) -> Dim | None:
    """The size that a dimension is pinned to; where that cannot be, an error and what the file says."""
    name = one.name.name
    if not isinstance(given, int) or isinstance(given, bool) or given < 1:
        what = "a size is a whole number, at least 1"
        shared.error("GC0304", f"`{name}` cannot be pinned to {given!r}", one.name.span, what)
        return written
    if one.value is not None:
        if written is not None and written != given:
            title = f"`{name}` is {written} in the file and cannot be pinned to {given}"
            shared.error("GC0304", title, one.name.span, help=f"write dim {name} to leave it open")
        return written
    if bounds is not None and not bounds[0] <= given <= bounds[1]:
        shared.error("GC0304", f"`{name}` = {given} is outside of {bounds[0]}..{bounds[1]}", one.span)
        return written
    return given


class _Model:
    """Elaborates one model of a file."""

    def __init__(self, shared: Shared, module: ModuleScope, dims: dict[str, DimBinding], model: s.Block) -> None:
        self.shared = shared
        self.module = module
        self.dims = dims
        self.model = model
        self.inputs: dict[str, Node] = {}
        self.origins: dict[Node, Node] = {}

    def program(self) -> Program | None:
        """The model's program; None after an error."""
        shared, train = self.shared, self.module.trains.get(self.model.name.name)
        for table in (shared.params, shared.states, shared.probes, shared.requirements):
            table.clear()
        shared.instances.clear()
        shared.sites.begin_model()
        shared.loops.begin_model()
        count = len(shared.diagnostics)
        outputs, frame = self._run(is_training=False)
        self._warn_unused()
        section = train_section(shared, frame, train) if train is not None else None
        second: Section | None = None
        state_updates: dict[Node, Node] = {}
        if train is not None or _has_when(self.model.body):
            shared.state_values.clear()
            _, again = self._run(is_training=True)
            state_updates = dict(shared.state_values)
            shared.state_values.clear()
            second = train_section(shared, again, train) if train is not None else None
        if has_errors(shared.diagnostics[count:]):
            return None
        return self._assemble(outputs, section, second, state_updates)

    def _run(self, *, is_training: bool) -> tuple[dict[str, Node], Frame]:
        """Elaborates the body in one mode; the outputs by name, and the frame the body leaves behind."""
        shared, model = self.shared, self.model
        shared.sites.begin_mode()
        shared.loops.begin_mode()
        frame = Frame(self.module, "model", dims=dict(self.dims), is_training=is_training)
        for parameter in model.parameters:
            self._input(frame, parameter)
        shared.active.append((model, model.name.span))
        run_body(shared, frame, model.body)
        shared.active.pop()
        values = finish(shared, frame, model)
        outputs: dict[str, Node] = {}
        for output, value in zip(model.outputs, values, strict=True):
            if output.name.name in outputs or output.name.name in self.inputs:
                shared.error("GC0103", f"`{output.name.name}` stands twice in the signature", output.name.span)
            if isinstance(value, Tensor):
                outputs[output.name.name] = value.node
                before = frame.names[output.name.name]
                axes = tuple(axis.span.text for axis in output.type.axes)
                frame.names[output.name.name] = Binding(value, before.span, output.type.span, axes)
        return outputs, frame

    def _input(self, frame: Frame, parameter: s.Parameter) -> None:
        shared, name = self.shared, parameter.name.name
        if not may_own(shared, parameter.name, name):
            return
        if name in frame.names:
            shared.error("GC0103", f"`{name}` stands twice in the signature", parameter.name.span)
            return
        if parameter.default is not None:
            shared.error("GC0013", "an input of a model has no default", parameter.default.span)
        made = declared(shared, frame, parameter.type)
        if made is None:
            frame.names[name] = Binding(POISON, parameter.name.span, parameter.type.span)
            return
        node = leaf("input", name, made.type)
        self.inputs[name] = node
        shared.spans.setdefault(node, parameter.name.span)
        frame.names[name] = Binding(Tensor(node, made.flexible), parameter.name.span, parameter.type.span, made.axes)

    def _warn_unused(self) -> None:
        if has_errors(self.shared.diagnostics):
            return
        for one in self.shared.instances:
            if isinstance(one, Instance) and not one.is_called:
                self.shared.warn("GC0112", f"`{one.path}` is never called and has no parameters", one.span)

    def _assemble(
        self, outputs: dict[str, Node], section: Section | None, second: Section | None, state_updates: dict[Node, Node]
    ) -> Program | None:
        shared = self.shared
        params = [variable for variable, _ in shared.params.values()]
        states = [variable for variable, _ in shared.states.values()]
        leaves = [*self.inputs.values()]
        train_inputs: tuple[Node, ...] = ()
        hypers: tuple[tuple[Node, float], ...] = ()
        if section is not None:
            train_inputs = tuple(section.inputs.values())
            hypers = tuple(section.hypers.values())
        leaves += [*train_inputs, *(v.leaf for v in params), *(v.leaf for v in states)]
        leaves += [*(h for h, _ in hypers), SEED, STEP]
        probes = {f"probe/{name}": node for name, node in shared.probes.items()}
        entries = {"forward": entry("forward", leaves, {**outputs, **probes})}
        updater = Updater(shared, second.choices if second is not None else (), STEP)
        if section is not None and second is not None and section.loss is not None and second.loss is not None:
            trainable = tuple(variable.leaf for variable in params if variable.trainable)
            if not trainable:
                shared.error("GC0606", f"`{self.model.name.name}` has no parameters to train", self.model.name.span)
                return None
            entries.update(self._training(section, second, state_updates, trainable, updater, leaves))
        if not self._is_determined(entries, [*self.inputs.values()], train_inputs):
            return None
        slots = tuple(updater.slots.values())
        return Program(
            name=self.model.name.name,
            symbols=self._symbols(entries, leaves),
            inputs=tuple(self.inputs.values()),
            entries=entries,
            train_inputs=train_inputs,
            params=tuple(params),
            states=tuple(states),
            slots=slots,
            hypers=hypers,
            requirements=tuple(shared.requirements),
            spans=self._spans(entries),
            origins=self.origins,
            doc=self.model.doc or self.module.tree.doc,
        )

    def _is_determined(self, entries: Mapping[str, Graph], inputs: list[Node], more: tuple[Node, ...]) -> bool:
        """Whether the inputs' shapes give every run-time dimension that an entry needs; reports those that do not."""
        fine = True
        for name, graph in entries.items():
            given = determined(inputs if name == "forward" else [*inputs, *more])
            for one in graph.symbols() if name != "apply" else ():
                if one in given:
                    continue
                where = self.dims[one.name].span if one.name in self.dims else self.model.name.span
                title = f"no input of `{self.model.name.name}` says how large `{one.name}` is"
                help = f"give it a value: dim {one.name} = ..., or an input with that axis"
                self.shared.error("GC0305", title, where, help=help)
                fine = False
        return fine

    def _training(
        self,
        section: Section,
        second: Section,
        state_updates: dict[Node, Node],
        trainable: tuple[Node, ...],
        updater: Updater,
        leaves: list[Node],
    ) -> dict[str, Graph]:
        assert section.loss is not None and second.loss is not None
        clip: Callable[[dict[Node, Node]], dict[Node, Node]] = second.clip or (lambda grads: grads)
        for param in trainable:  # makes the slots, so that the entries can declare them
            updater(param, param)
        training = Training(
            loss=second.loss,
            metrics=second.metrics,
            evaluate_loss=section.loss,
            evaluate_metrics=section.metrics,
            state_updates=state_updates,
            params=trainable,
            clip=clip,
            optimise=updater,
        )
        ordered = [*leaves[:-1], *(slot.leaf for slot in updater.slots.values()), leaves[-1]]
        return training_entries(training, ordered, self.origins)

    def _symbols(self, entries: Mapping[str, Graph], leaves: list[Node]) -> tuple[Symbol, ...]:
        """The run-time dimensions the program depends on, in the order of the file."""
        used: dict[Symbol, None] = {}
        for node in leaves:
            for dim in node.shape:
                used.update(dict.fromkeys(symbols(dim)))
        for graph in entries.values():
            used.update(dict.fromkeys(graph.symbols()))
        order = [symbol for name in self.dims for symbol in used if symbol.name == name]
        return tuple(dict.fromkeys([*order, *used]))

    def _spans(self, entries: Mapping[str, Graph]) -> dict[Node, Span]:
        """Where the nodes of the entries come from, those within scans too."""
        found: dict[Node, Span] = {}
        graphs, spans = list(entries.values()), self.shared.spans
        known: dict[Node, None] = {}
        while graphs:
            for node in postorder(graphs.pop().roots):
                if node not in known:
                    known[node] = None
                    graphs += [value for _, value in node.attrs if isinstance(value, Graph)]
                    if node in spans:
                        found[node] = spans[node]
        return found


def _has_when(body: tuple[s.Statement, ...]) -> bool:
    return any(isinstance(one, s.When) or (isinstance(one, s.For | s.Scan) and _has_when(one.body)) for one in body)
