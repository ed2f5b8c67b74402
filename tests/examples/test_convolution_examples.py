"""Networks whose weights are shared over the image: filters, conv1d, lenet."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import graphc
from graphc.mnist import load_mnist
from graphc.runtime.model import Model

RunExample = Callable[..., str]
ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
FILTERS, CONV1D = EXAMPLES / "filters" / "filters.gc", EXAMPLES / "conv1d" / "conv1d.gc"
MNIST = ROOT.parent / "shared" / "data" / "mnist"
needs_mnist = pytest.mark.skipif(not MNIST.exists(), reason="MNIST is not shipped: no ../shared/data/mnist")


def is_png(path: Path) -> bool:
    return path.read_bytes().startswith(b"\x89PNG")


def counting(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def correlation(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Every window of [H, W] times the kernel [K, K], summed."""
    windows = np.lib.stride_tricks.sliding_window_view(image, kernel.shape)
    return np.einsum("ijkl,kl->ij", windows.astype(np.float64), kernel)


@pytest.fixture(scope="module")
def filters() -> Model:
    return graphc.compile(FILTERS, model="filters")


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    """f32[20, 8, 8] of 0..16: small integers, so that every sum is exact."""
    with np.load(EXAMPLES / "digits" / "digits.npz") as data:
        return np.asarray(data["images"][:20].astype(np.float32))


def test_the_padded_example_of_the_slide() -> None:
    y = graphc.compile(FILTERS, model="padded")(x=counting(3, 3), kernel=counting(2, 2))["y"]
    assert y.tolist() == [[0, 3, 8, 4], [9, 19, 25, 10], [21, 37, 43, 16], [6, 7, 8, 0]]


def test_seven_under_three_by_a_stride_of_two_is_three() -> None:
    y = graphc.compile(FILTERS, model="strided")(x=counting(7, 7), kernel=counting(3, 3))["y"]
    np.testing.assert_array_equal(y, correlation(counting(7, 7), counting(3, 3))[::2, ::2])
    assert y.shape == (3, 3)


@pytest.mark.parametrize("shape", [(3, 3), (5, 4), (9, 17)])
def test_convolution_turns_the_kernel_round(shape: tuple[int, int]) -> None:
    x = np.random.default_rng(0).integers(-5, 6, shape).astype(np.float32)
    kernel = counting(3, 3)
    seen = graphc.compile(FILTERS, model="turned")(x=x, kernel=kernel)
    np.testing.assert_array_equal(seen["correlation"], correlation(x, kernel))
    np.testing.assert_array_equal(seen["convolution"], correlation(x, kernel[::-1, ::-1]))
    np.testing.assert_array_equal(seen["by_hand"], seen["convolution"])


def test_filters_do_what_their_names_say(filters: Model, digits: np.ndarray) -> None:
    seen = filters(image=digits)
    wide = np.pad(digits, ((0, 0), (1, 1), (1, 1))).astype(np.float64)

    def at(dy: int, dx: int) -> np.ndarray:
        return wide[:, 1 + dy : 9 + dy, 1 + dx : 9 + dx]

    near = sum(at(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1))
    gx = sum(weight * (at(dy, 1) - at(dy, -1)) for dy, weight in ((-1, 1), (0, 2), (1, 1)))
    gy = sum(weight * (at(1, dx) - at(-1, dx)) for dx, weight in ((-1, 1), (0, 2), (1, 1)))
    np.testing.assert_array_equal(seen["shifted"][:, :, 1:], digits[:, :, :-1])
    assert not seen["shifted"][:, :, 0].any()
    np.testing.assert_allclose(seen["blurred"], near / 9, rtol=1e-6)
    np.testing.assert_array_equal(seen["edges"], 9 * digits - near)
    np.testing.assert_array_equal(seen["gx"], gx)
    np.testing.assert_array_equal(seen["gy"], gy)
    np.testing.assert_allclose(seen["magnitude"], np.hypot(gx, gy), rtol=1e-6)


@pytest.mark.parametrize("by", [(1, 0), (0, -2), (3, 3)])
def test_filters_move_with_the_image(filters: Model, digits: np.ndarray, by: tuple[int, int]) -> None:
    wide = np.pad(digits, ((0, 0), (5, 5), (5, 5)))
    here, there = filters(image=wide), filters(image=np.roll(wide, by, axis=(1, 2)))
    for name, seen in here.items():
        np.testing.assert_array_equal(there[name], np.roll(seen, by, axis=(1, 2)), err_msg=name)
    turned = filters(image=np.rot90(wide, axes=(1, 2)).copy())
    assert (turned["gx"] != np.rot90(here["gx"], axes=(1, 2))).any()
    np.testing.assert_array_equal(turned["edges"], np.rot90(here["edges"], axes=(1, 2)))


