"""The reference interpreter: a graph's meaning in NumPy, one op after the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from graphc.ir.dims import SymDim, evaluate
from graphc.ir.graph import Graph, rebuild
from graphc.ir.node import OPS, Node, make
from graphc.ir.types import TensorType

Array = Any  # numpy.ndarray


def interpret(
    graph: Graph, values: Mapping[str, Array], sizes: Mapping[str, int]
) -> tuple[dict[str, Array], dict[str, Array]]:
    """(outputs by name, updates by leaf name) of a graph.

    `values` binds leaves by name, `sizes` the run-time dimensions.  The arrays have exactly the dtypes and shapes
    of their types.  Raises KeyError for a missing leaf or size, ValueError for an array of another type, and
    IndexError for an index out of range.
    """
    computed: dict[Node, Array] = {}
    with np.errstate(all="ignore"):
        for node in graph.nodes():
            computed[node] = _bind(node, values, sizes) if node.is_leaf else compute(node, computed, sizes)
    outputs = {name: np.array(computed[node]) for name, node in graph.outputs.items()}
    return outputs, {x.attr("name"): np.array(computed[node]) for x, node in graph.updates.items()}


def _bind(node: Node, values: Mapping[str, Array], sizes: Mapping[str, int]) -> Array:
    array, name = np.asarray(values[node.attr("name")]), node.attr("name")
    shape = tuple(evaluate(d, sizes) for d in node.shape)
    if array.dtype != node.dtype.numpy or array.shape != shape:
        raise ValueError(f"{name} is {node.dtype}{list(shape)}, got {array.dtype}{list(array.shape)}")
    return array


def compute(node: Node, computed: Mapping[Node, Array], sizes: Mapping[str, int]) -> Array:
    """One node from the values of its inputs."""
    attrs = {name: resolve(value, sizes) for name, value in node.attrs}
    result = OPS[node.op].evaluate(*(computed[x] for x in node.inputs), **attrs)
    return np.asarray(result) if isinstance(node.type, TensorType) else result


def resolve(value: Any, sizes: Mapping[str, int]) -> Any:
    """An attribute value with its dimensions as ints, also inside of tuples and graphs."""
    if isinstance(value, SymDim):
        return evaluate(value, sizes)
    if isinstance(value, tuple):
        return tuple(resolve(item, sizes) for item in value)
    return specialise(value, sizes) if isinstance(value, Graph) else value


def specialise(graph: Graph, sizes: Mapping[str, int]) -> Graph:
    """The graph at given sizes: every dimension an int.  A graph without run-time dimensions is returned as it is."""
    if all(_is_static(value) for node in (*graph.leaves, *graph.nodes()) for _, value in node.attrs):
        return graph

    def at_sizes(node: Node, inputs: tuple[Node, ...]) -> Node:
        return make(node.op, *inputs, **{name: resolve(value, sizes) for name, value in node.attrs})

    roots = rebuild([*graph.leaves, *graph.updates, *graph.roots], at_sizes)
    count, updates = len(graph.leaves), len(graph.updates)
    leaves, targets, results = roots[:count], roots[count : count + updates], iter(roots[count + updates :])
    outputs = {name: next(results) for name in graph.outputs}
    return Graph(graph.name, tuple(leaves), outputs, dict(zip(targets, results, strict=True)))


def _is_static(value: Any) -> bool:
    """Whether an attribute value holds no run-time dimension."""
    if isinstance(value, tuple):
        return all(map(_is_static, value))
    return not isinstance(value, SymDim | Graph)
