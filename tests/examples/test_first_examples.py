"""The first examples hold to the figures of the slides: gates, spam_perceptron, worked_backprop."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import graphc

RunExample = Callable[..., str]
X = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]], np.float32)
AND, OR, XOR = (np.array(y, np.float32) for y in ([-1, -1, -1, 1], [-1, 1, 1, 1], [-1, 1, 1, -1]))
EXAMPLES = Path(__file__).parents[2] / "examples"
GATES, NEURONS = EXAMPLES / "gates" / "gates.gc", EXAMPLES / "worked_backprop" / "worked_backprop.gc"


def is_png(path: Path) -> bool:
    return path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("model", "false"), [("by_hand", -1.0), ("by_hand_01", 0.0)])
def test_gates_by_hand_have_the_truth_tables(model: str, false: float) -> None:
    x1, x2 = np.array(list(itertools.product((False, True), repeat=2))).T
    values = {True: 1.0, False: false}
    code = np.vectorize(values.get, otypes=[np.float32])
    said = graphc.compile(GATES, model=model)(x1=code(x1), x2=code(x2))
    wanted = {"or_": x1 | x2, "and_": x1 & x2, "nand": ~(x1 & x2), "xor": x1 ^ x2, "xnor": ~(x1 ^ x2)}
    assert said.keys() == wanted.keys()
    for gate, truth in wanted.items():
        np.testing.assert_array_equal(said[gate], code(truth), err_msg=gate)


def test_a_step_of_the_unit_is_the_perceptron_rule() -> None:
    """w += eta (y - yhat)/2 x and b += eta (y - yhat)/2, on examples it gets right and on those it gets wrong."""
    model = graphc.compile(GATES, model="unit")
    random = np.random.default_rng(0)
    eta, mistakes = np.float32(0.1), 0
    for _ in range(40):
        x, y = random.normal(size=(1, 2)).astype(np.float32), random.choice([-1.0, 1.0], 1).astype(np.float32)
        w, b = model.params["w"].copy(), model.params["b"].copy()
        half = (y - np.where(x @ w + b >= 0, 1, -1).astype(np.float32)) / 2
        mistakes += int(half[0] != 0)
        model.step(x=x, y=y)
        np.testing.assert_allclose(model.params["w"], w + eta * half * x[0], rtol=1e-6)
        np.testing.assert_allclose(model.params["b"], b + eta * half[0], rtol=1e-6)
    assert 5 < mistakes < 35


@pytest.mark.parametrize("seed", range(5))
def test_one_unit_learns_and_and_or_but_never_xor(seed: int) -> None:
    model = graphc.compile(GATES, model="unit")
    mistakes = {}
    for name, y in (("and", AND), ("or", OR), ("xor", XOR)):
        model.init(seed=seed)
        history = model.fit({"x": X, "y": y}, batch=1, epochs=60, seed=seed, progress=False)
        mistakes[name] = (min(history["loss"]), model.evaluate(x=X, y=y)["loss"])
    assert mistakes["and"] == mistakes["or"] == (0.0, 0.0)
    assert mistakes["xor"][1] >= 0.25
    assert mistakes["xor"][0] > 0.0


@pytest.mark.parametrize("seed", range(4))
def test_a_small_network_learns_xor(seed: int) -> None:
    model = graphc.compile(GATES, model="network")
    model.init(seed=seed)
    model.fit({"x": X, "y": XOR}, batch=4, epochs=400, seed=seed, progress=False)
    np.testing.assert_array_equal(np.sign(model.predict(X)), XOR)


def test_gates_runs(tmp_path: Path, run_example: RunExample) -> None:
    said = run_example("gates")
    assert said.count("0 of 4 wrong") == 3
    assert is_png(tmp_path / "runs" / "gates" / "gates.png")


def test_the_spam_of_the_slide(tmp_path: Path, run_example: RunExample) -> None:
    folder = EXAMPLES / "spam_perceptron"
    said = graphc.compile(folder / "spam_perceptron.gc")(x=np.array([[3, 4]], np.float32))
    assert round(float(said["z"][0]), 5) == 4.4
    assert said["yhat"][0] == 1.0
    printed = run_example("spam_perceptron")
    assert "z = 1.2 * 3 + 0.7 * 4 - 2.0 =  4.4   sgn(z) =  1   spam" in printed
    assert is_png(tmp_path / "runs" / "spam_perceptron" / "spam_perceptron.png")


@pytest.mark.parametrize(
    ("name", "cost", "slope", "w1"),
    [("squared_error", 0.0071, -0.0125, 1.00125), ("log_loss", 0.1269, -0.1192, 1.01192)],
)
def test_one_step_of_a_neuron_by_hand(name: str, cost: float, slope: float, w1: float) -> None:
    """x = (1, 0), y = 1, w = (1, -1), b = 1, eta = 0.1, to the digits of the slide."""
    model = graphc.compile(NEURONS, model=name)
    assert round(float(model(x1=1.0, x2=0.0)["yhat"]), 4) == 0.8808
    figures, gradient = model.gradients(x1=1.0, x2=0.0, y=1.0)
    assert round(figures["loss"], 4) == cost
    assert [round(float(gradient[name]), 4) for name in ("w1", "w2", "b")] == [slope, 0.0, slope]
    model.step(x1=1.0, x2=0.0, y=1.0)
    assert round(float(model.params["w1"]), 5) == w1
    assert model.params["w2"] == -1.0


def test_the_chain_rule_of_the_slide() -> None:
    model = graphc.compile(NEURONS, model="chain_rule")
    for x in (-3.5, 0.0, 0.25, 7.0):
        said = model(x=x)
        assert (said["f"], said["df_dx"]) == (20 * x * x, 40 * x)


def test_the_exercise_is_the_delta_rules() -> None:
    """The gradients of J = 1/2 sum (t - a)^2 are those of the rules, worked out in NumPy in float64."""
    model = graphc.compile(NEURONS, model="exercise")
    model.init(seed=3)
    random = np.random.default_rng(3)
    x, t = random.normal(size=(5, 2)).astype(np.float32), random.uniform(size=(5, 1)).astype(np.float32)
    w1, b1, w2, b2 = (model.params[name].astype(np.float64) for name in ("w1", "b1", "w2", "b2"))
    h = 1 / (1 + np.exp(-(x @ w1 + b1)))
    a = 1 / (1 + np.exp(-(h @ w2 + b2)))
    delta2 = -(t - a) * a * (1 - a)
    delta1 = (delta2 @ w2.T) * h * (1 - h)
    wanted = {"w1": x.T @ delta1, "b1": delta1.sum(axis=0), "w2": h.T @ delta2, "b2": delta2.sum(axis=0)}
    figures, gradients = model.gradients(x=x, t=t)
    assert figures["loss"] == pytest.approx(0.5 * np.sum((t - a) ** 2), rel=1e-6)
    for name, gradient in wanted.items():
        np.testing.assert_allclose(gradients[name], gradient, rtol=1e-5, atol=1e-7, err_msg=name)


def test_worked_backprop_prints_the_graph_beside_the_rules(tmp_path: Path, run_example: RunExample) -> None:
    said = run_example("worked_backprop")
    for line in (
        "C      = 0.0071",
        "dC/dw1 = -0.0125",
        "= 1.00125",
        "C      = 0.1269",
        "dC/dw1 = -0.1192",
        "= 1.01192",
    ):
        assert line in said
    for op, rule in (
        ("mul", "delta2 = -(t - a) * a (1 - a)"),
        ("neg", "dJ/da = -(t - a)"),
        ("contract", "delta2 w2^T"),
        ("mul", "delta1 = (delta2 w2^T) * h (1 - h)"),
        ("contract", "dJ/dw1 = x^T delta1"),
        ("reduce_sum", "dJ/db2"),
    ):
        assert any(f"= {op} " in line and f"# {rule}" in line for line in said.splitlines()), rule
    assert is_png(tmp_path / "runs" / "worked_backprop" / "backward.png")
