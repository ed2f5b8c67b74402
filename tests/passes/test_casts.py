"""Chains of casts: those that keep every number vanish, the others stay."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import graphc.ops  # noqa: F401  fills the registry
from graphc.ir.node import Node, leaf
from graphc.ir.types import BOOL, F32, F64, I8, I32, I64, U8, DType, TensorType
from graphc.ops.build import cast

Simplify = Callable[[Node], Node]


def value(dtype: DType) -> Node:
    return leaf("input", "x", TensorType(dtype, (3,)))


def test_integer_casts_through_floats_stay(simplified: Simplify) -> None:
    node = cast(cast(value(I32), F64), I8)  # saturates
    assert simplified(node) is node


@pytest.mark.parametrize(("source", "middle"), [(I64, F64), (I32, F32), (I64, I32), (F64, F32), (I8, BOOL)])
def test_lossy_casts_stay(source: DType, middle: DType, simplified: Simplify) -> None:
    node = cast(cast(value(source), middle), source)
    assert simplified(node) is node


@pytest.mark.parametrize(("source", "middle"), [(I32, F64), (I8, F32), (I32, I64), (F32, F64), (BOOL, I8), (U8, I32)])
def test_lossless_casts_vanish(source: DType, middle: DType, simplified: Simplify) -> None:
    x = value(source)
    assert simplified(cast(cast(x, middle), source)) is x


def test_a_cast_through_a_narrow_integer_stays(simplified: Simplify) -> None:
    for source, middle in ((U8, I8), (I8, U8), (I32, I8)):
        node = cast(cast(value(source), middle), I64)
        assert simplified(node) is node
