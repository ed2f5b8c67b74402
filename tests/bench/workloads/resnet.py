"""W7: ResNet-20 on images 32x32x3 (He et al. 2016), shortcuts by 1x1 convolutions; a training step, and inference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .case import Case, Twin, Values, normal, training_flops

MODEL = """
use std.nn: batch_norm, dense
dim B, S, W, C
block normed[B, H, W, I, O](x: f32[B, H, W, I]) -> (y: f32[B, H, W, O]):
    param w: f32[3, 3, I, O] = he_normal(), norm = batch_norm()
    y = norm(conv(x, w, pad=1))
block halved[B, H, W, I, O](x: f32[B, H, W, I]) -> (y: f32[B, (H + 1) // 2, (W + 1) // 2, O]):
    param w: f32[3, 3, I, O] = he_normal(), norm = batch_norm()
    y = norm(conv(x, w, stride=2, pad=1))
block past[B, H, W, I, O](x: f32[B, H, W, I]) -> (y: f32[B, (H + 1) // 2, (W + 1) // 2, O]):
    param w: f32[1, 1, I, O] = he_normal(), norm = batch_norm()
    y = norm(conv(x, w, stride=2))
block residual[B, H, W, I](x: f32[B, H, W, I]) -> (y: f32[B, H, W, I]):
    param first = normed[O=I], second = normed[O=I]
    y = relu((x |> first |> relu |> second) + x)
block narrowed[B, H, W, I](x: f32[B, H, W, I]) -> (y: f32[B, (H + 1) // 2, (W + 1) // 2, 2 * I]):
    param first = halved[O=2 * I], second = normed[O=2 * I], shortcut = past[O=2 * I]
    y = relu((x |> first |> relu |> second) + shortcut(x))
model resnet(x: f32[B, S, S, 3]) -> (z: f32[B, C]):
    param stem = normed[O=W], a[3] = residual, b0 = narrowed, b[2] = residual, c0 = narrowed, c[2] = residual
    param out = dense[O=C]
    h = x |> stem |> relu
    for one in a:
        h = one(h)
    h = b0(h)
    for one in b:
        h = one(h)
    h = c0(h)
    for one in c:
        h = one(h)
    z = h |> global_avg_pool |> out
"""
TRAIN = """
train resnet:
    input y: i32[B]
    hyper lr: f32 = 0.1
    loss = cross_entropy(z, y)
    optimizer = momentum(lr = lr, mu = 0.9)
"""
DIMS = {"S": 32, "W": 16, "C": 10}
SMALL = {"B": 4, "S": 8, "W": 4, "C": 5}
BLOCKS = ["a.0", "a.1", "a.2", "b0", "b.0", "b.1", "c0", "c.0", "c.1"]


def labelled(dims: Mapping[str, int], random: np.random.Generator) -> dict[str, NDArray[Any]]:
    x = normal(random, dims["B"], dims["S"], dims["S"], 3)
    return {"x": x, "y": random.integers(0, dims["C"], dims["B"]).astype(np.int32)}


def unlabelled(dims: Mapping[str, int], random: np.random.Generator) -> dict[str, NDArray[Any]]:
    return {"x": labelled(dims, random)["x"]}


def torch_twin(case: Case, values: Values, data: Values) -> Twin:
    import torch
    from torch import nn

    from .by_torch import CHANNELS_LAST, images, inference, put_convolution, put_dense, tensor, training

    def normed(path: str, stride: int = 1) -> nn.Sequential:
        taps, _, inputs, outputs = values[f"{path}.w"].shape
        convolution = nn.Conv2d(inputs, outputs, taps, stride, taps // 2, bias=False)
        put_convolution(convolution, values[f"{path}.w"])
        return nn.Sequential(convolution, nn.BatchNorm2d(outputs))

    class Residual(nn.Module):
        def __init__(self, path: str) -> None:
            super().__init__()
            self.first = normed(f"{path}.first", 2 if f"{path}.shortcut.w" in values else 1)
            self.second = normed(f"{path}.second")
            self.shortcut = normed(f"{path}.shortcut", 2) if f"{path}.shortcut.w" in values else nn.Identity()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.relu(self.second(nn.functional.relu(self.first(x))) + self.shortcut(x))

    out = nn.Linear(*values["out.w"].shape)
    put_dense(out, values["out.w"], values["out.b"])
    blocks = [Residual(path) for path in BLOCKS]
    net = nn.Sequential(normed("stem"), nn.ReLU(), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), out)
    net = net.to(memory_format=CHANNELS_LAST)
    x = images(data["x"])
    if not case.optimizer:
        return inference(case, net, x)
    return training(case, net, nn.functional.cross_entropy, x, tensor(data["y"]).long())


def jax_twin(case: Case, values: Values, data: Values) -> Twin:
    import jax
    import jax.numpy as jnp

    from .by_jax import Tree, arrays, convolution, cross_entropy, dense, inference, training

    def forward(p: Tree, averages: Tree, x: jax.Array) -> tuple[jax.Array, Tree]:
        """Scores, and the moving averages of all norms: those of the batch moved in where it trains."""
        moved = {}

        def normed(path: str, x: jax.Array, stride: int = 1) -> jax.Array:
            w = p[f"{path}.w"]
            x = convolution(x, w, len(w) // 2, stride)
            mean, var = averages[f"{path}.mean"], averages[f"{path}.var"]
            if case.optimizer:
                old, count = (mean, var), x.size // x.shape[-1]
                mean = x.mean((0, 1, 2))
                var = (x * x).mean((0, 1, 2)) - mean * mean  # one pass over x, as Flax takes it
                moved[f"{path}.mean"] = 0.9 * old[0] + 0.1 * mean
                moved[f"{path}.var"] = 0.9 * old[1] + 0.1 * var * (count / (count - 1))
            scale = jax.lax.rsqrt(var + 1e-5) * p[f"{path}.norm.gain"]
            return x * scale + (p[f"{path}.norm.bias"] - mean * scale)

        x = jax.nn.relu(normed("stem", x))
        for path in BLOCKS:
            narrow = f"{path}.shortcut.w" in p
            h = jax.nn.relu(normed(f"{path}.first", x, 2 if narrow else 1))
            past = normed(f"{path}.shortcut", x, 2) if narrow else x
            x = jax.nn.relu(normed(f"{path}.second", h) + past)
        return dense(p, "out", x.mean((1, 2))), moved

    def loss_of(p: Tree, averages: Tree, x: jax.Array, y: jax.Array) -> tuple[jax.Array, Tree]:
        z, moved = forward(p, averages, x)
        return cross_entropy(z, y), moved

    gains = {name.removesuffix(".norm.gain"): gain for name, gain in values.items() if name.endswith(".norm.gain")}
    averages = {f"{path}.mean": jnp.zeros_like(gain) for path, gain in gains.items()}
    averages |= {f"{path}.var": jnp.ones_like(gain) for path, gain in gains.items()}
    if not case.optimizer:
        return inference(lambda *inputs: forward(*inputs)[0], arrays(values), averages, data["x"])
    return training(case, loss_of, values, data, averages)


def layer_flops(dims: Mapping[str, int]) -> list[float]:
    pixels, width = dims["B"] * dims["S"] ** 2, dims["W"]
    found = [2.0 * pixels * 9 * 3 * width]
    for path in BLOCKS:
        before = width
        if path.endswith("0") and "." not in path:
            pixels, width = pixels // 4, 2 * width
            found.append(2.0 * pixels * before * width)
        found += [2.0 * pixels * 9 * before * width, 2.0 * pixels * 9 * width * width]
    return [*found, 2.0 * dims["B"] * width * dims["C"]]


def inferring(batch: int) -> Case:
    dims = {"B": batch, **DIMS}
    return Case(f"W7-inf-b{batch}", MODEL, dims, SMALL, unlabelled, torch_twin, jax_twin, flops=sum(layer_flops(dims)))


W7 = {"B": 32, **DIMS}
WORK = training_flops(layer_flops(W7))
CASES = [
    Case("W7-train", MODEL + TRAIN, W7, SMALL, labelled, torch_twin, jax_twin, flops=WORK, optimizer="momentum"),
    inferring(1),
    inferring(32),
]
