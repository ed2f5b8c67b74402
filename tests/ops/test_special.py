"""Values and derivatives where ops are special: NaN, infinities, ties, zeros, wrap-around, indices out of range."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphc.autodiff import gradients
from graphc.ir.graph import Graph
from graphc.ir.interpret import interpret
from graphc.ir.node import OPS, leaf, make
from graphc.ir.types import BOOL, DTYPES, F32, F64, I8, I32, I64, U8, DType, TensorType
from graphc.ops.build import broadcast, reduce

INF, NAN = float("inf"), float("nan")


def value(op: str, *operands: Any, dtype: DType = F64, **attrs: Any) -> list[Any]:
    with np.errstate(all="ignore"):
        arrays = [np.asarray(x, dtype.numpy) if not isinstance(x, np.ndarray) else x for x in operands]
        return np.asarray(OPS[op].evaluate(*arrays, **attrs)).tolist()


def slopes(op: str, *operands: Any, wrt: int = 0, **attrs: Any) -> list[float]:
    """The derivative of the sum of an op's result by one operand, at given operands (f64, or arrays)."""
    arrays = [x if isinstance(x, np.ndarray) else np.array(x, np.float64) for x in operands]
    kinds = {t.numpy: t for t in DTYPES.values()}
    leaves = [leaf("input", f"x{i}", TensorType(kinds[a.dtype], a.shape)) for i, a in enumerate(arrays)]
    y = make(op, *leaves, **attrs)
    (g,) = gradients(reduce("sum", y, *range(len(y.shape))), [leaves[wrt]])
    graph = Graph("g", tuple(leaves), {"g": g})
    return interpret(graph, {f"x{i}": a for i, a in enumerate(arrays)}, {})[0]["g"].tolist()


@pytest.mark.parametrize("op", ["relu", "exp", "sqrt", "tanh", "sigmoid", "erf", "abs", "sign", "floor", "round"])
def test_nan_stays_nan(op: str) -> None:
    assert np.isnan(value(op, [NAN])).all()


@pytest.mark.parametrize("op", ["max", "min", "add", "mul", "mod", "floordiv", "pow"])
def test_nan_of_either_operand_stays_nan(op: str) -> None:
    assert np.isnan(value(op, [NAN, 2.0], [3.0, NAN])).all()


@pytest.mark.parametrize("op", ["reduce_max", "reduce_min", "reduce_sum", "reduce_prod"])
def test_a_reduction_with_a_nan_is_nan(op: str) -> None:
    assert np.isnan(value(op, [1.0, NAN, 2.0], axes=(0,)))


def test_softmax_of_nan_is_nan_and_of_large_numbers_finite() -> None:
    assert np.isnan(value("softmax", [1.0, NAN], axis=0)).all()
    assert value("softmax", [1e300, -1e300], axis=0) == [1.0, 0.0]


def test_logsumexp_of_infinities() -> None:
    assert value("logsumexp", [-INF, -INF], axis=0) == -INF
    assert value("logsumexp", [INF, 1.0], axis=0) == INF
    assert slopes("logsumexp", [-INF, -INF], axis=0) == [0.0, 0.0]


def test_argmax_takes_the_first_of_equal_elements_and_nan_as_greatest() -> None:
    assert value("argmax", [1.0, 3.0, 3.0], axis=0) == 1
    assert value("argmax", [INF, NAN, NAN], axis=0) == 1
    assert value("argmin", [1.0, NAN, 0.0], axis=0) == 1


@pytest.mark.parametrize(("op", "identity"), [("sum", 0), ("prod", 1), ("max", -INF), ("min", INF)])
def test_a_reduction_of_nothing_is_its_identity(op: str, identity: float) -> None:
    assert value(f"reduce_{op}", np.zeros((0, 2)), axes=(0,)) == [identity] * 2
    assert OPS[f"reduce_{op}"].identity(F64) == identity


def test_derivatives_at_kinks_are_finite_and_as_documented() -> None:
    assert slopes("relu", [-1.0, -0.0, 0.0, 1.0, NAN]) == [0, 0, 0, 1, 0]
    assert slopes("abs", [-2.0, 0.0, 2.0]) == [-1, 0, 1]
    assert slopes("sqrt", [0.0, 4.0]) == [0, 0.25]
    assert slopes("max", [1.0, 2.0, 3.0], [2.0, 2.0, 2.0]) == [0, 1, 1]
    assert slopes("max", [1.0, 2.0, 3.0], [2.0, 2.0, 2.0], wrt=1) == [1, 0, 0]
    assert slopes("min", [1.0, 2.0, 3.0], [2.0, 2.0, 2.0]) == [1, 1, 0]
    assert slopes("reduce_max", [1.0, 3.0, 3.0], axes=(0,)) == [0, 0.5, 0.5]
    assert slopes("reduce_min", [1.0, 1.0, 1.0, 1.0], axes=(0,)) == [0.25] * 4


