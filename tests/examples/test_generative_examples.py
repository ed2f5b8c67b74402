"""Networks that nobody tells what the digits are: autoencoder, rbm."""

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
MNIST = ROOT.parent / "shared" / "data" / "mnist"
needs_mnist = pytest.mark.skipif(not MNIST.exists(), reason="MNIST is not shipped: no ../shared/data/mnist")


def numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?\d+\.\d+", text)]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.fixture(scope="module")
def machine() -> Model:
    """The Boltzmann machine with weights that are worth something, and no decay."""
    model = graphc.compile(EXAMPLES / "rbm" / "rbm.gc", model="rbm")
    model.init(seed=1)
    random = np.random.default_rng(1)
    for array in model.params.values():
        array[...] = random.normal(scale=0.1, size=array.shape)
    return model


def images(count: int) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (count, 28, 28)).astype(np.uint8)


def test_free_energy_sums_over_the_hidden_units(machine: Model) -> None:
    """F(v) = -log of the sum over h of exp(-E(v, h)), and the sum is a product of (1 + e^x)."""
    image = images(3)
    seen = machine(image=image)
    v = (image.reshape(3, -1) >= 128).astype(np.float64)
    w, b, c = (machine.params[f"layer.{name}"].astype(np.float64) for name in "wbc")
    np.testing.assert_array_equal(seen["v0"], v)
    np.testing.assert_allclose(seen["hidden"], sigmoid(v @ w + c), rtol=2e-5)
    np.testing.assert_allclose(seen["free"], -(v @ b) - np.log1p(np.exp(v @ w + c)).sum(axis=1), rtol=1e-5)
    two = v @ w[:, :2] + c[:2]
    by_states = sum(np.exp(two @ np.array(h)) for h in ((0, 0), (0, 1), (1, 0), (1, 1)))
    np.testing.assert_allclose(np.log(by_states), np.log1p(np.exp(two)).sum(axis=1), rtol=1e-12)


def test_the_gradient_is_that_of_contrastive_divergence(machine: Model) -> None:
    """-(<v h> of the data - <v h> after one sweep); `forward` draws what the next step will."""
    image = images(20)
    seen = machine(image=image)
    v0, v1 = seen["v0"].astype(np.float64), seen["v1"].astype(np.float64)
    w, c = (machine.params[f"layer.{name}"].astype(np.float64) for name in "wc")
    h0, h1 = sigmoid(v0 @ w + c), sigmoid(v1 @ w + c)
    _, gradients = machine.gradients(image=image)
    decay = 2e-4 * w
    np.testing.assert_allclose(gradients["layer.w"], -(v0.T @ h0 - v1.T @ h1) / 20 + decay, atol=2e-6)
    np.testing.assert_allclose(gradients["layer.b"], -(v0 - v1).mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(gradients["layer.c"], -(h0 - h1).mean(axis=0), atol=1e-6)
    assert 0.2 < abs(v0 - v1).mean() < 0.8


def test_the_sweep_draws_with_the_chances_it_names(machine: Model) -> None:
    seen = machine(image=images(200))
    assert set(np.unique(seen["v1"])) == {0.0, 1.0}
    error = (seen["v1"] - seen["expected"]).mean(axis=0)  # 200 draws: at most 0.036 is one standard deviation
    assert np.abs(error).max() < 0.036 * 5
    assert abs(seen["v1"].mean() - seen["expected"].mean()) < 0.005


def test_dreams_depend_on_the_seed_alone() -> None:
    model = graphc.compile(EXAMPLES / "rbm" / "rbm.gc", model="dream")
    v = np.zeros((2, 784), np.float32)
    dreams = []
    for seed in (1, 2, 1):
        model.init(seed=seed)
        model.params["layer.w"][...] = 0
        dreams.append(model(v=v)["swept"])
    assert (dreams[0] == dreams[2]).all()
    assert (dreams[0] != dreams[1]).any()


@needs_mnist
def test_rbm_knows_digits_from_shuffled_pixels(tmp_path: Path, run_example: RunExample) -> None:
    said = run_example("rbm", MNIST, "--epochs", 3, "--train", 4000)
    (error,), train, held_out, shuffled = (numbers(line) for line in said.splitlines()[:4])
    assert error < 7.0
    assert train[0] < held_out[0] < shuffled[0] - 200
    assert (tmp_path / "runs" / "rbm" / "rbm.png").read_bytes().startswith(b"\x89PNG")


@needs_mnist
def test_autoencoder_beats_as_many_principal_components(tmp_path: Path, run_example: RunExample) -> None:
    said = run_example("autoencoder", MNIST, "--epochs", 6)
    error, linear = numbers(said)
    assert error < 0.6 * linear
    assert abs(linear - 0.0271) < 0.0005
    assert (tmp_path / "runs" / "autoencoder" / "autoencoder.png").read_bytes().startswith(b"\x89PNG")


@needs_mnist
def test_the_halves_of_the_autoencoder_are_the_whole() -> None:
    """The model `decoder`, given the parameters of the same name, makes of the codes what the autoencoder does."""
    source = EXAMPLES / "autoencoder" / "autoencoder.gc"
    whole, half = graphc.compile(source), graphc.compile(source, model="decoder")
    for name in half.params:
        half.params[name][...] = whole.params[name]
    seen = whole(image=load_mnist(MNIST, 50)[0]["image"])
    np.testing.assert_array_equal(half(code=seen["code"])["image"], seen["again"])
