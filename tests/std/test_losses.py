"""Every loss against NumPy: the value for each reduction, the gradient by central differences of the NumPy formula.

All in f64: values within 1e-12, gradients within 1e-7 of a difference quotient (whose own error is about 1e-9).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import graphc
from graphc.runtime.errors import GraphcError

Array = NDArray[Any]
B, C = 6, 5
RNG = np.random.default_rng(1)
X = RNG.normal(size=(B, C)) * 2.0
LABELS = np.array([0, 3, 4, 3, 1, 2], np.int32)
SOME = np.array([0, -1, 4, 3, -1, 2], np.int32)
MIXED = RNG.dirichlet(np.ones(C), size=B)
Y = X + RNG.normal(size=(B, C)) * 2.0
SIGNS = np.sign(RNG.normal(size=(B, C)))
WEIGHTS = np.array([1.0, 0.5, 2.0, 0.25, 3.0])


def log_softmax(x: Array) -> Array:
    return np.log(np.exp(x) / np.exp(x).sum(-1, keepdims=True))


def cross_entropy(x: Array, labels: Array, smoothing: float = 0.0) -> Array:
    """Rows; a distribution is mixed with the uniform one by `smoothing`."""
    target = np.eye(C)[labels] if labels.ndim == 1 else labels
    return np.asarray(-(((1.0 - smoothing) * target + smoothing / C) * log_softmax(x)).sum(-1))


def softplus(x: Array) -> Array:
    return np.log(1.0 + np.exp(x))


# call in the language: (second input, its type, rows of the loss in NumPy)
CASES: dict[str, tuple[Array, str, Callable[[Array], Array]]] = {
    "cross_entropy(x, y)": (LABELS, "i32[B]", lambda x: cross_entropy(x, LABELS)),
    "cross_entropy(x, y, smoothing=0.1)": (LABELS, "i32[B]", lambda x: cross_entropy(x, LABELS, 0.1)),
    "cross_entropy(x, y, axis=C)": (MIXED, "f64[B, C]", lambda x: cross_entropy(x, MIXED)),
    "cross_entropy(x, y, axis=-1, smoothing=0.2)": (MIXED, "f64[B, C]", lambda x: cross_entropy(x, MIXED, 0.2)),
    "binary_cross_entropy(x, y)": (MIXED, "f64[B, C]", lambda x: MIXED * softplus(-x) + (1.0 - MIXED) * softplus(x)),
    "mse(x, y)": (Y, "f64[B, C]", lambda x: (x - Y) ** 2),
    "mae(x, y)": (Y, "f64[B, C]", lambda x: np.abs(x - Y)),
    "huber(x, y)": (Y, "f64[B, C]", lambda x: huber(x - Y, 1.0)),
    "huber(x, y, delta=0.3)": (Y, "f64[B, C]", lambda x: huber(x - Y, 0.3)),
    "hinge(x, y)": (SIGNS, "f64[B, C]", lambda x: np.maximum(0.0, 1.0 - x * SIGNS)),
    "nll(log_softmax(x), y)": (LABELS, "i32[B]", lambda x: cross_entropy(x, LABELS)),
    "nll(x, y)": (LABELS, "i32[B]", lambda x: -x[np.arange(B), LABELS]),
}


def huber(e: Array, delta: float) -> Array:
    return np.where(np.abs(e) <= delta, 0.5 * e**2, delta * (np.abs(e) - 0.5 * delta))


def model_of(call: str, kind: str, const: str = "") -> graphc.Model:
    """A loss as mean, sum and rows, and as it is without `reduction`; the gradients of the mean and of the sum."""
    of = {how: call[:-1] + f", reduction={how})" for how in ("mean", "sum", "none")}
    return graphc.compile_source(f"""
precision params = f64, compute = f64
dim B, C = {C}
{const}
model loss(x: f64[B, C], y: {kind}) -> (average: f64, total: f64, rows: f64[{"B" if is_by_row(call) else "B, C"}],
        plain: f64, d_average: f64[B, C], d_total: f64[B, C]):
    average = {of["mean"]}
    total = {of["sum"]}
    rows = {of["none"]}
    plain = {call}
    d_average = grad(average, x)
    d_total = grad(total, x)
