"""Every activation against NumPy: values in f32 and f64, derivatives, the ends of the range, and NaN."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import graphc

Array = NDArray[Any]
Function = Callable[[Array], Array]

TEXT = """
precision params = {real}, compute = {real}
model m(given: {real}[{size}]) -> (y: {real}[{size}]):
    param offset: {real}[{size}] = zeros()
    x = given + offset
    y = {value}
train m:
    input c: {real}[{size}]
    loss = sum(y * c)
    optimizer = sgd(lr=0.0)
"""


def phi(x: Array) -> Array:
    return np.exp(-x * x / 2.0) / math.sqrt(2.0 * math.pi)


def normal(x: Array) -> Array:
    return 0.5 * np.array([math.erfc(-v / math.sqrt(2.0)) for v in x])


def sigmoid(x: Array) -> Array:
    return np.where(x >= 0, 1.0 / (1.0 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1.0 + np.exp(-np.abs(x))))


def elu(x: Array, alpha: float = 1.0) -> Array:
    return np.where(x >= 0, x, alpha * np.expm1(np.minimum(x, 0.0)))


def elu_slope(x: Array, alpha: float = 1.0) -> Array:
    return np.where(x >= 0, 1.0, alpha * np.exp(np.minimum(x, 0.0)))


ALPHA, SCALE = 1.6732632423543772848, 1.0507009873554804934  # the fixed point of Klambauer et al. 2017
ROOT = math.sqrt(2.0 / math.pi)


def gelu_tanh_slope(x: Array) -> Array:
    t = np.tanh(ROOT * (x + 0.044715 * x**3))
    return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * ROOT * (1.0 + 3.0 * 0.044715 * x * x)


ACTIVATIONS: dict[str, tuple[Function, Function]] = {  # value and derivative
    "relu(x)": (lambda x: np.maximum(x, 0.0), lambda x: np.where(x > 0, 1.0, 0.0)),
    "leaky_relu(x)": (lambda x: np.where(x >= 0, x, 0.01 * x), lambda x: np.where(x >= 0, 1.0, 0.01)),
    "leaky_relu(x, slope=0.3)": (lambda x: np.where(x >= 0, x, 0.3 * x), lambda x: np.where(x >= 0, 1.0, 0.3)),
    "elu(x)": (elu, elu_slope),
    "elu(x, alpha=0.5)": (lambda x: elu(x, 0.5), lambda x: elu_slope(x, 0.5)),
    "selu(x)": (lambda x: SCALE * elu(x, ALPHA), lambda x: SCALE * elu_slope(x, ALPHA)),
    "softplus(x)": (lambda x: np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x))), sigmoid),
    "silu(x)": (lambda x: x * sigmoid(x), lambda x: sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x)))),
    "gelu(x)": (lambda x: x * normal(x), lambda x: normal(x) + x * phi(x)),
    "gelu(x, approximate=tanh)": (lambda x: 0.5 * x * (1.0 + np.tanh(ROOT * (x + 0.044715 * x**3))), gelu_tanh_slope),
    "sigmoid(x)": (sigmoid, lambda x: sigmoid(x) * sigmoid(-x)),
    "tanh(x)": (np.tanh, lambda x: 1.0 - np.tanh(x) ** 2),
    "sign(x)": (np.sign, np.zeros_like),
    "hard_step(x)": (lambda x: np.where(x >= 0, 1.0, 0.0), np.ones_like),
}
GRID = np.concatenate([np.linspace(-9.0, 9.0, 361), np.linspace(-0.01, 0.01, 20), [0.0]])


NUMPY = {"f32": np.float32, "f64": np.float64}


def both(value: str, x: Array, real: str) -> tuple[Array, Array]:
    """An activation's values and derivatives."""
    model = graphc.compile_source(TEXT.format(value=value, real=real, size=x.size))
    given = x.astype(NUMPY[real])
    return model(given=given)["y"], model.gradients(given=given, c=np.ones_like(given))[1]["offset"]