def test_filters_run_on_the_digits_that_are_shipped(tmp_path: Path, run_example: RunExample) -> None:
    said = run_example("filters", "nowhere")
    for row in ("   0   3   8   4", "   9  19  25  10", "  21  37  43  16", "   6   7   8   0"):
        assert row in said
    assert "with a stride of 2 is 3x3" in said
    assert "filtered, then moved: they differ by 0.0" in said
    assert is_png(tmp_path / "runs" / "filters" / "filters.png")


def test_a_convolution_is_a_banded_matrix() -> None:
    model = graphc.compile(CONV1D, model="conv1d")
    random = np.random.default_rng(1)
    x, wanted = random.normal(size=(6, 32)).astype(np.float32), random.normal(size=(6, 28)).astype(np.float32)
    w = model.params["w"]
    seen = model(x=x)
    band = sum(np.diag(np.full(32, w[k]), k)[:28, :32] if k == 0 else np.eye(28, 32, k) * w[k] for k in range(5))
    np.testing.assert_array_equal(seen["matrix"], band)
    np.testing.assert_allclose(seen["y"], seen["by_matrix"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(seen["y"], [np.correlate(row, w) for row in x], rtol=1e-5, atol=1e-6)
    figures = model.evaluate(x=x, wanted=wanted)
    assert figures["loss"] == pytest.approx(figures["loss_by_matrix"], rel=1e-6)


def test_the_gradient_of_shared_weights_sums_over_diagonals() -> None:
    random = np.random.default_rng(2)
    x, wanted = random.normal(size=(6, 32)).astype(np.float32), random.normal(size=(6, 28)).astype(np.float32)
    w = random.normal(size=5).astype(np.float32)
    seen = graphc.compile(CONV1D, model="gradients")(x=x, w=w, wanted=wanted)
    y = np.stack([np.correlate(row, w) for row in x])
    by_matrix = 2 * (y - wanted).T.astype(np.float64) @ x / y.size
    np.testing.assert_allclose(seen["by_matrix"], by_matrix, atol=1e-6)
    np.testing.assert_allclose(seen["by_w"], [np.trace(by_matrix, k) for k in range(5)], atol=1e-6)


def test_conv1d_learns_from_examples_that_are_too_few_for_free_weights(tmp_path: Path, run_example: RunExample) -> None:
    said = run_example("conv1d")
    shared, free = (re.findall(r"\d\.\d{4}", line) for line in said.splitlines() if "squared error" in line)
    assert float(shared[1]) < 0.012  # the noise alone is 0.01
    assert float(free[1]) > 10 * float(shared[1])
    assert float(free[0]) < 0.005
    assert is_png(tmp_path / "runs" / "conv1d" / "conv1d.png")


@needs_mnist
def test_lenet_is_right_on_98_of_100(tmp_path: Path, run_example: RunExample) -> None:
    said = run_example("lenet", MNIST, "--epochs", 10)
    accuracy = re.search(r"test accuracy: ([\d.]+) % of 2000", said)
    assert accuracy is not None
    assert float(accuracy[1]) >= 98.0
    for name in ("maps", "lenet"):
        assert is_png(tmp_path / "runs" / "lenet" / f"{name}.png")


@needs_mnist
def test_lenet_with_dropout_gives_the_same_bits_twice() -> None:
    training, _ = load_mnist(MNIST, 640)
    model = graphc.compile(EXAMPLES / "lenet" / "lenet.gc")
    ends = []
    for seed in (3, 3, 4):
        model.init(seed=seed)
        history = model.fit(training, batch=32, epochs=2, seed=3, progress=False)
        ends.append((history["loss"], {name: array.tobytes() for name, array in model.params.items()}))
    assert ends[0] == ends[1]
    assert ends[0][1] != ends[2][1]


@needs_mnist
def test_lenet_without_dropout_is_what_forward_says() -> None:
    """Its layers in NumPy, from the maps that the probes show."""
    training, _ = load_mnist(MNIST, 3)
    model = graphc.compile(EXAMPLES / "lenet" / "lenet.gc")
    seen = model(image=training["image"])
    x = training["image"] / 255.0
    w, b = model.params["first.filters.w"][:, :, 0], model.params["first.filters.b"]
    found = (
        np.stack([[correlation(one, w[:, :, k]) + b[k] for k in range(8)] for one in x]).clip(0).transpose(0, 2, 3, 1)
    )
    np.testing.assert_allclose(seen["probe/found"], found, atol=2e-6)
    pooled = found.reshape(3, 12, 2, 12, 2, 8).max(axis=(2, 4))
    np.testing.assert_allclose(seen["probe/pooled"], pooled, atol=2e-6)
    inner = seen["probe/pooled2"].reshape(3, -1) @ model.params["hidden.w"] + model.params["hidden.b"]
    logits = inner.clip(0) @ model.params["out.w"] + model.params["out.b"]
    np.testing.assert_allclose(seen["logits"], logits, rtol=1e-4, atol=1e-5)
