"""Linear units of the slides: admission, adaline, linear_regression."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import graphc
from graphc.runtime.data import read

RunExample = Callable[..., str]
ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
APPLICANTS = ROOT.parent / "shared" / "data" / "admission" / "admission.csv"


def rows(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(marks f32[count, 2], admitted f32[count] of 0 and 1)."""
    random = np.random.default_rng(seed)
    marks = random.uniform(30, 100, (count, 2)).astype(np.float32)
    return marks, (marks.sum(axis=1) + random.normal(0, 10, count) > 130).astype(np.float32)


@pytest.mark.skipif(not APPLICANTS.exists(), reason="the 100 applicants are not shipped: no ../shared/data/admission")
def test_admission_has_the_figures_of_the_slide(tmp_path: Path, run_example: RunExample) -> None:
    """89 % at threshold 0.5, and the weights of Newton's method in float64."""
    said = run_example("admission", "--steps", 1000)
    assert "accuracy 89 % of 100 at threshold 0.5" in said
    assert "log-likelihood -0.2035" in said
    table = read(str(APPLICANTS), "f32").astype(np.float64)
    x, y, w = np.column_stack([(table[:, :2] - 65) / 20, np.ones(100)]), table[:, 2], np.zeros(3)
    for _ in range(30):
        p = 1 / (1 + np.exp(-x @ w))
        w -= np.linalg.solve((x.T * (p * (1 - p))) @ x, x.T @ (p - y))
    found = re.search(r"sigma\(([\d.]+) x1 \+ ([\d.]+) x2 \+ ([\d.]+)\)", said)
    assert found is not None
    np.testing.assert_allclose([float(number) for number in found.groups()], w, atol=0.011)
    assert (tmp_path / "runs" / "admission" / "admission.png").read_bytes().startswith(b"\x89PNG")


def test_admission_on_a_file_of_ones_own(tmp_path: Path, run_example: RunExample) -> None:
    marks, y = rows(60, seed=1)
    lines = [f"{a},{b},{int(c)}" for (a, b), c in zip(marks.tolist(), y, strict=True)]
    (tmp_path / "marks.csv").write_text("\n".join(["first,second,admitted", *lines]) + "\n")
    said = run_example("admission", "marks.csv", "--out", "here")
    accuracy = re.search(r"accuracy (\d+) % of 60", said)
    assert accuracy is not None
    assert int(accuracy[1]) >= 80
    assert (tmp_path / "here" / "admission.png").exists()


def test_the_gradient_of_the_likelihood_is_error_times_input() -> None:
    """dC/dw = mean of (p - y) x: sigma' has cancelled."""
    model = graphc.compile(EXAMPLES / "admission" / "admission.gc")
    marks, y = rows(20, seed=2)
    model.params["w"][...] = 0.5, -0.25
    x = (marks.astype(np.float64) - 65) / 20
    p = 1 / (1 + np.exp(-(x @ [0.5, -0.25])))
    figures, gradients = model.gradients(marks=marks, y=y)
    np.testing.assert_allclose(gradients["w"], ((p - y)[:, None] * x).mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(gradients["b"], (p - y).mean(), rtol=1e-5)
    assert figures["loss"] == pytest.approx(-np.mean(y * np.log(p) + (1 - y) * np.log(1 - p)), rel=1e-6)
    assert figures["log_likelihood"] == pytest.approx(-figures["loss"], rel=1e-5)


def test_a_step_of_adaline_is_the_lms_rule() -> None:
    """w += eta (y - z) x, with the error before the threshold."""
    model = graphc.compile(EXAMPLES / "adaline" / "adaline.gc")
    model.hyper["decay"] = 0.0
    marks, admitted = rows(30, seed=3)
    w, b = np.zeros(2), 0.0
    for one, y in zip(marks, 2 * admitted - 1, strict=True):
        x = (one.astype(np.float64) - 65) / 20
        error = y - (w @ x + b)
        w, b = w + 0.05 * error * x, b + 0.05 * error
        model.step(marks=one[None], y=np.array([y], np.float32))
        np.testing.assert_allclose(model.params["w"], w, atol=2e-6)
        np.testing.assert_allclose(model.params["b"], b, atol=2e-6)


def numbers(text: str, start: str) -> list[float]:
    line = next(line for line in text.splitlines() if line.startswith(start))
    return [float(number) for number in re.findall(r"-?\d+\.\d+", line)]


def test_adaline_comes_to_the_least_squares(tmp_path: Path, run_example: RunExample) -> None:
    said = run_example("adaline")
    np.testing.assert_allclose(numbers(said, "LMS"), numbers(said, "least squares"), atol=0.01)
    assert "accuracy 88 % of 100" in said
    assert (tmp_path / "runs" / "adaline" / "adaline.png").exists()


def test_linear_regression_comes_to_the_closed_forms(tmp_path: Path, run_example: RunExample) -> None:
    said = run_example("linear_regression")
    w0, w1, best0, best1 = numbers(said, "line:")
    assert abs(w0 - best0) < 0.02
    assert abs(w1 - best1) < 0.02
    by_descent, closed = numbers(said, "curve:")
    assert closed <= by_descent < 1.02 * closed
    accuracy = re.search(r"right on (\d+) %", said)
    assert accuracy is not None
    assert int(accuracy[1]) >= 90
    assert (tmp_path / "runs" / "linear_regression" / "linear_regression.png").exists()


def test_the_basis_functions_of_the_curve() -> None:
    model = graphc.compile(EXAMPLES / "linear_regression" / "linear_regression.gc", model="curve")
    x = np.linspace(0, 1, 7, dtype=np.float32)
    centres = (np.arange(12) + 0.5) / 12
    wanted = np.exp(-(((x[:, None] - centres) * 12) ** 2) / 2)
    np.testing.assert_allclose(model(x=x)["phi"], wanted, rtol=2e-5, atol=1e-30)