""")


def is_by_row(call: str) -> bool:
    return call.startswith(("cross_entropy", "nll"))


def slope(f: Callable[[Array], float], x: Array) -> Array:
    """The gradient of f by central differences."""
    out, step = np.empty_like(x), 1e-5
    for place in np.ndindex(*x.shape):
        up, down = x.copy(), x.copy()
        up[place] += step
        down[place] -= step
        out[place] = (f(up) - f(down)) / (2.0 * step)
    return out


def check(found: dict[str, Any], rows: Callable[[Array], Array], divisor: float) -> None:
    """`found` is what a model of `model_of` returned; the mean is the sum over `divisor`."""
    wanted = rows(X)
    np.testing.assert_allclose(found["rows"], wanted, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found["total"], wanted.sum(), rtol=1e-12)
    np.testing.assert_allclose(found["average"], wanted.sum() / divisor, rtol=1e-12)
    assert found["plain"] == found["average"]
    gradient = slope(lambda x: float(rows(x).sum()), X)
    np.testing.assert_allclose(found["d_total"], gradient, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(found["d_average"], gradient / divisor, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("call", CASES)
def test_value_and_gradient(call: str) -> None:
    labels, kind, rows = CASES[call]
    check(dict(model_of(call, kind)(x=X, y=labels)), rows, rows(X).size)


def test_ignored_rows_count_nowhere() -> None:
    kept = SOME >= 0
    model = model_of("cross_entropy(x, y, smoothing=0.1, ignore=-1)", "i32[B]")

    def rows(x: Array) -> Array:
        return np.where(kept, cross_entropy(x, np.where(kept, SOME, 0), 0.1), 0.0)

    check(dict(model(x=X, y=SOME)), rows, float(kept.sum()))
    nothing = model(x=X, y=np.full(B, -1, np.int32))
    assert nothing["average"] == 0.0 and not nothing["d_average"].any()


CONST = "const w: f64[5] = [1.0, 0.5, 2.0, 0.25, 3.0]"


@pytest.mark.parametrize("written", ["w", "[1.0, 0.5, 2, 0.25, 3.0]"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_weights_of_classes(smoothing: float, written: str) -> None:
    """A row counts as often as its class weighs: the mean is over the weights, as in PyTorch."""
    model = model_of(f"cross_entropy(x, y, smoothing={smoothing}, weights={written})", "i32[B]", CONST)

    def rows(x: Array) -> Array:
        return WEIGHTS[LABELS] * cross_entropy(x, LABELS, smoothing)

    check(dict(model(x=X, y=LABELS)), rows, float(WEIGHTS[LABELS].sum()))


def test_weights_and_ignored_rows() -> None:
    model = model_of("cross_entropy(x, y, ignore=-1, weights=w)", "i32[B]", CONST)
    weight = np.where(SOME >= 0, WEIGHTS[SOME], 0.0)

    def rows(x: Array) -> Array:
        return weight * cross_entropy(x, np.maximum(SOME, 0))

    check(dict(model(x=X, y=SOME)), rows, float(weight.sum()))


@pytest.mark.parametrize(
    ("call", "kind", "code", "words"),
    [
        ("cross_entropy(x, y, weights=w)", "f64[B, C]", "GC0405", "needs labels that are class numbers"),
        ("cross_entropy(x, y, weights=x)", "i32[B]", "GC0405", "one number for each class, f64[5]"),
        ("cross_entropy(x, y, weights=[1.0, 2.0])", "i32[B]", "GC0204", "this list is f64[2], not f64[5]"),
        ("cross_entropy(x, y, weights=2.0)", "i32[B]", "GC0405", "one number for each class, f64[5]"),
        ("cross_entropy(x, y, ignore=-1)", "f64[B, C]", "GC0405", "needs labels that are class numbers"),
        ("cross_entropy(x, y, smoothing=1.0)", "i32[B]", "GC0405", "less than 1"),
        ("huber(x, y, delta=0.0)", "f64[B, C]", "GC0405", "must be positive"),
        ("mse(x, y)", "f64[B]", "GC0201", "compares"),
        ("hinge(x, y)", "f32[B, C]", "GC0203", "compares"),
        ("nll(x, y)", "f64[B]", "GC0202", "works on integers"),
        ("nll(x, y)", "i32[C]", "GC0201", "compares"),
    ],
)
def test_what_a_loss_refuses(call: str, kind: str, code: str, words: str) -> None:
    text = f"dim B, C = {C}\n{CONST}\nmodel loss(x: f64[B, C], y: {kind}) -> (l: f64):\n    l = {call}\n"
    with pytest.raises(graphc.CompileError) as error:
        graphc.compile_source(text)
    assert code in str(error.value) and words in str(error.value)


LABELLED = """
dim B, C = {classes}
model loss(x: f32[B, C], y: {kind}[B]) -> (rows: f32[B], also: f32[B], hot: f32[B, C]):
    rows = nll(log_softmax(x), y, reduction=none)
    also = cross_entropy(x, y, reduction=none)
    hot = one_hot(y, C)
