"""Operands and small graphs for the samples that the ops give of themselves."""

from __future__ import annotations

from typing import Any

import numpy as np

import graphc.ops  # noqa: F401
from graphc.ir.graph import Graph, rebuild
from graphc.ir.node import OPS, ConstArray, Node, leaf, make
from graphc.ir.types import F32, F64, DType, TensorType, TupleType
from graphc.ops.op import Sample

SIZES = (1, 3, 7, 17, 33, 65)
Array = Any


def samples(name: str, size: int) -> list[Sample]:
    return list(OPS[name].samples(size))


def arrays(sample: Sample, seed: int) -> list[Any]:
    """Random operands of a sample: floats in its domain off the kinks, integers in its range."""
    random = np.random.default_rng(seed)
    floats = iter(_distinct(sample, random) if sample.distinct else ())

    def one(type: TensorType | TupleType) -> Any:
        if isinstance(type, TupleType):
            return tuple(one(item) for item in type.items)
        if type.dtype.is_float:
            array = next(floats) if sample.distinct else _off_kinks(sample, type.shape, random)
            return np.asarray(array, type.dtype.numpy)
        if type.dtype.kind == "b":
            return random.random(type.shape) < 0.5
        low, high = sample.integers
        return np.asarray(random.integers(low, high, type.shape)).astype(type.dtype.numpy)

    return [one(type) for type in sample.types]


def _off_kinks(sample: Sample, shape: tuple[int, ...], random: np.random.Generator) -> Array:
    x = np.asarray(random.uniform(*sample.domain, shape))
    for kink in sample.away_from:
        x = np.where(np.abs(x - kink) < 0.01, x + 0.03, x)
    return x


def _distinct(sample: Sample, random: np.random.Generator) -> list[Array]:
    """All float operands from one shuffled grid, so that no two elements are near each other."""
    shapes = [t.shape for t in sample.types if t.dtype.is_float]
    if not shapes:
        return []
    counts = [int(np.prod(shape)) for shape in shapes]
    low, high = sample.domain
    grid = low + (high - low) * (random.permutation(sum(counts)) + random.uniform(0.3, 0.7, sum(counts))) / sum(counts)
    return [part.reshape(shape) for part, shape in zip(np.split(grid, np.cumsum(counts)[:-1]), shapes, strict=True)]


def as_f32(value: Any) -> Any:
    """A sample's types and attributes with f32 in the place of f64."""
    match value:
        case Sample():
            types, attrs = as_f32(value.types), {k: as_f32(v) for k, v in value.attrs.items()}
            return Sample(types, attrs, value.domain, value.away_from, value.integers, value.distinct)
        case DType():
            return F32 if value == F64 else value
        case TensorType():
            return value.with_dtype(as_f32(value.dtype))
        case TupleType():
            return TupleType(as_f32(value.items))
        case tuple():
            return tuple(map(as_f32, value))
        case ConstArray(dtype, shape, data) if dtype == F64:
            return ConstArray(F32, shape, np.frombuffer(data, "<f8").astype("<f4").tobytes())
        case Graph():
            return _graph_as_f32(value)
    return value


def _graph_as_f32(graph: Graph) -> Graph:
    def convert(node: Node, inputs: tuple[Node, ...]) -> Node:
        return make(node.op, *inputs, **{k: as_f32(v) for k, v in node.attrs})

    roots = rebuild([*graph.leaves, *graph.outputs.values()], convert)
    count = len(graph.leaves)
    return Graph(graph.name, tuple(roots[:count]), dict(zip(graph.outputs, roots[count:], strict=True)))


def sample_graph(name: str, sample: Sample, prefix: str = "") -> Graph:
    """The op applied to leaves x0, x1, ...; outputs y0, y1, ...  A tuple operand comes out of a fused group."""
    leaves: list[Node] = []

    def operand(type: TensorType | TupleType) -> Node:
        if isinstance(type, TensorType):
            leaves.append(leaf("input", f"{prefix}x{len(leaves)}", type))
            return leaves[-1]
        parts = [leaf("input", f"a{i}", item) for i, item in enumerate(type.items)]
        body = Graph("body", tuple(parts), {f"r{i}": part + part for i, part in enumerate(parts)})
        return make("fused", *(operand(item) for item in type.items), body=body)

    node = make(name, *(operand(type) for type in sample.types), **sample.attrs)
    leaves += [node] if node.is_leaf else []
    return Graph(name, tuple(leaves), {f"{prefix}y{i}": y for i, y in enumerate(results(node))})


def results(node: Node) -> list[Node]:
    """The values of a node: itself, or the items of a group."""
    if isinstance(node.type, TupleType):
        return [make("item", node, index=i) for i in range(len(node.type.items))]
    return [node]


def flat(values: list[Any]) -> list[Array]:
    return [a for value in values for a in (value if isinstance(value, tuple) else (value,))]


def leaf_values(graph: Graph, values: list[Any]) -> dict[str, Array]:
    """The operands bound to the leaves of `sample_graph`; a leaf on its own is 0.5."""
    given = flat(values)
    if not given:
        return {x.attr("name"): np.full(x.shape, 0.5, x.dtype.numpy) for x in graph.leaves}
    return {x.attr("name"): a for x, a in zip(graph.leaves, given, strict=True)}
