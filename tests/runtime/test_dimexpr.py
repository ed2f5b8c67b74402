"""Dimension expressions and solving sizes from shapes."""

from __future__ import annotations

from typing import Any

import pytest

from graphc.runtime.dimexpr import Expr, evaluate, freeze, linear, show, symbols
from graphc.runtime.errors import ArtifactError, InputShapeError
from graphc.runtime.shapes import solve
from graphc.runtime.signature import Dimension, Leaf, Requirement, Signature, Target


@pytest.mark.parametrize(
    ("expr", "value", "text"),
    [
        (7, 7, "7"),
        ("B", 5, "B"),
        (("+", ("*", 2, "B"), 1), 11, "2 * B + 1"),
        (("*", ("+", "B", 1), "T"), 18, "(B + 1) * T"),
        (("//", ("-", "B", 1), 3), 1, "(B - 1) // 3"),
        (("%", "B", 3), 2, "B % 3"),
        (("max", "B", 100, "T"), 100, "max(B, 100, T)"),
        (("and", (">=", "B", 5), ("not", ("==", "T", 4))), 1, "(B >= 5) and (not (T == 4))"),
    ],
)
def test_evaluate_and_show(expr: Expr, value: int, text: str) -> None:
    assert evaluate(expr, {"B": 5, "T": 3}) == value
    assert freeze(expr) == expr
    if "not" not in text:
        assert show(expr) == text


def test_exact_and_checked() -> None:
    assert evaluate(("*", 2**31, 2**30), {}) == 2**61
    with pytest.raises(InputShapeError, match="too large"):
        evaluate(("*", "B", "B"), {"B": 2**40})
    with pytest.raises(InputShapeError, match="divides by zero"):
        evaluate(("//", "B", ("-", "B", "B")), {"B": 3})


@pytest.mark.parametrize(
    "bad", [1.5, None, True, [], ["+"], ["pow", 2, 3], ["//", 1], ["not", 1, 2], [1, 2], {"a": 1}, 2**63]
)
def test_not_an_expression(bad: Any) -> None:
    with pytest.raises(ArtifactError):
        freeze(bad)


def test_linear() -> None:
    assert linear(("+", ("*", 2, "B"), ("*", "T", 3)), "B", {"T": 4}) == (2, 12)
    assert linear(("-", 10, "B"), "B", {}) == (-1, 10)
    assert linear(("*", "B", "B"), "B", {}) is None
    assert linear(("//", "B", 2), "B", {}) is None
    assert linear(("*", "B", "T"), "B", {}) is None
    assert symbols(("+", "T", "B", "T")) == ("T", "B")


def signature(*shapes: tuple[Expr, ...], requires: tuple[Requirement, ...] = ()) -> Signature:
    leaves = tuple(Leaf(f"x{i}", "input", "f32", shape) for i, shape in enumerate(shapes))
    dims = (Dimension("B"), Dimension("T", 2, 9))
    return Signature("m", "0", "", Target("t", "x"), dims, leaves, {}, requires)


def test_solve() -> None:
    net = signature((("*", "B", "T"), 3), ("T",))  # the second input must be solved first
    assert solve(net, net.leaves, [(12, 3), (4,)]) == {"B": 3, "T": 4}
    for shapes, message in (
        ([(12, 3), (5,)], "axis 0 is 12, which no whole B gives"),
        ([(20, 3), (10,)], "T = 10 from x1; it must be from 2 to 9"),
        ([(12, 4), (4,)], "axis 1 is 4, not 3"),
        ([(12,), (4,)], "rank 1; it should be f32"),
        ([(0, 3), (4,)], "B = 0 from x0; it must be at least 1"),
    ):
        with pytest.raises(InputShapeError, match=message):
            solve(net, net.leaves, shapes)


@pytest.mark.parametrize(
    ("wanted", "shape", "hint"),
    [
        (("B", 3), (3,), r"rank 2: x0\[None\] is one row"),
        (("B", 8, 8, 1), (5, 8, 8), r"rank 4: x0\[\.\.\., None\] has the last axis"),
        (("B",), (5, 1), r"rank 1: x0\[\.\.\., 0\] is without the last axis"),
        (("B", 3), (4,), "rank 2$"),
        (("B",), (5, 2), "rank 1$"),
        ((), (5,), "rank 0$"),
    ],
)
def test_one_axis_too_many_or_too_few(wanted: tuple[Expr, ...], shape: tuple[int, ...], hint: str) -> None:
    net = signature(wanted)
    with pytest.raises(InputShapeError, match=hint):
        solve(net, net.leaves, [shape])


def test_undetermined() -> None:
    net = signature((("*", "B", "T"),))
    with pytest.raises(InputShapeError, match=r"B \* T = 12 does not determine its sizes"):
        solve(net, net.leaves, [(12,)])


def test_requires() -> None:
    net = signature(("B", "T"), requires=(Requirement(("==", ("%", "B", "T"), 0), "heads must divide"),))
    assert solve(net, net.leaves, [(6, 3)]) == {"B": 6, "T": 3}
    with pytest.raises(InputShapeError, match=r"heads must divide .* B = 7, T = 3"):
        solve(net, net.leaves, [(7, 3)])
