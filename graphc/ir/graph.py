"""Graph: named outputs and updates over declared leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from graphc.ir.dims import Symbol, SymDim, symbols
from graphc.ir.node import Node, make, postorder
from graphc.runtime.errors import GraphcError


@dataclass(frozen=True, eq=False)
class Graph:
    """A static dataflow graph.

    `leaves` are declared in the order of the native table, `outputs` are named results, and `updates` give
    leaves (parameters, slots, states) the value they hold afterwards; they are written in place.
    """

    name: str
    leaves: tuple[Node, ...]
    outputs: Mapping[str, Node]
    updates: Mapping[Node, Node] = field(default_factory=dict)

    @property
    def structure(self) -> tuple[object, ...]:
        """What makes two graphs the same attribute: name, leaves, outputs and updates."""
        return "graph", self.name, self.leaves, tuple(self.outputs.items()), tuple(self.updates.items())

    @property
    def roots(self) -> list[Node]:
        return [*self.outputs.values(), *self.updates.values()]

    def nodes(self) -> list[Node]:
        """Every node, inputs before users; leaves that nothing uses are not among them."""
        return [*self._order]

    @cached_property
    def _order(self) -> tuple[Node, ...]:
        return tuple(postorder(self.roots))

    def symbols(self) -> tuple[Symbol, ...]:
        """The run-time dimensions, in order of first appearance."""
        found: dict[Symbol, None] = {}
        for node in (*self.leaves, *self.nodes()):
            for dim in getattr(node.type, "shape", ()):
                found.update(dict.fromkeys(symbols(dim)))
            for _, value in node.attrs:
                found.update(dict.fromkeys(_symbols_in(value)))
        return tuple(found)

    def with_roots(self, roots: Iterable[Node]) -> Graph:
        """The same graph with new nodes for its roots, in order; itself if nothing changed."""
        new = list(roots)
        if all(a is b for a, b in zip(new, self.roots, strict=True)):
            return self
        count = len(self.outputs)
        outputs = dict(zip(self.outputs, new[:count], strict=True))
        return Graph(self.name, self.leaves, outputs, dict(zip(self.updates, new[count:], strict=True)))

    def users(self) -> dict[Node, list[Node]]:
        """node -> the nodes that take it as an input (once each), in postorder; roots are not users."""
        users: dict[Node, list[Node]] = {}
        for node in self.nodes():
            users.setdefault(node, [])
            for x in dict.fromkeys(node.inputs):
                users[x].append(node)
        return users

    def __str__(self) -> str:
        from graphc.ir.text import print_graph

        return print_graph(self)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """How a notebook shows a graph: its picture, unless it is too large to draw, and its text."""
        from graphc.ir.view import picture

        try:
            return {"image/svg+xml": picture(self, "svg").decode(), "text/plain": str(self)}
        except GraphcError:
            return {"text/plain": str(self)}


def _symbols_in(value: object) -> tuple[Symbol, ...]:
    """The run-time dimensions in the value of an attribute."""
    if isinstance(value, SymDim):
        return symbols(value)
    if isinstance(value, tuple):
        return tuple(s for item in value for s in _symbols_in(item))
    return value.symbols() if isinstance(value, Graph) else ()


def rebuild(roots: Iterable[Node], replace: Callable[[Node, tuple[Node, ...]], Node | None]) -> list[Node]:
    """The roots with every node offered to `replace(node, new inputs)`; None keeps the op as it is."""
    roots = list(roots)
    new: dict[Node, Node] = {}
    for node in postorder(roots):
        inputs = tuple(new[x] for x in node.inputs)
        result = replace(node, inputs)
        if result is None:
            changed = any(a is not b for a, b in zip(inputs, node.inputs, strict=True))
            result = make(node.op, *inputs, **node.attrs_dict) if changed else node
        new[node] = result
    return [new[root] for root in roots]


def inline(graph: Graph, values: Iterable[Node]) -> list[Node]:
    """The outputs of `graph` with its leaves replaced by `values`, in order."""
    binding = dict(zip(graph.leaves, values, strict=True))
    return rebuild(graph.outputs.values(), lambda node, _: binding.get(node))