@pytest.mark.parametrize("real", NUMPY)
@pytest.mark.parametrize("value", ACTIVATIONS)
def test_values_and_derivatives(value: str, real: str) -> None:
    x = GRID.astype(NUMPY[real]).astype("f8")
    y, slope = both(value, x, real)
    formula, derivative = ACTIVATIONS[value]
    tolerance = {"f32": 2e-6, "f64": 1e-13}[real]
    np.testing.assert_allclose(y, formula(x), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(slope, derivative(x), rtol=tolerance, atol=tolerance)


LIMITS = {  # value and derivative at inf and -inf
    "relu(x)": (math.inf, 1.0, 0.0, 0.0),
    "leaky_relu(x)": (math.inf, 1.0, -math.inf, 0.01),
    "elu(x)": (math.inf, 1.0, -1.0, 0.0),
    "selu(x)": (math.inf, SCALE, -ALPHA * SCALE, 0.0),
    "softplus(x)": (math.inf, 1.0, 0.0, 0.0),
    "sigmoid(x)": (1.0, 0.0, 0.0, 0.0),
    "tanh(x)": (1.0, 0.0, -1.0, 0.0),
    "sign(x)": (1.0, 0.0, -1.0, 0.0),
    "hard_step(x)": (1.0, 1.0, 0.0, 1.0),
}


@pytest.mark.parametrize("value", LIMITS)
def test_ends_of_the_range(value: str) -> None:
    """No overflow on the way: at large numbers the values are those of the limit."""
    y, slope = both(value, np.array([math.inf, -math.inf, 1e4, -1e4]), "f64")
    high, high_slope, low, low_slope = LIMITS[value]
    np.testing.assert_allclose(y[:2], (high, low), rtol=1e-15)
    np.testing.assert_allclose(slope, (high_slope, low_slope) * 2, rtol=1e-15)
    np.testing.assert_allclose(y[2:], ACTIVATIONS[value][0](np.array([1e4, -1e4])), rtol=1e-15)


@pytest.mark.parametrize("value", [name for name in ACTIVATIONS if name != "hard_step(x)"])
def test_nan_goes_through(value: str) -> None:
    y, _ = both(value, np.array([math.nan, 1.0, math.nan]), "f32")
    np.testing.assert_array_equal(np.isnan(y), [True, False, True])


def test_second_derivatives() -> None:
    """Of the smooth ones, by grad in the language, against difference quotients of the first."""
    for value in ("softplus(x)", "silu(x)", "gelu(x)", "gelu(x, approximate=tanh)", "tanh(x)", "sigmoid(x)"):
        text = TEXT.replace("y = {value}", "h = {value}\n    y = grad(sum(h), x)")
        model = graphc.compile_source(text.format(value=value, real="f64", size=GRID.size))
        slope = ACTIVATIONS[value][1]
        np.testing.assert_allclose(model(given=GRID)["y"], slope(GRID), rtol=1e-12, atol=1e-13)
        _, grads = model.gradients(given=GRID, c=np.ones_like(GRID))
        away = np.abs(GRID) > 1e-4 if value == "softplus(x)" else np.full(GRID.shape, True)
        quotient = (slope(GRID + 1e-5) - slope(GRID - 1e-5)) / 2e-5
        np.testing.assert_allclose(grads["offset"][away], quotient[away], rtol=1e-5, atol=1e-8, err_msg=value)


MATRIX = """
model m(given: f64[5, 6]) -> (y: f64[{shape}]):
    param offset: f64[5, 6] = zeros()
    x = given + offset
    y = {value}
train m:
    input c: f64[{shape}]
    loss = sum(y * c)
    optimizer = sgd(lr=0.0)
"""


def matrix(value: str, shape: str = "5, 6") -> tuple[Array, Array, Array, Array]:
    """x, c, value and gradient of a function of a matrix."""
    rng = np.random.default_rng(0)
    x, c = rng.normal(size=(5, 6)), rng.normal(size=[int(n) for n in shape.split(",")])
    model = graphc.compile_source(MATRIX.format(value=value, shape=shape))
    return x, c, model(given=x)["y"], model.gradients(given=x, c=c)[1]["offset"]


@pytest.mark.parametrize(
    ("value", "shape", "cut"), [("maxout(x, 3)", "5, 2", (5, 2, 3)), ("maxout(x, 2, axis=1)", "5, 3", (5, 3, 2))]
)
def test_maxout(value: str, shape: str, cut: tuple[int, ...]) -> None:
    x, c, y, gradient = matrix(value, shape)
    np.testing.assert_array_equal(y, x.reshape(cut).max(2))
    wanted = np.where(x.reshape(cut) == y[..., None], c[..., None], 0.0).reshape(x.shape)
    np.testing.assert_array_equal(gradient, wanted)


def test_maxout_along_another_axis() -> None:
    x, _, y, _ = matrix("maxout(x, parts=5, axis=0)", "1, 6")
    np.testing.assert_array_equal(y, x.max(0, keepdims=True))


@pytest.mark.parametrize(
    ("value", "code"), [("maxout(x, 4)", "GC0313"), ("maxout(x, 0)", "GC0405"), ("maxout(x)", "GC04")]
)
def test_maxout_needs_equal_groups(value: str, code: str) -> None:
    with pytest.raises(graphc.CompileError, match=code):
        graphc.compile_source(MATRIX.format(value=value, shape="5, 6"))


@pytest.mark.parametrize("axis", [0, 1])
def test_softmax_and_log_softmax(axis: int) -> None:
    x, c, y, gradient = matrix(f"softmax(x, axis={axis})")
    p = np.exp(x) / np.exp(x).sum(axis, keepdims=True)
    np.testing.assert_allclose(y, p, rtol=1e-13)
    np.testing.assert_allclose(gradient, p * (c - (c * p).sum(axis, keepdims=True)), rtol=1e-11, atol=1e-15)
    _, c, y, gradient = matrix(f"log_softmax(x, axis={axis})")
    np.testing.assert_allclose(y, np.log(p), rtol=1e-12)
    np.testing.assert_allclose(gradient, c - p * c.sum(axis, keepdims=True), rtol=1e-11, atol=1e-14)


def test_a_straight_through_block_of_ones_own() -> None:
    """`grad x` replaces the derivative: the hard tanh of binarised networks (Courbariaux et al. 2016)."""
    block = """
block binary[N](x: f64[N]) -> (y: f64[N]):
    y = where(x >= 0.0, 1.0, -1.0)
    grad x = d(y) * cast(abs(x) <= 1.0, f64)
"""
    model = graphc.compile_source(block + TEXT.format(value="binary(x)", real="f64", size=GRID.size))
    y, (_, grads) = model(given=GRID)["y"], model.gradients(given=GRID, c=np.full(GRID.size, 2.0))
    np.testing.assert_array_equal(y, np.where(GRID >= 0, 1.0, -1.0))
    np.testing.assert_array_equal(grads["offset"], np.where(np.abs(GRID) <= 1.0, 2.0, 0.0))


def test_stop_gradient() -> None:
    y, slope = both("x * stop_gradient(x)", GRID, "f64")
    np.testing.assert_array_equal(y, GRID * GRID)
    np.testing.assert_array_equal(slope, GRID)


@pytest.mark.parametrize("dtype", ["i64", "i32", "i8", "u8"])
def test_relu_of_integers(dtype: str) -> None:
    model = graphc.compile_source(f"dim N\nmodel m(x: {dtype}[N]) -> (y: {dtype}[N]):\n    y = relu(x)\n")
    x = np.array([-128, -1, 0, 1, 127, 200], np.int64).astype(
        {"i64": np.int64, "i32": np.int32, "i8": np.int8, "u8": np.uint8}[dtype]
    )
    y = model(x=x)["y"]
    assert y.dtype == x.dtype
    assert np.array_equal(y, np.maximum(x, 0))
