"""Deep networks made of blocks: inception and resnet."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import graphc
from graphc.runtime.model import Model

RunExample = Callable[..., str]
ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
MNIST = ROOT.parent / "shared" / "data" / "mnist"
needs_mnist = pytest.mark.skipif(not MNIST.exists(), reason="MNIST is not shipped: no ../shared/data/mnist")


def model_of_block(folder: Path, example: str, text: str) -> Model:
    """A model around blocks of an example's file, all its parameters random."""
    shutil.copy(EXAMPLES / example / f"{example}.gc", folder)
    (folder / "test.gc").write_text(text)
    model = graphc.compile(folder / "test.gc")
    random = np.random.default_rng(5)
    for array in model.params.values():
        array[...] = random.normal(scale=0.5, size=array.shape)
    return model


def correlation(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """[B, H, W, I] under [K, K, I, O] with a border of K // 2 zeros, in float64."""
    half = w.shape[0] // 2
    wide = np.pad(x.astype(np.float64), ((0, 0), (half, half), (half, half), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(wide, w.shape[:2], axis=(1, 2))
    return np.einsum("bhwikl,klio->bhwo", windows, w.astype(np.float64))


def test_an_inception_block_is_four_ways_side_by_side(tmp_path: Path) -> None:
    model = model_of_block(
        tmp_path,
        "inception",
        """use "./inception.gc": inception
dim B
model one(x: f32[B, 6, 5, 4]) -> (y: f32[B, 6, 5, 14]):
    param four = inception[N=3, R=2, M=5, S=2, L=4, P=2]
    y = four(x)
""",
    )

    def seeing(name: str, x: np.ndarray) -> np.ndarray:
        w, b = model.params[f"four.{name}.filters.w"], model.params[f"four.{name}.filters.b"]
        return (correlation(x, w) + b).clip(0)

    x = np.random.default_rng(6).normal(size=(2, 6, 5, 4)).astype(np.float32)
    wide = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    greatest = np.lib.stride_tricks.sliding_window_view(wide, (3, 3), axis=(1, 2)).max(axis=(-1, -2))
    wanted = [
        seeing("near", x),
        seeing("wide3", seeing("reduce3", x)),
        seeing("wide5", seeing("reduce5", x)),
        seeing("pooled", greatest),
    ]
    np.testing.assert_allclose(model(x=x)["y"], np.concatenate(wanted, axis=-1), rtol=2e-5, atol=2e-5)


RESIDUAL = """use "./resnet.gc": residual, narrowed
dim B
model two(x: f32[B, 7, 6, 3]) -> (same: f32[B, 7, 6, 3], half: f32[B, 4, 3, 6]):
    param stay = residual, narrow = narrowed
    same = stay(x)
    half = narrow(x)
"""


def test_residual_blocks_add_to_their_input(tmp_path: Path) -> None:
    """In inference, where the running mean is 0 and the running variance 1 at first."""
    model = model_of_block(tmp_path, "resnet", RESIDUAL)

    def normed(name: str, x: np.ndarray, step: int = 1) -> np.ndarray:
        gain, bias = model.params[f"{name}.norm.gain"], model.params[f"{name}.norm.bias"]
        return correlation(x, model.params[f"{name}.w"])[:, ::step, ::step] / np.sqrt(1 + 1e-5) * gain + bias

    x = np.random.default_rng(7).normal(size=(2, 7, 6, 3)).astype(np.float32)
    seen = model(x=x)
    same = (x + normed("stay.second", normed("stay.first", x).clip(0))).clip(0)
    np.testing.assert_allclose(seen["same"], same, rtol=2e-5, atol=2e-5)
    past = np.concatenate([x[:, ::2, ::2], np.zeros((2, 4, 3, 3))], axis=-1)
    half = (past + normed("narrow.second", normed("narrow.first", x, 2).clip(0))).clip(0)
    np.testing.assert_allclose(seen["half"], half, rtol=2e-5, atol=2e-5)


def test_a_residual_block_of_zeros_is_the_identity(tmp_path: Path) -> None:
    model = model_of_block(tmp_path, "resnet", RESIDUAL)
    for name in (
        "stay.second.norm.gain",
        "stay.second.norm.bias",
        "narrow.second.norm.gain",
        "narrow.second.norm.bias",
    ):
        model.params[name][...] = 0
    x = np.random.default_rng(8).uniform(size=(2, 7, 6, 3)).astype(np.float32)
    seen = model(x=x)
    np.testing.assert_array_equal(seen["same"], x)
    np.testing.assert_array_equal(seen["half"][..., :3], x[:, ::2, ::2])
    assert not seen["half"][..., 3:].any()


@needs_mnist
@pytest.mark.parametrize(
    ("name", "parameters", "digits", "epochs", "least"),
    # the parameters of ResNet-20 are He's 0.27 million
    [("inception", 22_384, 8000, 1, 65.0), ("resnet", 269_434, 640, 2, 60.0)],
)
def test_deep_networks_learn_digits(
    tmp_path: Path, run_example: RunExample, name: str, parameters: int, digits: int, epochs: int, least: float
) -> None:
    """Far from the end of their training, which takes half a minute."""
    said = run_example(name, MNIST, "--train", digits, "--epochs", epochs)
    assert f"{parameters:,} parameters" in said
    accuracy = re.search(r"test accuracy: ([\d.]+) % of 2000", said)
    assert accuracy is not None
    assert float(accuracy[1]) >= least
    for picture in ("maps", name):
        assert (tmp_path / "runs" / name / f"{picture}.png").read_bytes().startswith(b"\x89PNG")
