"""W6: an embedding, an LSTM of 80 steps and the probability of one class from its last state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .case import Case, Twin, Values

# The cell has two biases, as PyTorch's has: Adam changes both.
MODEL = """
use std.nn: dense, embedding
dim B, T, V, E, H
block cell[B, E, H](x: f32[B, E], h: f32[B, H], c: f32[B, H]) -> (h1: f32[B, H], c1: f32[B, H]):
    param wx: f32[E, 4*H] = glorot_uniform(), wh: f32[H, 4*H] = orthogonal()
    param bx: f32[4*H] = zeros(), bh: f32[4*H] = zeros()
    i, f, g, o = split(x @ wx + bx + h @ wh + bh, axis=-1, parts=4)
    c1 = sigmoid(f) * c + sigmoid(i) * tanh(g)
    h1 = sigmoid(o) * tanh(c1)
model lstm(x: i32[B, T]) -> (z: f32[B, 1]):
    param words = embedding[V=V, E=E], unit = cell[H=H], out = dense[O=1]
    e = words(x)
    scan t in T:
        carry h: f32[B, H] = zeros(), c: f32[B, H] = zeros()
        h, c = unit(e[:, t], h, c)
    z = out(h)
train lstm:
    input y: f32[B, 1]
    hyper lr: f32 = 1e-3
    loss = binary_cross_entropy(z, y)
    optimizer = adam(lr = lr)
"""
DIMS = {"B": 32, "T": 80, "V": 10_000, "E": 128, "H": 128}
SMALL = {"B": 3, "T": 5, "V": 20, "E": 6, "H": 7}


def inputs(dims: Mapping[str, int], random: np.random.Generator) -> dict[str, NDArray[Any]]:
    x = random.integers(0, dims["V"], (dims["B"], dims["T"])).astype(np.int32)
    return {"x": x, "y": random.integers(0, 2, (dims["B"], 1)).astype(np.float32)}


def torch_twin(case: Case, values: Values, data: Values) -> Twin:
    import torch
    from torch import nn

    from .by_torch import put, put_dense, tensor, training

    class Lstm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(case.dims["V"], case.dims["E"])
            self.cell = nn.LSTM(case.dims["E"], case.dims["H"], batch_first=True)
            self.out = nn.Linear(case.dims["H"], 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(self.cell(self.words(x))[0][:, -1])

    net = Lstm()
    put(net.words, weight=values["words.table"])
    wx, wh, bx, bh = (values[f"unit.{name}"] for name in ("wx", "wh", "bx", "bh"))
    put(net.cell, weight_ih_l0=wx.T, weight_hh_l0=wh.T, bias_ih_l0=bx, bias_hh_l0=bh)
    put_dense(net.out, values["out.w"], values["out.b"])
    loss_of = nn.functional.binary_cross_entropy_with_logits
    return training(case, net, loss_of, tensor(data["x"]).long(), tensor(data["y"]))


def flops(dims: Mapping[str, int]) -> float:
    """All layers three times: the gradient by the first layer's input is the embedding's."""
    steps = 2.0 * dims["B"] * dims["T"] * 4 * dims["H"] * (dims["E"] + dims["H"])
    return 3 * (steps + 2.0 * dims["B"] * dims["H"])


CASES = [Case("W6", MODEL, DIMS, SMALL, inputs, torch_twin, flops=flops(DIMS), optimizer="adam")]
