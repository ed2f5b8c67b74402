"""Program: the compiled meaning of one model file, as entries over shared leaves.

The frontend makes a Program; the driver optimises and lowers its entries; the artifact's signature is read off it.
Entries: `forward` always; `step`, `evaluate`, `gradients`, `apply` when the file trains the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from graphc.autodiff import gradients
from graphc.ir.dims import Dim, Symbol, symbol, symbols
from graphc.ir.graph import Graph
from graphc.ir.node import Node, leaf, postorder
from graphc.source import Span

ENTRIES = ("forward", "step", "evaluate", "gradients", "apply")


@dataclass(frozen=True)
class Initializer:
    """How a variable gets its first value; `kind` is one of the initialisers of docs/language.md."""

    kind: str
    args: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Variable:
    """A leaf that keeps its value between calls: a parameter, an optimiser slot or a state."""

    leaf: Node
    initializer: Initializer
    trainable: bool = True
    doc: str = ""

    @property
    def name(self) -> str:
        return str(self.leaf.attr("name"))


@dataclass(frozen=True)
class Requirement:
    """`left comparison right` must hold for the run-time sizes; comparison is == != < <= > >=."""

    left: Dim
    comparison: str
    right: Dim
    message: str


@dataclass(frozen=True)
class Program:
    """All a driver needs; leaves are shared by the entries."""

    name: str
    symbols: tuple[Symbol, ...]
    inputs: tuple[Node, ...]
    entries: Mapping[str, Graph]
    train_inputs: tuple[Node, ...] = ()
    params: tuple[Variable, ...] = ()
    states: tuple[Variable, ...] = ()
    slots: tuple[Variable, ...] = ()
    hypers: tuple[tuple[Node, float], ...] = ()
    requirements: tuple[Requirement, ...] = ()
    spans: Mapping[Node, Span] = field(default_factory=dict)
    origins: Mapping[Node, Node] = field(default_factory=dict)
    """Node of a gradient -> the node whose derivative it belongs to."""
    doc: str = ""


Update = tuple[Node, Mapping[Node, Node]]
"""The new value of a parameter and of the optimiser's slots."""


@dataclass(frozen=True)
class Training:
    """What the frontend knows of a `train` section.

    `loss`, `metrics` and `state_updates` are of the training mode, the `evaluate_*` ones of inference.
    `clip` maps all gradients at once; `optimise(param, gradient)` gives the parameter's Update.
    """

    loss: Node
    metrics: Mapping[str, Node]
    evaluate_loss: Node
    evaluate_metrics: Mapping[str, Node]
    state_updates: Mapping[Node, Node]
    params: tuple[Node, ...]
    clip: Callable[[dict[Node, Node]], dict[Node, Node]]
    optimise: Callable[[Node, Node], Update]


def training_entries(training: Training, leaves: Iterable[Node], origins: dict[Node, Node]) -> dict[str, Graph]:
    """The four entries of a trained model; `leaves` fixes the order in which each entry declares what it uses.

    `origins` is filled as `Program.origins`.
    """
    order = list(leaves)
    cotangents = gradients(training.loss, training.params, origins)
    grads = dict(zip(training.params, cotangents, strict=True))
    figures = {"loss": training.loss, **training.metrics}
    updates = {**_updates(training, grads), **training.state_updates}
    given = {p: leaf("gradient", p.attr("name"), p.type) for p in training.params}
    judged = {"loss": training.evaluate_loss, **training.evaluate_metrics}
    raw = {f"gradient/{p.attr('name')}": g for p, g in grads.items()}
    return {
        "step": entry("step", order, figures, updates),
        "evaluate": entry("evaluate", order, judged),
        "gradients": entry("gradients", order, {**figures, **raw}),
        "apply": entry("apply", [*order, *given.values()], {}, _updates(training, given)),
    }


def _updates(training: Training, grads: dict[Node, Node]) -> dict[Node, Node]:
    updates: dict[Node, Node] = {}
    for param, gradient in training.clip(dict(grads)).items():
        updates[param], slots = training.optimise(param, gradient)
        updates.update(slots)
    return updates


def entry(
    name: str, leaves: Iterable[Node], outputs: Mapping[str, Node], updates: Mapping[Node, Node] | None = None
) -> Graph:
    """A graph that declares, in the given order, those leaves that its results depend on or that it updates.

    Also the inputs that alone say how large a run-time dimension is: `uniform(like=x)` reads no element of x.
    """
    updates, order = dict(updates or {}), list(leaves)
    used: dict[Node, Any] = dict.fromkeys(postorder([*outputs.values(), *updates.values()]))
    used.update(dict.fromkeys(updates))
    graph = Graph(name, tuple(x for x in order if x in used), dict(outputs), updates)
    known = [dim for x in graph.leaves if x.attr("role") == "input" for dim in x.shape]
    missing = dict.fromkeys(dim for dim in graph.symbols() if symbol(dim.name, dim.low, dim.high) not in known)
    sizes = [x for x in order if x.attr("role") == "input" and any(s in missing for d in x.shape for s in symbols(d))]
    if not sizes:
        return graph
    return Graph(name, tuple(x for x in order if x in used or x in sizes), dict(outputs), updates)
