"""Constants that are folded, and those that are too large to be."""

from __future__ import annotations

from collections.abc import Callable

import graphc.ops  # noqa: F401  fills the registry
from graphc.ir.node import ConstArray, Node, constant, make
from graphc.ir.types import F32, TensorType

Simplify = Callable[[Node], Node]


def test_folding_is_bounded(simplified: Simplify) -> None:
    big = constant(ConstArray(F32, (5000,), bytes(4 * 4999) + b"\0\0\x80\x3f"), TensorType(F32, (5000,)))
    node = make("exp", big)
    assert simplified(node) is node


def test_splats_fold_however_large(simplified: Simplify) -> None:
    x = constant(2.0, TensorType(F32, (1 << 20, 1 << 20)))
    assert simplified(make("exp", x * 0.0)) is constant(1.0, x.type)
