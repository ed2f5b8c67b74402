"""W8: a block of a transformer's encoder (Vaswani et al. 2017, norms after the sums), trained and as inference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .case import Case, Twin, Values, normal

MODEL = """
use std.nn: dense, layer_norm
dim B, T, D, A, F
model encoder(x: f32[B, T, D]) -> (z: f32[B, T, D]):
    dim K = D / A
    param qkv = dense[O=3 * D], o = dense[O=D], up = dense[O=F], down = dense[O=D], one = layer_norm, two = layer_norm
    parts = reshape(qkv(x), [B, T, 3, A, K])
    q, k, v = parts[:, :, 0], parts[:, :, 1], parts[:, :, 2]
    score = einsum(q[b, t, a, k] * k[b, s, a, k] -> [b, a, t, s]) / sqrt(K)
    p = softmax(score, axis=-1)
    seen = einsum(p[b, a, t, s] * v[b, s, a, k] -> [b, t, a, k])
    h = one(x + o(reshape(seen, [B, T, D])))
    z = two(h + (h |> up |> gelu |> down))
"""
TRAIN = """
train encoder:
    input y: f32[B, T, D]
    hyper lr: f32 = 1e-3
    loss = mse(z, y)
    optimizer = adam(lr = lr)
"""
DIMS = {"T": 128, "D": 256, "A": 8, "F": 1024}
SMALL = {"B": 2, "T": 5, "D": 12, "A": 3, "F": 20}


def supervised(dims: Mapping[str, int], random: np.random.Generator) -> dict[str, NDArray[Any]]:
    shape = dims["B"], dims["T"], dims["D"]
    return {"x": normal(random, *shape), "y": normal(random, *shape)}


def unlabelled(dims: Mapping[str, int], random: np.random.Generator) -> dict[str, NDArray[Any]]:
    return {"x": supervised(dims, random)["x"]}


def torch_twin(case: Case, values: Values, data: Values) -> Twin:
    import torch
    from torch import nn

    from .by_torch import inference, put_dense, tensor, training

    width, heads = case.dims["D"], case.dims["A"]

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name in ("qkv", "o", "up", "down"):
                layer = nn.Linear(*values[f"{name}.w"].shape)
                put_dense(layer, values[f"{name}.w"], values[f"{name}.b"])
                setattr(self, name, layer)
            self.one, self.two = nn.LayerNorm(width), nn.LayerNorm(width)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            batch, length, _ = x.shape
            parts = self.qkv(x).view(batch, length, 3, heads, width // heads)
            q, k, v = parts.permute(2, 0, 3, 1, 4)
            seen = nn.functional.scaled_dot_product_attention(q, k, v)
            h = self.one(x + self.o(seen.transpose(1, 2).reshape(batch, length, width)))
            return self.two(h + self.down(nn.functional.gelu(self.up(h))))

    net = Encoder()
    if not case.optimizer:
        return inference(case, net, tensor(data["x"]))
    return training(case, net, nn.functional.mse_loss, tensor(data["x"]), tensor(data["y"]))


def jax_twin(case: Case, values: Values, data: Values) -> Twin:
    import jax
    import jax.numpy as jnp

    from .by_jax import Tree, arrays, dense, fitting, inference, mse, training

    heads = case.dims["A"]

    def norm(p: Tree, name: str, x: jax.Array) -> jax.Array:
        centred = x - x.mean(-1, keepdims=True)
        scale = jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return centred * scale * p[f"{name}.gain"] + p[f"{name}.bias"]

    def net(p: Tree, x: jax.Array) -> jax.Array:
        batch, length, width = x.shape
        parts = dense(p, "qkv", x).reshape(batch, length, 3, heads, width // heads)
        q, k, v = parts.transpose(2, 0, 3, 1, 4)  # heads first: faster than `jax.nn.dot_product_attention`
        scores = jax.nn.softmax(jnp.einsum("bhtk,bhsk->bhts", q, k) * (width // heads) ** -0.5)
        seen = jnp.einsum("bhts,bhsk->bthk", scores, v)
        h = norm(p, "one", x + dense(p, "o", seen.reshape(x.shape)))
        return norm(p, "two", h + dense(p, "down", jax.nn.gelu(dense(p, "up", h), approximate=False)))

    if not case.optimizer:
        return inference(net, arrays(values), data["x"])
    return training(case, fitting(net, mse), values, data)


def flops(dims: Mapping[str, int], train: bool) -> float:
    tokens, width = dims["B"] * dims["T"], dims["D"]
    first = 2.0 * tokens * width * 3 * width
    rest = 2.0 * tokens * (width * width + 2 * width * dims["F"]) + 4.0 * tokens * dims["T"] * width
    return 3 * (first + rest) - first if train else first + rest


W8, TWINS = {"B": 8, **DIMS}, (torch_twin, jax_twin)


def inferring(batch: int) -> Case:
    dims = {**W8, "B": batch}
    return Case(f"W8-inf-b{batch}", MODEL, dims, SMALL, unlabelled, *TWINS, flops=flops(dims, train=False))


CASES = [
    Case("W8-train", MODEL + TRAIN, W8, SMALL, supervised, *TWINS, flops=flops(W8, True), optimizer="adam"),
    inferring(1),
    inferring(8),
]
