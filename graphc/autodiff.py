"""Reverse-mode differentiation, graph to graph: the derivative is a graph like any other, and can be derived again.

The rules are the `vjp` of the ops; this is the chain rule over them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import graphc.ops  # noqa: F401  fills the registry with the rules
from graphc.ir.node import Node, constant, postorder
from graphc.ir.types import TensorType, TypeMismatch
from graphc.ops.accumulate import total
from graphc.ops.build import zeros
from graphc.ops.control import inline_groups
from graphc.ops.scan_gradient import scan_vjp


def backward(
    output: Node, seed: Node, of: Iterable[Node] | None = None, origins: dict[Node, Node] | None = None
) -> dict[Node, Node]:
    """The cotangent of every float value that lies between `of` (all leaves, if None) and the output.

    `seed` is the cotangent of the output, of its type.  A value on which the output does not depend, or depends
    only through integers, bools or stopped gradients, is not a key.  Fused groups must have been inlined.
    `origins` is given, for every node that is made, the node whose derivative it belongs to.
    """
    if seed.type != output.type:
        raise TypeMismatch(f"the cotangent of {output.type} cannot be {seed.type}")
    return _backward({output: seed}, of, origins)


def _backward(
    seeds: Mapping[Node, Node], of: Iterable[Node] | None, origins: dict[Node, Node] | None = None
) -> dict[Node, Node]:
    """The chain rule from several outputs at once, each with its cotangent."""
    order = postorder(seeds)
    known = dict.fromkeys(order)
    active = _depending(order, of)
    flows = {y: [seed] for y, seed in seeds.items() if y in active}
    cotangents: dict[Node, Node] = {}
    results: dict[Node, dict[int, Node]] = {}  # scan -> the cotangents of its results
    for node in reversed(order):
        if node in flows:
            cotangents[node] = total(flows[node])
            if origins is not None:
                _note_origin(cotangents[node], node, known, origins)
        if not any(x in active for x in node.inputs):
            continue
        if node in results:
            found = scan_vjp(node, results[node], _backward)
        elif (dy := cotangents.get(node)) is None:
            continue
        elif node.op == "item":
            results.setdefault(node.inputs[0], {})[node.attr("index")] = dy
            continue
        else:
            found = node.definition.vjp(node, dy)
        for x, dx in zip(node.inputs, found, strict=True):
            if dx is not None and x in active:
                flows.setdefault(x, []).append(dx)
                if origins is not None:
                    _note_origin(dx, node, known, origins)
    return {node: cotangents[node] for node in [*seeds, *reversed(order)] if node in cotangents}


def _note_origin(root: Node, origin: Node, known: Mapping[Node, None], origins: dict[Node, Node]) -> None:
    """`origin` for the root and what it depends on, as far as that is new."""
    stack = [root]
    while stack:
        node = stack.pop()
        if node not in known and node not in origins:
            origins[node] = origin
            stack.extend(node.inputs)


def _depending(order: list[Node], of: Iterable[Node] | None) -> dict[Node, None]:
    """The float nodes (and scans) of a postorder that are in `of` or depend on it."""
    wanted = dict.fromkeys((x for x in order if x.is_leaf) if of is None else of)
    active: dict[Node, None] = {}
    for node in order:
        may_flow = node.dtype.is_float if isinstance(node.type, TensorType) else node.op == "scan"
        if may_flow and (node in wanted or any(x in active for x in node.inputs)):
            active[node] = None
    return active


def gradients(y: Node, xs: Iterable[Node], origins: dict[Node, Node] | None = None) -> list[Node]:
    """The derivative of a float scalar by each x, of its type; zeros where y does not depend on x.

    `origins` as for `backward`. Raises TypeMismatch if y is not a float scalar or an x is not float.
    """
    xs = list(xs)
    if not y.dtype.is_float or y.shape:
        raise TypeMismatch(f"only a float scalar has a gradient, not {y.type}", (0,), "take its mean or sum first")
    for position, x in enumerate(xs):
        if not x.dtype.is_float:
            raise TypeMismatch(f"there is no derivative by {x.type}", (position + 1,))
    y, *targets = inline_groups([y, *xs])
    cotangents = backward(y, constant(1.0, y.type), targets, origins)
    return [cotangents[x] if x in cotangents else zeros(x.type) for x in targets]
