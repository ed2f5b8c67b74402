"""Normalisation layers of std.nn against NumPy, over steps, checkpoints and both modes of batch_norm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import graphc

Array = NDArray[Any]

BATCH = """
use std.nn: batch_norm
precision params = f64, compute = f64
dim B
model net(x: f64[B, 4, 3]) -> (y: f64[B, 4, 3]):
    param n = batch_norm(momentum=0.8, eps=1e-3)
    y = n(x)
train net:
    input t: f64[B, 4, 3]
    loss = mse(y, t)
    optimizer = sgd(lr=0.3)
"""


class BatchNorm:
    """The formulas of Ioffe and Szegedy 2015 with sgd at 0.3; channels in the last axis."""

    def __init__(self) -> None:
        self.gain, self.bias = np.ones(3), np.zeros(3)
        self.mean, self.var = np.zeros(3), np.ones(3)

    def inference(self, x: Array) -> Array:
        return (x - self.mean) / np.sqrt(self.var + 1e-3) * self.gain + self.bias

    def gradients(self, x: Array, t: Array) -> tuple[float, Array, Array]:
        unit = (x - x.mean((0, 1))) / np.sqrt(x.var((0, 1)) + 1e-3)
        error = unit * self.gain + self.bias - t
        dy = 2.0 * error / error.size
        return float(np.mean(error**2)), (dy * unit).sum((0, 1)), dy.sum((0, 1))

    def step(self, x: Array, t: Array) -> float:
        loss, dgain, dbias = self.gradients(x, t)
        self.gain, self.bias = self.gain - 0.3 * dgain, self.bias - 0.3 * dbias
        rows = x.reshape(-1, 3)
        self.mean = 0.8 * self.mean + 0.2 * rows.mean(0)
        self.var = 0.8 * self.var + 0.2 * rows.var(0, ddof=1)
        return loss


def batches(count: int) -> list[dict[str, Array]]:
    rng = np.random.default_rng(0)
    sizes = [5 + i % 3 for i in range(count)]
    return [{"x": rng.normal(2.0, 3.0, (n, 4, 3)), "t": rng.normal(size=(n, 4, 3))} for n in sizes]


def check(model: graphc.Model, wanted: BatchNorm) -> None:
    np.testing.assert_allclose(model.states["n.running_mean"], wanted.mean, rtol=1e-12)
    np.testing.assert_allclose(model.states["n.running_var"], wanted.var, rtol=1e-12)
    np.testing.assert_allclose(model.params["n.gain"], wanted.gain, rtol=1e-10)
    np.testing.assert_allclose(model.params["n.bias"], wanted.bias, rtol=1e-10, atol=1e-12)


def test_batch_norm_over_steps() -> None:
    model, wanted = graphc.compile_source(BATCH), BatchNorm()
    for batch in batches(6):
        loss, dgain, dbias = wanted.gradients(**batch)
        before = {name: model.states[name].copy() for name in model.states}
        figures, grads = model.gradients(batch)
        np.testing.assert_allclose(figures["loss"], loss)
        np.testing.assert_allclose(grads["n.gain"], dgain, rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(grads["n.bias"], dbias, rtol=1e-10, atol=1e-14)
        inference = wanted.inference(batch["x"])
        np.testing.assert_allclose(model(x=batch["x"])["y"], inference, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(model.evaluate(batch)["loss"], np.mean((inference - batch["t"]) ** 2))
        for name, array in before.items():  # nothing but a step changes a state
            np.testing.assert_array_equal(model.states[name], array)
        np.testing.assert_allclose(model.step(batch)["loss"], wanted.step(**batch))
        check(model, wanted)


def test_the_gradient_by_the_input_of_batch_norm() -> None:
    """Through mean and variance, against difference quotients of the training loss."""
    text = BATCH.replace("    y = n(x)", "    param w: f64[4, 3] = constant(1.5)\n    y = n(tanh(x * w))")
    model = graphc.compile_source(text)
    batch = batches(1)[0]
    weight, step = model.params["w"], 1e-5
    _, grads = model.gradients(batch)
    for at in np.ndindex(4, 3):
        losses = []
        for sign in (1.0, -1.0):
            weight[at] += sign * step
            losses.append(model.gradients(batch)[0]["loss"])
            weight[at] -= sign * step
        np.testing.assert_allclose(grads["w"][at], (losses[0] - losses[1]) / (2.0 * step), rtol=1e-5, atol=1e-9)


def test_batch_norm_goes_on_after_a_checkpoint(tmp_path: Path) -> None:
    model, wanted = graphc.compile_source(BATCH), BatchNorm()
    data = batches(6)
    for batch in data[:3]:
        model.step(batch)
        wanted.step(**batch)
    model.save_checkpoint(tmp_path)
    model.save_weights(tmp_path / "weights.safetensors")
    model.save(tmp_path / "net.gca")
    inference = wanted.inference(data[0]["x"])
    restored, loaded = graphc.compile_source(BATCH), graphc.load(tmp_path / "net.gca")
    restored.restore(tmp_path)
    loaded.load_weights(tmp_path / "weights.safetensors")  # states belong to what inference needs
    for one in (restored, loaded):
        np.testing.assert_allclose(one(x=data[0]["x"])["y"], inference, rtol=1e-10, atol=1e-12)
    for batch in data[3:]:
        restored.step(batch)
        wanted.step(**batch)
    check(restored, wanted)


def test_init_starts_the_running_statistics_anew() -> None:
    model = graphc.compile_source(BATCH)
    for batch in batches(2):
        model.step(batch)
    model.init()
    check(model, BatchNorm())


def test_fit_updates_the_running_statistics() -> None:
    """The native loop over batches keeps states as single steps do."""
    model, wanted, data = graphc.compile_source(BATCH), BatchNorm(), batches(1)[0]
    model.fit(data, batch=5, epochs=4, shuffle=False, progress=False)
    for _ in range(4):
        wanted.step(**data)
    check(model, wanted)


def test_an_instance_used_twice_updates_twice() -> None:
    model = graphc.compile_source(BATCH.replace("y = n(x)", "y = n(x) + n(x + 1.0)"))
    batch = batches(1)[0]
    model.step(batch)
    mean = batch["x"].mean((0, 1))
    np.testing.assert_allclose(model.states["n.running_mean"], 0.8 * 0.2 * mean + 0.2 * (mean + 1.0), rtol=1e-12)


def test_one_sample_has_no_variance() -> None:
    """Defined: the running variance of one element takes 0, not 0 / 0."""
    model = graphc.compile_source(BATCH.replace("B, 4, 3", "B, 3"))
    model.step(x=np.ones((1, 3)), t=np.zeros((1, 3)))
    np.testing.assert_allclose(model.states["n.running_var"], 0.8)
    assert np.isfinite(model(x=np.ones((1, 3)))["y"]).all()


def test_batch_norm_of_a_dimension_as_large_as_another() -> None:
    model = graphc.compile_source(BATCH.replace("B, 4, 3", "3, 3, 3"))
    x, t = np.random.default_rng(0).normal(size=(2, 3, 3, 3))
    wanted = BatchNorm()
    model.step(x=x, t=t)
    wanted.step(x, t)
    check(model, wanted)


# ---- layer, group and root-mean-square -------------------------------------------------------------------------------

LAYER = """
use std.nn: layer_norm, group_norm, rms_norm
precision params = {real}, compute = {real}
dim B
model net(x: {real}[B, 2, 5, 12]) -> (y: {real}[B, 2, 5, 12]):
    param n = {layer}, w: {real}[12] = ones()
    y = n(x * w)
