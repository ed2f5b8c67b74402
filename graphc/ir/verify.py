"""The invariants of a graph, checked; it reads as the definition of a valid graph."""

from __future__ import annotations

from typing import Any

from graphc.ir.dims import SymDim
from graphc.ir.graph import Graph
from graphc.ir.node import OPS, ConstArray, Node
from graphc.ir.text import all_symbols, print_node
from graphc.ir.types import DType, TensorType, TypeMismatch

UPDATED_ROLES = ("param", "state", "slot")


class VerifyError(Exception):
    """A graph breaks an invariant; the message names the graph, the rule and the node."""


def verify(graph: Graph) -> None:
    """Raises VerifyError unless the graph is valid.

    Every node has the type its op infers and attributes the text can hold; every leaf is declared, once, under
    its own role and name; outputs are tensors; updates give declared variables values of their type; a
    dimension's name stands for one dimension; and inner graphs are valid, without updates of their own.
    """
    names: dict[str, Any] = {}
    for symbol in all_symbols(graph):
        known = names.setdefault(symbol.name, symbol)
        _check(known == symbol, graph, f"dimension {symbol.name} has two ranges: {known.bounds()}, {symbol.bounds()}")
    pending, seen = [graph], {id(graph)}
    for current in pending:  # grows while it runs
        for inner in _verify_one(current):
            _check(not inner.updates, inner, "an inner graph has updates")
            if id(inner) not in seen:
                seen.add(id(inner))
                pending.append(inner)


def _verify_one(graph: Graph) -> list[Graph]:
    """Checks one graph; returns the graphs inside its nodes."""
    _verify_leaves(graph)
    declared = dict.fromkeys(graph.leaves)
    inner: list[Graph] = []
    for node in graph.nodes():
        _check(node.op in OPS, graph, f"there is no op {node.op}", node)
        _check(not node.is_leaf or node in declared, graph, "the leaf is not declared", node)
        for name, value in node.attrs:
            _check(_is_value(value), graph, f"attribute {name} holds a {type(value).__name__}", node)
            inner += [value] if isinstance(value, Graph) else []
        _verify_type(graph, node)
    for name, x in graph.outputs.items():
        _check(isinstance(x.type, TensorType), graph, f"output {name} is not a tensor", x)
    for target, x in graph.updates.items():
        _check(target in declared, graph, "the updated leaf is not declared", target)
        role = target.attr("role")
        _check(role in UPDATED_ROLES, graph, f"a leaf of role {role} cannot be updated", target)
        _check(target.type == x.type, graph, f"{target.attr('name')}: {target.type} is given a {x.type}", x)
    return inner


def _verify_leaves(graph: Graph) -> None:
    seen: dict[tuple[str, str], Node] = {}
    for x in graph.leaves:
        _check(x.is_leaf, graph, "a declared leaf is no leaf", x)
        key = (x.attr("role"), x.attr("name"))
        _check(key not in seen, graph, f"two leaves are {key[0]} {key[1]}", x)
        seen[key] = x


def _verify_type(graph: Graph, node: Node) -> None:
    try:
        expected = OPS[node.op].infer(*(x.type for x in node.inputs), **node.attrs_dict)
    except TypeMismatch as mismatch:
        raise VerifyError(_message(graph, mismatch.message, node)) from mismatch
    _check(node.type == expected, graph, f"the type is {node.type}, but {node.op} infers {expected}", node)


def _is_value(value: object) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_value, value))
    return value is None or isinstance(value, (bool, int, float, str, DType, SymDim, ConstArray, Graph))


def _check(condition: bool, graph: Graph, message: str, node: Node | None = None) -> None:
    if not condition:
        raise VerifyError(_message(graph, message, node))


def _message(graph: Graph, message: str, node: Node | None) -> str:
    return f"graph {graph.name}: {message}" + (f"\n  {print_node(node)}" if node is not None else "")
