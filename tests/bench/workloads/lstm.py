"""W6: an embedding, an LSTM of 80 steps and the probability of one class from its last state; trained.

LSTM: the recurrence alone over 64 and 80 steps, all of its states given; inference, and a training step to a target.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .case import Case, Twin, Values, normal

if TYPE_CHECKING:
    import jax

    from .by_jax import Tree

# The cell has two biases, as PyTorch's has: the optimizer changes both.
CELL = """
block cell[B, E, H](x: f32[B, E], h: f32[B, H], c: f32[B, H]) -> (h1: f32[B, H], c1: f32[B, H]):
    param wx: f32[E, 4*H] = glorot_uniform(), wh: f32[H, 4*H] = orthogonal()
    param bx: f32[4*H] = zeros(), bh: f32[4*H] = zeros()
    i, f, g, o = split(x @ wx + bx + h @ wh + bh, axis=-1, parts=4)
    c1 = sigmoid(f) * c + sigmoid(i) * tanh(g)
    h1 = sigmoid(o) * tanh(c1)
"""
CLASSIFIER = f"""
use std.nn: dense, embedding
dim B, T, V, E, H
{CELL.strip()}
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
# Steps come first: the layout that is the fastest for all candidates.
SEQUENCE = f"""
dim B, T, E, H
{CELL.strip()}
model sequence(x: f32[T, B, E]) -> (z: f32[T, B, H]):
    param unit = cell[H=H]
    scan t in T:
        carry h: f32[B, H] = zeros(), c: f32[B, H] = zeros()
        h, c = unit(x[t], h, c)
        emit z: f32[T, B, H] = h
"""
TRAIN = """
train sequence:
    input y: f32[T, B, H]
    hyper lr: f32 = 1e-3
    loss = mse(z, y)
    optimizer = sgd(lr = lr)
"""
DIMS = {"B": 32, "T": 80, "V": 10_000, "E": 128, "H": 128}
SMALL = {"B": 3, "T": 5, "V": 20, "E": 6, "H": 7}


def words(dims: Mapping[str, int], random: np.random.Generator) -> dict[str, NDArray[Any]]:
    x = random.integers(0, dims["V"], (dims["B"], dims["T"])).astype(np.int32)
    return {"x": x, "y": random.integers(0, 2, (dims["B"], 1)).astype(np.float32)}


def unlabelled(dims: Mapping[str, int], random: np.random.Generator) -> dict[str, NDArray[Any]]:
    return {"x": normal(random, dims["T"], dims["B"], dims["E"])}


def supervised(dims: Mapping[str, int], random: np.random.Generator) -> dict[str, NDArray[Any]]:
    return {**unlabelled(dims, random), "y": normal(random, dims["T"], dims["B"], dims["H"])}


def put_cell(layer: Any, values: Values) -> None:
    """Parameters of `nn.LSTM`, whose gates have our order."""
    from .by_torch import put

    wx, wh, bx, bh = (values[f"unit.{name}"] for name in ("wx", "wh", "bx", "bh"))
    put(layer, weight_ih_l0=wx.T, weight_hh_l0=wh.T, bias_ih_l0=bx, bias_hh_l0=bh)


def classifier_by_torch(case: Case, values: Values, data: Values) -> Twin:
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
    put_cell(net.cell, values)
    put_dense(net.out, values["out.w"], values["out.b"])
    loss_of = nn.functional.binary_cross_entropy_with_logits
    return training(case, net, loss_of, tensor(data["x"]).long(), tensor(data["y"]))


def sequence_by_torch(case: Case, values: Values, data: Values) -> Twin:
    import torch
    from torch import nn

    from .by_torch import inference, tensor, training

    class Lstm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.LSTM(case.dims["E"], case.dims["H"])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.cell(x)[0]

    net = Lstm()
    put_cell(net.cell, values)
    if not case.optimizer:
        return inference(case, net, tensor(data["x"]))
    return training(case, net, nn.functional.mse_loss, tensor(data["x"]), tensor(data["y"]))


def states_by_jax(p: Tree, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The last state [B, H] and all of them [T, B, H] for x [T, B, E]; the input's product is one for all steps."""
    import jax
    from jax.numpy import split, tanh, zeros

    sigmoid = jax.nn.sigmoid

    def step(carry: tuple[jax.Array, jax.Array], gates: jax.Array) -> Any:
        h, c = carry
        i, f, g, o = split(gates + h @ p["unit.wh"], 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(c)
        return (h, c), h

    start = zeros((x.shape[1], len(p["unit.wh"])), x.dtype)
    (h, _), states = jax.lax.scan(step, (start, start), x @ p["unit.wx"] + (p["unit.bx"] + p["unit.bh"]))
    return h, states


def classifier_by_jax(case: Case, values: Values, data: Values) -> Twin:
    from .by_jax import binary_cross_entropy, dense, fitting, training

    def net(p: Tree, x: jax.Array) -> jax.Array:
        return dense(p, "out", states_by_jax(p, p["words.table"][x.T])[0])

    return training(case, fitting(net, binary_cross_entropy), values, data)


def sequence_by_jax(case: Case, values: Values, data: Values) -> Twin:
    from .by_jax import arrays, fitting, inference, mse, training

    def net(p: Tree, x: jax.Array) -> jax.Array:
        return states_by_jax(p, x)[1]

    if not case.optimizer:
        return inference(net, arrays(values), data["x"])
    return training(case, fitting(net, mse), values, data)


def gate_flops(dims: Mapping[str, int]) -> tuple[float, float]:
    """Of all steps, forward: the products of the inputs, and those of the states."""
    each = 2.0 * dims["B"] * dims["T"] * 4 * dims["H"]
    return each * dims["E"], each * dims["H"]


def classifier_flops(dims: Mapping[str, int]) -> float:
    """All layers three times: the gradient by the first layer's input is the embedding's."""
    return 3 * (sum(gate_flops(dims)) + 2.0 * dims["B"] * dims["H"])


def sequence(steps: int, train: bool) -> Case:
    dims, small = {"B": 32, "T": steps, "E": 128, "H": 128}, {"B": 3, "T": 5, "E": 6, "H": 7}
    twins = sequence_by_torch, sequence_by_jax
    by_inputs, by_states = gate_flops(dims)
    if not train:
        work = by_inputs + by_states
        return Case(f"LSTM-T{steps}-inf", SEQUENCE, dims, small, unlabelled, *twins, flops=work)
    work = 2 * by_inputs + 3 * by_states
    return Case(
        f"LSTM-T{steps}-train",
        SEQUENCE + TRAIN,
        dims,
        small,
        supervised,
        *twins,
        flops=work,
        optimizer="sgd",
        settings={"compared_rate": 20.0},  # slopes of a mean of 262,144 squares: a few small steps would learn nothing
    )


W6 = Case(
    "W6",
    CLASSIFIER,
    DIMS,
    SMALL,
    words,
    classifier_by_torch,
    classifier_by_jax,
    flops=classifier_flops(DIMS),
    optimizer="adam",
)
CASES = [W6, *(sequence(steps, train) for steps in (64, 80) for train in (False, True))]