train net:
    input c: {real}[B, 2, 5, 12]
    loss = sum(y * c)
    optimizer = sgd(lr=0.1)
"""


def layer_norm(x: Array, eps: float = 1e-5) -> Array:
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps)


def rms_norm(x: Array, eps: float = 1e-5) -> Array:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps)


def group_norm(x: Array, groups: int, eps: float = 1e-5) -> Array:
    parts = x.reshape(len(x), -1, groups, x.shape[-1] // groups)
    centred = parts - parts.mean((1, 3), keepdims=True)
    return (centred / np.sqrt(parts.var((1, 3), keepdims=True) + eps)).reshape(x.shape)


LAYERS = {
    "layer_norm": layer_norm,
    "layer_norm(eps=0.1)": lambda x: layer_norm(x, 0.1),
    "rms_norm": rms_norm,
    "rms_norm(eps=0.1)": lambda x: rms_norm(x, 0.1),
    "group_norm[G=1]": lambda x: group_norm(x, 1),
    "group_norm[G=4]": lambda x: group_norm(x, 4),
    "group_norm[G=12](eps=0.1)": lambda x: group_norm(x, 12, 0.1),
}


def sample(dtype: str) -> tuple[Array, Array]:
    rng = np.random.default_rng(1)
    return rng.normal(1.0, 2.0, (3, 2, 5, 12)).astype(dtype), rng.normal(size=(3, 2, 5, 12)).astype(dtype)


@pytest.mark.parametrize("layer", LAYERS)
def test_layers(layer: str) -> None:
    """Values in f32, and derivatives in f64 against difference quotients of the NumPy formula."""
    x, _ = sample("f4")
    model = graphc.compile_source(LAYER.format(layer=layer, real="f32"))
    model.params["n.gain"][...] = gain = np.linspace(0.5, 2.0, 12)
    shift = 0.0
    if "n.bias" in model.params:
        model.params["n.bias"][...] = shift = np.linspace(-1.0, 1.0, 12)
    formula = LAYERS[layer]
    np.testing.assert_allclose(model(x=x)["y"], formula(x.astype("f8")) * gain + shift, rtol=1e-5, atol=1e-5)
    x, c = sample("f8")
    exact = graphc.compile_source(LAYER.format(layer=layer, real="f64"))
    _, grads = exact.gradients(x=x, c=c)
    np.testing.assert_allclose(grads["n.gain"], (c * formula(x)).sum((0, 1, 2)), rtol=1e-9, atol=1e-9)
    if "n.bias" in grads:
        np.testing.assert_allclose(grads["n.bias"], c.sum((0, 1, 2)), rtol=1e-9)
    for i in range(12):
        up, down = np.ones(12), np.ones(12)
        up[i] += 1e-5
        down[i] -= 1e-5
        quotient = np.sum(c * (formula(x * up) - formula(x * down))) / 2e-5
        np.testing.assert_allclose(grads["w"][i], quotient, rtol=1e-5, atol=1e-6)


def test_group_norm_needs_channels_that_divide() -> None:
    with pytest.raises(graphc.CompileError, match="group_norm"):
        graphc.compile_source(LAYER.format(layer="group_norm[G=5]", real="f32"))


def test_a_state_changes_in_training_only() -> None:
    text = "model m(x: f32[3]) -> (y: f32[3]):\n    state s: f32[3] = zeros()\n    s = x\n    y = s\n"
    with pytest.raises(graphc.CompileError, match="GC0604"):
        graphc.compile_source(text)
