"""The epilogue of a structured kernel: what its group does to the finished element, as stores at one index."""

from __future__ import annotations

from collections.abc import Mapping

from graphc.codegen import loops
from graphc.codegen.kernel import Affine, Buffer, Scalar, Store
from graphc.codegen.scalars import Pull, linear
from graphc.ir.node import Node
from graphc.ops.op import Elementwise


def epilogue(
    node: Node,
    outputs: Mapping[Node, Buffer],
    inputs: Mapping[Node, Buffer],
    at: tuple[Affine, ...],
    value: Scalar,
    given: Mapping[Node, Scalar] | None = None,
) -> tuple[Store, ...]:
    """The stores of a group at index `at`, where its structured node has the value `value`, others the `given` ones."""
    values = finished(node, list(outputs), inputs, at, value, given)
    return tuple(Store(out, linear(out, at), found) for out, found in zip(outputs.values(), values, strict=True))


def finished(
    node: Node,
    wanted: list[Node],
    inputs: Mapping[Node, Buffer],
    at: tuple[Affine, ...],
    value: Scalar,
    given: Mapping[Node, Scalar] | None = None,
) -> list[Scalar]:
    """The values of nodes at the same index."""
    pull = Pull(inputs)
    for known, scalar in {**(given or {}), node: value}.items():
        pull.give(known, at, scalar)
    for inner in loops.inner_nodes(wanted, inputs):  # in order: a long chain needs no recursion
        if inner is not node and inner.shape == node.shape and isinstance(inner.definition, Elementwise):
            pull.read(inner, at)
    return [pull.read(n, at) for n in wanted]
