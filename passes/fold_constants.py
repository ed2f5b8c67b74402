"""Constant folding: what depends on constants alone is computed while compiling, by the op's own reference.

A constant with one value everywhere (a splat) stays one however large it is: elementwise ops fold its value, not
its elements.  Other results are folded up to FOLD_LIMIT elements, so that no graph grows by folding.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.ir.dims import SymDim, bounds, evaluate, product
from graphc.ir.graph import Graph
from graphc.ir.node import ConstArray, Node, make
from graphc.ir.rewrite import Rule, rewrite, rule
from graphc.ir.types import I64, TensorType
from graphc.ops.leaf import const_array
from graphc.ops.op import Composite, Elementwise, Pointwise, Reduction
from graphc.passes.match import Number, splat, splat_value
from graphc.passes.pipeline import graph_pass

FOLD_LIMIT = 4096
"""Elements of the largest array constant that folding makes."""
WORK_LIMIT = 1 << 16
"""Elements of the largest operand that folding reads."""
MANTISSA_BITS = {4: 24, 8: 53}


@rule()
def fold_splats(node: Node) -> Node | None:
    """f(splat, ...) -> splat, for elementwise f"""
    if not node.inputs or not isinstance(node.definition, Elementwise):
        return None
    values = [splat_value(x) for x in node.inputs]
    if any(v is None for v in values):
        return None
    operands = [np.full(1, v, x.dtype.numpy) for v, x in zip(values, node.inputs, strict=True)]
    result = _evaluate(node, operands)
    return None if result is None else splat(result.reshape(1)[0].item(), node.type)


@rule()
def fold_arrays(node: Node) -> Node | None:
    """f(constant, ...) -> constant, for few elements"""
    if not node.inputs or any(x.op != "const" for x in node.inputs):
        return None
    if not isinstance(node.definition, Pointwise | Reduction | Composite) or not _is_small(node):
        return None
    result = _evaluate(node, [x.definition.evaluate(**x.attrs_dict) for x in node.inputs])
    return None if result is None else make("const", value=const_array(result), dtype=node.dtype, shape=node.shape)


@rule("const")
def uniform_array(node: Node) -> Node | None:
    """[c, c, ...] -> splat c"""
    value = node.attr("value")
    if not isinstance(value, ConstArray) or not value.data:
        return None
    size = value.dtype.size
    if value.data != value.data[:size] * (len(value.data) // size):
        return None
    element = np.frombuffer(value.data[:size], value.dtype.numpy.newbyteorder("<"))[0].item()
    return None if element != element else splat(element, node.type)


@rule("dim")
def known_dim(node: Node) -> Node | None:
    """dim(8) -> 8"""
    size = node.attr("dim")
    return splat(size, TensorType(I64)) if isinstance(size, int) else None


@rule("reduce_max", "reduce_min", "reduce_and", "reduce_or")
def reduce_splat(node: Node) -> Node | None:
    """max(c, ..., c) -> c, for at least one element; likewise min, and, or"""
    value = splat_value(node.inputs[0])
    if value is None or bounds(product(node.inputs[0].shape[i] for i in node.attr("axes")))[0] < 1:
        return None
    return splat(value, node.type)


@rule("reduce_sum")
def sum_splat(node: Node) -> Node | None:
    """c + ... + c -> n * c, where every partial sum is exact"""
    value, count = splat_value(node.inputs[0]), product(node.inputs[0].shape[i] for i in node.attr("axes"))
    if value is None or not isinstance(count, int) or count < 1:
        return None
    if isinstance(value, float):
        return splat(value * count, node.type) if _has_exact_multiples(value, count, node.dtype.size) else None
    return splat(_wrap(value * count, node.type), node.type)


@rule("reduce_prod")
def prod_ones(node: Node) -> Node | None:
    """1 * ... * 1 -> 1"""
    return splat(splat_value(node.inputs[0]), node.type) if splat_value(node.inputs[0]) == 1 else None


FOLD_RULES: tuple[Rule, ...] = (known_dim, uniform_array, reduce_splat, sum_splat, prod_ones, fold_splats, fold_arrays)


@graph_pass("fold-constants")
def fold_constants(graph: Graph) -> Graph:
    """Computes what depends on constants alone."""
    from graphc.passes.movement import SPLAT_RULES

    return rewrite(graph, (*FOLD_RULES, *SPLAT_RULES))


def _is_small(node: Node) -> bool:
    """Whether folding knows all sizes and offsets, and there is little to do."""
    types = [node.type, *(x.type for x in node.inputs)]
    static = all(isinstance(t, TensorType) and t.is_static for t in types)
    if not static or not all(_is_known(value) for _, value in node.attrs):
        return False
    count, *sizes = (evaluate(t.elements, {}) for t in types)
    return count <= FOLD_LIMIT and all(n <= WORK_LIMIT for n in sizes)


def _is_known(value: Any) -> bool:
    """Whether an attribute holds no run-time dimension."""
    return all(map(_is_known, value)) if isinstance(value, tuple) else not isinstance(value, SymDim)


def _evaluate(node: Node, operands: list[Any]) -> Any:
    """The op's reference on arrays; None if it refuses them (an index out of range is for run time to report)."""
    try:
        with np.errstate(all="ignore"):
            result = np.asarray(node.definition.evaluate(*operands, **node.attrs_dict))
    except (IndexError, ValueError):
        return None
    return result if result.dtype == node.dtype.numpy else None


def _has_exact_multiples(value: float, count: int, size: int) -> bool:
    """Whether 1 * value, ..., count * value are all numbers of a float type of `size` bytes; -0.0 is left alone."""
    if value != value or value in (float("inf"), float("-inf")) or (value == 0 and str(value) == "-0.0"):
        return False
    numerator = abs(value.as_integer_ratio()[0])
    odd = numerator // (numerator & -numerator) if numerator else 0
    limit = 1e38 if size == 4 else 1e307
    return (odd * count).bit_length() <= MANTISSA_BITS[size] and abs(value) * count < limit


def _wrap(value: Number, type: TensorType) -> int:
    """An integer brought into the type's range modulo its size."""
    low, high = type.dtype.range()
    return (int(value) - low) % (high - low + 1) + low
