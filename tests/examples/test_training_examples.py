"""Classifiers and how to train them: iris, softmax_regression, optimizers, generalisation."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import graphc
from graphc.mnist import load_mnist
from graphc.runtime.data import read
from graphc.runtime.errors import DataError

RunExample = Callable[..., str]
ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
MNIST = ROOT.parent / "shared" / "data" / "mnist"
needs_mnist = pytest.mark.skipif(not MNIST.exists(), reason="MNIST is not shipped: no ../shared/data/mnist")


def is_picture(path: Path) -> bool:
    return path.read_bytes().startswith(b"\x89PNG")


def test_the_irises_are_fishers() -> None:
    """Means and deviations as they are published, and two flowers that are wrong in the copy of the UCI repository."""
    path = EXAMPLES / "iris" / "iris.csv"
    assert hashlib.sha256(path.read_bytes()).hexdigest() in (EXAMPLES / "iris" / "SOURCE.md").read_text()
    table = read(path, "f32")
    assert table.shape == (150, 5) and np.bincount(table[:, 4].astype(int)).tolist() == [50, 50, 50]
    np.testing.assert_allclose(table[:, :4].mean(0), [5.8433, 3.0573, 3.7580, 1.1993], atol=1e-3)
    np.testing.assert_allclose(table[:, :4].std(0, ddof=1), [0.8281, 0.4359, 1.7653, 0.7622], atol=1e-3)
    np.testing.assert_allclose(table[[34, 37], :4], [[4.9, 3.1, 1.5, 0.2], [4.9, 3.6, 1.4, 0.1]], rtol=1e-6)


def test_iris_by_both_costs(tmp_path: Path, run_example: RunExample) -> None:
    said = run_example("iris")
    found = re.findall(r"(.+), lambda = (\S+): J = (\S+), held out (\S+), right on (\d+) %.* weights (\d+)", said)
    assert [(title, decay) for title, decay, *_ in found] == [
        (title, decay) for title in ("one against all", "softmax") for decay in ("1.0", "0.1", "0.0", "0.01")
    ]
    for title in ("one against all", "softmax"):
        rows = {float(decay): tuple(map(float, rest)) for name, decay, *rest in found if name == title}
        assert all(right >= 94.0 for _, _, right, _ in rows.values())
        by_decay = [rows[decay] for decay in (0.0, 0.01, 0.1, 1.0)]
        costs, weights = [row[0] for row in by_decay], [row[3] for row in by_decay]
        assert costs == sorted(costs) and weights == sorted(weights, reverse=True)
        assert rows[0.01][1] < rows[0.0][1]
        assert rows[0.0][0] < 0.1
    assert is_picture(tmp_path / "runs" / "iris" / "iris.png")


@pytest.mark.parametrize("name", ["one_vs_all", "softmax_net"])
def test_the_costs_of_iris_are_the_formulas_of_the_slide(name: str) -> None:
    """J with lambda/2n times the squared weights, biases spared: loss and gradients by hand, in NumPy f64."""
    model = graphc.compile(EXAMPLES / "iris" / "iris.gc", model=name)
    model.init(seed=1)
    decay = 0.7
    model.hyper["lambda"] = decay
    table = read(EXAMPLES / "iris" / "iris.csv", "f32")[::4]
    flower, species = np.ascontiguousarray(table[:, :4]), table[:, 4].astype(np.uint8)
    figures, grads = model.gradients(flower=flower, species=species)
    n = len(species)

    p = {path.removeprefix("net."): np.array(w, np.float64) for path, w in model.params.items()}
    x, y = (flower.astype(np.float64) - 3.5) / 2.0, np.eye(3)[species]
    a = 1.0 / (1.0 + np.exp(-(x @ p["hidden.w"] + p["hidden.b"])))
    z = a @ p["out.w"] + p["out.b"]
    if name == "one_vs_all":
        h = 1.0 / (1.0 + np.exp(-z))
        cost = -(y * np.log(h) + (1.0 - y) * np.log(1.0 - h)).sum() / n
    else:
        h = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        cost = -np.log(h[y == 1.0]).sum() / n
    np.testing.assert_allclose(figures["j"], cost, rtol=1e-5)
    penalty = decay / (2 * n) * ((p["hidden.w"] ** 2).sum() + (p["out.w"] ** 2).sum())
    np.testing.assert_allclose(figures["loss"], cost + penalty, rtol=1e-5)
    delta = (h - y) / n  # the same for both costs
    back = delta @ p["out.w"].T * a * (1.0 - a)
    wanted = {
        "out.w": a.T @ delta + decay / n * p["out.w"],
        "out.b": delta.sum(axis=0),
        "hidden.w": x.T @ back + decay / n * p["hidden.w"],
        "hidden.b": back.sum(axis=0),
    }
    for path, value in wanted.items():
        np.testing.assert_allclose(grads[f"net.{path}"], value, rtol=1e-4, atol=1e-6, err_msg=path)


@needs_mnist
def test_softmax_regression(tmp_path: Path, run_example: RunExample) -> None:
    said = run_example("softmax_regression", MNIST)
    accuracy = re.search(r"test accuracy: ([\d.]+) % of 2000", said)
    assert accuracy is not None and 90.5 <= float(accuracy[1]) <= 92.5
    assert is_picture(tmp_path / "runs" / "softmax_regression" / "softmax_regression.png")


@needs_mnist
def test_mnist_by_a_perceptron_with_one_hidden_layer(tmp_path: Path, run_example: RunExample) -> None:
    said = run_example("mnist_mlp")
    accuracy = re.search(r"test accuracy: ([\d.]+) % of 2000", said)
    assert accuracy is not None and float(accuracy[1]) >= 94.5


@needs_mnist
def test_every_optimizer_learns(tmp_path: Path, run_example: RunExample) -> None:
    said = run_example("optimizers", MNIST)
    found = re.findall(r"(\w+)\(.*\) +loss (\S+) \.\.\. (\S+), right on ([\d.]+) %", said)
    text = (ROOT / "frontend" / "std" / "optim.gc").read_text()
    assert sorted(name for name, *_ in found) == sorted(re.findall(r"^optimizer (\w+)\(", text, re.MULTILINE))
    for name, first, last, right in found:
        assert float(last) < 0.25 * float(first), name
        assert float(right) >= 93.0, name
    assert is_picture(tmp_path / "runs" / "optimizers" / "optimizers.png")


@needs_mnist
def test_what_helps_against_overfitting(tmp_path: Path, run_example: RunExample) -> None:
    said = run_example("generalisation", MNIST)
    pattern = r"^(.+?) +training cost (\S+), held out (\S+) \(least (\S+) in epoch (\d+)\), right on (\S+) %$"
    rows = {name: tuple(map(float, rest)) for name, *rest in re.findall(pattern, said, re.MULTILINE)}
    cost, held_out, least, epoch, right = rows["500 digits"]
    assert cost < 0.01 and held_out > 1.15 * least and epoch <= 15  # learnt by heart
    assert rows["early stopping, patience 5"][2] == least
    sizes = [rows[f"{n} digits"][1] for n in (100, 500, 2000, 8000)]
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] < 0.25
    for helped in ("weight decay 0.001", "weight decay 0.003", "dropout 0.5", "mini-batches of 100"):
        assert rows[helped][1] < held_out - 0.03, helped
    assert rows["0.1, halved every 3 epochs"][1] < rows["learning rate 0.1"][1] - 0.1
    assert rows["dropout 0.5"][4] > right
    assert is_picture(tmp_path / "runs" / "generalisation" / "generalisation.png")


def test_a_folder_without_digits_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="t10k-images"):
        load_mnist(tmp_path)
