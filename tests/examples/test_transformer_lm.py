"""The transformer on characters: what a place sees, the same steps as PyTorch's, and how far the loss falls."""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import graphc
from graphc.runtime.model import Model

RunExample = Callable[..., str]
ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "transformer_lm"
TEXT = ROOT.parent / "shared" / "data" / "tinyshakespeare" / "input.txt"
needs_text = pytest.mark.skipif(
    not TEXT.exists(), reason="Tiny Shakespeare is not shipped: no ../shared/data/tinyshakespeare"
)


@pytest.fixture(scope="module")
def model() -> Model:
    return graphc.compile(FOLDER / "transformer_lm.gc")


@pytest.fixture(scope="module")
def program() -> ModuleType:
    specification = importlib.util.spec_from_file_location("transformer_lm", FOLDER / "transformer_lm.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


class Twin:
    """The same network and optimizer in PyTorch, from the same weights."""

    def __init__(self, model: Model, steps: int) -> None:
        import torch

        self.torch, self.steps, self.count = torch, steps, 0
        self.weights = {name: torch.tensor(np.array(value)) for name, value in model.params.items()}
        for value in self.weights.values():
            value.requires_grad_()
        self.adam = torch.optim.AdamW(self.weights.values(), betas=(0.9, 0.98), eps=1e-8, weight_decay=0.1)

    def logits(self, text: Any) -> Any:
        functional = self.torch.nn.functional
        w = self.weights

        def norm(x: Any, path: str) -> Any:
            return functional.layer_norm(x, x.shape[-1:], w[f"{path}.gain"], w[f"{path}.bias"])

        x = w["table"][text] + w["places"][: text.shape[1]]
        for layer in (f"layers.{i}" for i in range(3)):
            y = norm(x, f"{layer}.before")
            heads = [self.torch.einsum("btd,dak->batk", y, w[f"{layer}.attend.w{one}"]) for one in "qkv"]
            mixed = functional.scaled_dot_product_attention(*heads, is_causal=True)
            x = x + self.torch.einsum("batk,akd->btd", mixed, w[f"{layer}.attend.wo"])
            inner = functional.gelu(norm(x, f"{layer}.between") @ w[f"{layer}.up.w"] + w[f"{layer}.up.b"])
            x = x + inner @ w[f"{layer}.down.w"] + w[f"{layer}.down.b"]
        return norm(x, "last") @ w["table"].T

    def loss(self, text: np.ndarray, following: np.ndarray) -> Any:
        logits = self.logits(self.torch.from_numpy(text).long())
        targets = self.torch.from_numpy(following).long()
        return self.torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())

    def step(self, text: np.ndarray, following: np.ndarray) -> float:
        self.count += 1
        late = min(max(self.count - 50.0, 0.0) / (self.steps - 50.0), 1.0)
        self.adam.param_groups[0]["lr"] = 2e-3 * min(self.count / 50.0, 1.0) * (1 + math.cos(math.pi * late)) / 2
        self.adam.zero_grad()
        loss = self.loss(text, following)
        loss.backward()
        self.torch.nn.utils.clip_grad_norm_(self.weights.values(), 1.0)
        self.adam.step()
        return float(loss.detach())


def test_a_place_sees_itself_and_what_stands_before(model: Model) -> None:
    random = np.random.default_rng(0)
    text = random.integers(0, 65, (2, 40)).astype(np.int32)
    whole = model.predict(text)
    changed = text.copy()
    changed[:, 25:] = 64 - changed[:, 25:]
    np.testing.assert_array_equal(model.predict(changed)[:, :25], whole[:, :25])
    assert np.abs(model.predict(changed)[:, 25:] - whole[:, 25:]).max() > 1e-3
    for length in (1, 2, 33):
        np.testing.assert_allclose(model.predict(text[:, :length].copy()), whole[:, :length], atol=1e-5)


def test_steps_are_those_of_a_twin_in_torch(model: Model) -> None:
    pytest.importorskip("torch")
    model.init(seed=3)
    model.hyper["steps"] = 60
    twin, random = Twin(model, 60), np.random.default_rng(0)
    for _ in range(6):
        window = random.integers(0, 65, (4, 21)).astype(np.int32)
        text, following = window[:, :-1].copy(), window[:, 1:].copy()
        ours = float(model.step(text=text, next=following)["loss"])
        assert ours == pytest.approx(twin.step(text, following), rel=2e-5)
    for name, value in model.params.items():
        np.testing.assert_allclose(value, twin.weights[name].detach().numpy(), rtol=1e-3, atol=2e-4)


def test_batches_are_windows_of_the_training_part(program: ModuleType) -> None:
    text = program.Text("abcdefghij" * 200)
    batch = text.batch(np.random.default_rng(0))
    assert batch["text"].shape == batch["next"].shape == (32, 64)
    np.testing.assert_array_equal((batch["text"] + 1) % 10, batch["next"])
    held_out = text.windows()
    assert held_out["text"].shape == (3, 64) and held_out["text"][0, 0] == text.held_out[0]
    np.testing.assert_array_equal((held_out["text"] + 1) % 10, held_out["next"])


def test_it_learns_a_short_song_and_sings_it(program: ModuleType, model: Model) -> None:
    text = program.Text("when shall we three meet again in thunder lightning or in rain? " * 40)
    losses = program.train(model, text, 120)
    assert losses[0] > 3.5 and losses[-1] < 0.1
    song = program.write_on(model, text, "when shall we", 60, temperature=0.5)
    assert song.startswith("when shall we three meet again in thunder lightning or in rain")


@needs_text
def test_its_loss_on_shakespeare(run_example: RunExample, tmp_path: Path) -> None:
    said = run_example("transformer_lm", TEXT, "--steps", 200)
    figures = re.search(r"loss of the last 50 steps: ([\d.]+), held out: ([\d.]+)", said)
    assert figures is not None and float(figures[1]) < 2.4 and float(figures[2]) < 2.4
    assert (tmp_path / "runs" / "transformer_lm" / "transformer_lm.png").read_bytes().startswith(b"\x89PNG")
