"""W5: two convolutions 5x5 with max-pooling, a dense layer with dropout, ten scores; W9: its inference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .case import Case, Twin, Values, normal, training_flops

MODEL = """
use std.nn: conv2d, dense
dim B, S, I, F, G, H, C
model cnn(x: f32[B, S, S, I]) -> (z: f32[B, C]):
    param first = conv2d[K=5, O=F], second = conv2d[K=5, O=G], hidden = dense[O=H], out = dense[O=C]
    a = max_pool(relu(first(x, pad=2)), size=2)
    b = max_pool(relu(second(a, pad=2)), size=2)
    z = b |> flatten |> hidden |> relu |> dropout(0.5) |> out
"""
TRAIN = """
train cnn:
    input y: i32[B]
    hyper lr: f32 = 1e-3
    loss = cross_entropy(z, y)
    optimizer = adam(lr = lr)
"""
DIMS = {"S": 28, "I": 1, "F": 32, "G": 64, "H": 1024, "C": 10}
SMALL = {"B": 3, "S": 8, "I": 1, "F": 4, "G": 6, "H": 10, "C": 5}


def labelled(dims: Mapping[str, int], random: np.random.Generator) -> dict[str, NDArray[Any]]:
    x = normal(random, dims["B"], dims["S"], dims["S"], dims["I"])
    return {"x": x, "y": random.integers(0, dims["C"], dims["B"]).astype(np.int32)}


def unlabelled(dims: Mapping[str, int], random: np.random.Generator) -> dict[str, NDArray[Any]]:
    return {"x": labelled(dims, random)["x"]}


def torch_twin(case: Case, values: Values, data: Values) -> Twin:
    from torch import nn

    from .by_torch import CHANNELS_LAST, images, inference, put, put_convolution, put_dense, tensor, training

    first, second = (nn.Conv2d(*values[f"{name}.w"].shape[2:], 5, padding=2) for name in ("first", "second"))
    hidden, out = (nn.Linear(*values[f"{name}.w"].shape) for name in ("hidden", "out"))
    for layer, name in ((first, "first"), (second, "second")):
        put_convolution(layer, values[f"{name}.w"])
        put(layer, bias=values[f"{name}.b"])
    # PyTorch flattens [C, H, W], we [H, W, C]: the rows of the dense layer's weight are in another order
    side, channels = case.dims["S"] // 4, case.dims["G"]
    rows = values["hidden.w"].reshape(side, side, channels, -1).transpose(2, 0, 1, 3)
    put_dense(hidden, rows.reshape(values["hidden.w"].shape), values["hidden.b"])
    put_dense(out, values["out.w"], values["out.b"])
    net = nn.Sequential(
        *(first, nn.ReLU(), nn.MaxPool2d(2), second, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(hidden, nn.ReLU(), nn.Dropout(case.settings.get("dropout", 0.5)), out),
    ).to(memory_format=CHANNELS_LAST)
    x = images(data["x"])
    if not case.optimizer:
        return inference(case, net, x)
    return training(case, net, nn.functional.cross_entropy, x, tensor(data["y"]).long())


def jax_twin(case: Case, values: Values, data: Values) -> Twin:
    import jax
    import jax.numpy as jnp

    from .by_jax import Tree, arrays, convolution, cross_entropy, dense, inference, training

    keep = 1 - case.settings.get("dropout", 0.5)

    def pooled(x: jax.Array) -> jax.Array:
        """Unlike `lax.reduce_window`, its gradient is elementwise."""
        batch, height, width, channels = x.shape
        return x.reshape(batch, height // 2, 2, width // 2, 2, channels).max((2, 4))

    def net(p: Tree, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        for name in ("first", "second"):
            x = pooled(jax.nn.relu(convolution(x, p[f"{name}.w"], padding=2) + p[f"{name}.b"]))
        x = jax.nn.relu(dense(p, "hidden", x.reshape(len(x), -1)))
        if key is not None and keep < 1:
            x = jnp.where(jax.random.bernoulli(key, keep, x.shape), x / keep, 0)
        return dense(p, "out", x)

    def loss_of(p: Tree, kept: Tree, x: jax.Array, y: jax.Array) -> tuple[jax.Array, Tree]:
        key, ours = jax.random.split(kept["key"])
        return cross_entropy(net(p, x, ours), y), {"key": key}

    if not case.optimizer:
        return inference(net, arrays(values), data["x"])
    return training(case, loss_of, values, data, {"key": jax.random.key(0)})


def layer_flops(dims: Mapping[str, int]) -> list[float]:
    batch, side = dims["B"], dims["S"]
    flat = (side // 4) ** 2 * dims["G"]
    return [
        2.0 * batch * side * side * 25 * dims["I"] * dims["F"],
        2.0 * batch * (side // 2) ** 2 * 25 * dims["F"] * dims["G"],
        2.0 * batch * flat * dims["H"],
        2.0 * batch * dims["H"] * dims["C"],
    ]


def inferring(batch: int) -> Case:
    dims = {"B": batch, **DIMS}
    work = sum(layer_flops(dims))
    return Case(f"W9-cnn-b{batch}", MODEL, dims, SMALL, unlabelled, torch_twin, jax_twin, flops=work)


W5 = {"B": 64, **DIMS}
CASES = [
    Case(
        "W5",
        MODEL + TRAIN,
        W5,
        SMALL,
        labelled,
        torch_twin,
        jax_twin,
        flops=training_flops(layer_flops(W5)),
        optimizer="adam",
        compared=(MODEL + TRAIN).replace("dropout(0.5)", "dropout(0.0)"),
    ),
    inferring(1),
    inferring(32),
]