def test_the_norm_of_zero_has_the_derivative_zero_twice_over() -> None:
    x = leaf("input", "x", TensorType(F64, (3,)))
    (g,) = gradients(make("sqrt", reduce("sum", x * x, 0)), [x])
    (h,) = gradients(reduce("sum", g, 0), [x])
    found = interpret(Graph("g", (x,), {"g": g, "h": h}), {"x": np.zeros(3)}, {})[0]
    assert found["g"].tolist() == [0, 0, 0]
    assert np.isfinite(found["h"]).all()


@pytest.mark.parametrize(
    ("x", "expected"),
    [([2.0, 3.0, 4.0], [12, 8, 6]), ([2.0, 0.0, 4.0], [0, 8, 0]), ([0.0, 3.0, 0.0], [0, 0, 0]), ([0.0], [1])],
)
def test_the_derivative_of_a_product_is_exact_with_zeros(x: list[float], expected: list[float]) -> None:
    assert slopes("reduce_prod", x, axes=(0,)) == expected


def test_powers_have_safe_derivatives() -> None:
    assert slopes("pow", [0.0, 0.0, 2.0, -2.0], [0.0, 2.0, 0.0, 3.0]) == [0, 0, 0, 12]
    by_exponent = slopes("pow", [0.0, 1.0, -1.0], [2.0, 5.0, 2.0], wrt=1)
    assert by_exponent[:2] == [0, 0]
    assert np.isnan(by_exponent[2])


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0, 0.5, 3.0])
def test_a_constant_exponent_makes_no_logarithm(exponent: float) -> None:
    x = leaf("input", "x", TensorType(F64, (2,)))
    scalar = make("const", value=exponent, dtype=F64, shape=())
    (g,) = gradients(reduce("sum", make("pow", x, broadcast(scalar, (2,), ())), 0), [x])
    graph = Graph("g", (x,), {"g": g})
    assert all(node.op != "log" for node in graph.nodes())
    found = interpret(graph, {"x": np.array([2.0, 3.0])}, {})[0]["g"]
    np.testing.assert_allclose(found, exponent * np.array([2.0, 3.0]) ** (exponent - 1))


def test_integers_wrap_and_division_by_zero_is_zero() -> None:
    assert value("add", [127], [1], dtype=I8) == [-128]
    assert value("neg", [1], dtype=U8) == [255]
    assert value("mul", [2**31 - 1], [2], dtype=I32) == [-2]
    assert value("floordiv", [7, -7, 7, 5], [2, 2, -2, 0], dtype=I32) == [3, -4, -4, 0]
    assert value("mod", [7, -7, 7, 5], [3, 3, -3, 0], dtype=I32) == [1, 2, -2, 0]
    assert value("reduce_sum", [100, 100], dtype=I8, axes=(0,)) == -56


def test_integer_powers_wrap_and_negative_exponents_give_zero_but_for_units() -> None:
    assert value("pow", [3, -2, 0, 7, 2, 2], [4, 3, 0, 1, 31, 32], dtype=I32) == [81, -8, 1, 7, -(2**31), 0]
    assert value("pow", [2, 1, -1, -1, 0], [-1, -5, -3, -2, -1], dtype=I32) == [0, 1, -1, 1, 0]
    assert value("pow", [3], [6], dtype=U8) == [729 % 256]