"""


def test_more_classes_than_the_type_of_the_labels_counts() -> None:
    x = np.random.default_rng(0).normal(size=(4, 300)).astype(np.float32)
    labels = np.array([0, 1, 43, 255], np.uint8)
    found = graphc.compile_source(LABELLED.format(classes=300, kind="u8"))(x=x, y=labels)
    np.testing.assert_allclose(found["rows"], found["also"], rtol=1e-6)
    assert np.array_equal(found["hot"], np.eye(300, dtype=np.float32)[labels])


@pytest.mark.parametrize("call", ["nll(x, y)", "cross_entropy(x, y)", "sum(one_hot(y, C))"])
@pytest.mark.parametrize("label", [-1, 5])
def test_a_label_out_of_range_is_an_error_of_the_call(call: str, label: int) -> None:
    text = f"dim B, C = {C}\nmodel loss(x: f32[B, C], y: i32[B]) -> (l: f32):\n    l = {call} + 0.0 * sum(x)\n"
    model = graphc.compile_source(text)
    with pytest.raises(GraphcError, match=rf"`y` holds {label} at \[2\]; it must be from 0 to 4"):
        model(x=X.astype(np.float32), y=np.array([0, 1, label, 0, 0, 0], np.int32))


def test_extreme_logits_have_finite_losses_and_gradients() -> None:
    """Losses are computed from logits: 1e4 neither overflows nor loses the gradient."""
    model = graphc.compile_source("""
dim B, C = 2
model loss(x: f32[B, C], y: i32[B], z: f32[B], t: f32[B]) -> (a: f32[B], b: f32[B], da: f32[B, C], db: f32[B]):
    a = cross_entropy(x, y, reduction=none)
    b = binary_cross_entropy(z, t, reduction=none)
    da = grad(sum(a), x)
    db = grad(sum(b), z)
""")
    x = np.array([[1e4, -1e4], [1e4, -1e4]], np.float32)
    z, t = np.array([1e4, -1e4, 1e4], np.float32), np.array([1.0, 1.0, 0.0], np.float32)
    found = model(x=np.concatenate([x, x[:1]]), y=np.array([0, 1, 1], np.int32), z=z, t=t)
    assert found["a"].tolist() == [0.0, 2e4, 2e4]
    assert found["b"].tolist() == [0.0, 1e4, 1e4]
    assert found["da"].tolist() == [[0.0, 0.0], [1.0, -1.0], [1.0, -1.0]]
    assert found["db"].tolist() == [0.0, -1.0, 1.0]


def test_the_penalty_sums_the_parameters_that_fit() -> None:
    model = graphc.compile_source("""
use std.nn: mlp
precision params = f64, compute = f64
dim B
model net(x: real[B, 3]) -> (y: real[B, 2]):
    param deep = mlp[H=4, O=2], scale: real = 2.0
    y = deep(x) * scale
train net:
    loss = sum_squares("*.w") + 10.0 * sum_squares("scale") + 0.0 * mean(y)
    optimizer = sgd(lr = 0.1)
    metric first = sum_squares("deep.first.*")
""")
    model.init(seed=0)
    figures, grads = model.gradients(x=X[:, :3])
    squares = {name: float((np.array(model.params[name]) ** 2).sum()) for name in model.params}
    np.testing.assert_allclose(figures["loss"], squares["deep.first.w"] + squares["deep.second.w"] + 40.0, rtol=1e-12)
    np.testing.assert_allclose(figures["first"], squares["deep.first.w"] + squares["deep.first.b"], rtol=1e-12)
    np.testing.assert_allclose(grads["deep.first.w"], 2.0 * model.params["deep.first.w"], rtol=1e-12)
    assert not grads["deep.first.b"].any() and float(grads["scale"]) == 40.0