def test_floor_division_and_modulo_of_floats_are_pythons() -> None:
    a, b = [7.5, -7.5, 7.5, -7.5], [2.0, 2.0, -2.0, -2.0]
    assert value("floordiv", a, b) == [x // y for x, y in zip(a, b, strict=True)]
    assert value("mod", a, b) == [x % y for x, y in zip(a, b, strict=True)]


@pytest.mark.parametrize("dtype", [I64, I32, I8, U8])
@pytest.mark.parametrize("source", [F32, F64])
def test_a_float_cast_to_an_integer_truncates_and_saturates(source: DType, dtype: DType) -> None:
    low, high = dtype.range()
    x = np.array([NAN, INF, -INF, 1e30, -1e30, 2.9, -0.9, float(high + 1), float(low)], source.numpy)
    assert OPS["cast"].evaluate(x, dtype=dtype).tolist() == [0, high, low, high, low, 2, 0, high, low]


def test_a_cast_to_bool_asks_whether_it_is_not_zero() -> None:
    assert OPS["cast"].evaluate(np.array([0.0, -0.0, 0.5, NAN]), dtype=BOOL).tolist() == [False, False, True, True]


def test_rounding_takes_halves_to_even() -> None:
    assert value("round", [0.5, 1.5, 2.5, -0.5, -1.5]) == [0, 2, 2, 0, -2]


def test_where_shields_the_operand_not_chosen() -> None:
    x = leaf("input", "x", TensorType(F64, (2,)))
    zero = make("eq", x, make("const", value=0.0, dtype=F64, shape=(2,)))
    one = make("const", value=1.0, dtype=F64, shape=(2,))
    y = make("where", zero, one, make("log", make("where", zero, one, x)))
    (g,) = gradients(reduce("sum", y, 0), [x])
    assert interpret(Graph("g", (x,), {"g": g}), {"x": np.array([0.0, 2.0])}, {})[0]["g"].tolist() == [0, 0.5]


def test_indices_out_of_range_are_errors() -> None:
    table, updates = np.zeros((3, 2)), np.zeros((1, 2))
    for bad in (-1, 3, 2**31 - 1):
        index = np.array([bad], np.int32)
        with pytest.raises(IndexError):
            OPS["gather"].evaluate(table, index, axis=0)
        with pytest.raises(IndexError):
            OPS["scatter_add"].evaluate(index, updates, axis=0, size=3)
        with pytest.raises(IndexError):
            OPS["cross_entropy"].evaluate(updates, index, axis=1, smoothing=0.0, ignore=None)


LABELS = np.array([0, 2, -1], np.int32)
LOGITS = np.array([[1.0, 2.0, 3.0], [-INF, 0.0, 0.0], [1.0, 1.0, 1.0]])


def test_ignored_rows_have_loss_and_derivative_zero() -> None:
    attrs = {"axis": 1, "smoothing": 0.0, "ignore": -1}
    losses = value("cross_entropy", LOGITS, LABELS, **attrs)
    np.testing.assert_allclose(losses, [np.log(np.exp([1, 2, 3]).sum()) - 1, np.log(2), 0], 1e-15)
    found = np.array(slopes("cross_entropy", LOGITS, LABELS, **attrs))
    np.testing.assert_allclose(found.sum(1), [0, 0, 0], atol=1e-15)
    assert found[2].tolist() == [0, 0, 0]
    np.testing.assert_allclose(found[1], [0, 0.5, -0.5])


def test_one_hot_and_integer_labels_agree_also_when_smoothed() -> None:
    random = np.random.default_rng(0)
    x, labels = random.normal(size=(4, 5)), np.array([0, 1, 4, 4], np.int64)
    for smoothing in (0.0, 0.3):
        attrs = {"axis": 1, "smoothing": smoothing, "ignore": None}
        by_number = value("cross_entropy", x, labels, **attrs)
        np.testing.assert_allclose(by_number, value("cross_entropy", x, np.eye(5)[labels], **attrs), 1e-13)


@pytest.mark.parametrize(
    ("logit", "target"), [(1000.0, 0.0), (-1000.0, 1.0), (1000.0, 1.0), (-1000.0, 0.0), (0.0, 0.5)]
)
def test_binary_cross_entropy_does_not_overflow(logit: float, target: float) -> None:
    expected = max(logit, 0) - logit * target + (np.log(2) if logit == 0 else 0)
    assert value("binary_cross_entropy", [logit], [target]) == [pytest.approx(expected)]
    assert np.isfinite(slopes("binary_cross_entropy", [logit], [target])).all()


def test_scatter_add_sums_equal_indices_in_order() -> None:
    """(1e16 + 1) - 1e16 is 0 in f64 in this order, and 1 in another."""
    index, updates = np.zeros(3, np.int32), np.array([1e16, 1.0, -1e16])
    assert value("scatter_add", index, updates, axis=0, size=2) == [0.0, 0.0]


def test_a_derivative_of_ones_own_replaces_that_of_the_value() -> None:
    """Straight-through rounding: the rule gives x the cotangent of the result times the captured factor."""
    type = TensorType(F64, (2,))
    x, factor, dy = leaf("input", "x", type), leaf("input", "factor", type), leaf("input", "dy", type)
    captured = leaf("input", "c", type)
    rule = Graph("rule", (captured, dy), {"dx": dy * captured})
    y = make("custom_vjp", make("round", make("stop_gradient", x)) * factor, x, factor, rule=rule, count=1)
    by_x, by_factor = gradients(reduce("sum", y, 0), [x, factor])
    values = {"x": np.array([1.2, 2.7]), "factor": np.array([5.0, 7.0])}
    found = interpret(Graph("g", (x, factor), {"y": y, "x": by_x, "f": by_factor}), values, {})[0]
    assert {k: v.tolist() for k, v in found.items()} == {"y": [5.0, 21.0], "x": [5.0, 7.0], "f": [1.0, 3.0]}
