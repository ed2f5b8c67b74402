"""Dense networks: W1 softmax regression, W2 and W4 multilayer perceptrons, W3 exclusive or, W9 inference of W2's."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .case import Case, Twin, Values, normal, training_flops

MODEL = """
use std.nn: dense
dim {dims}
model net(x: f32[B, D]) -> (z: f32[B, C]):
    param {params}
    z = x |> {layers}
"""
TRAIN = """
train net:
    input y: {target}
    hyper lr: f32 = 1e-3
    loss = {loss}(z, y)
    optimizer = {optimizer}(lr = lr)
"""


def text(hidden: list[str], activation: str, optimizer: str = "", binary: bool = False) -> str:
    """The model file of a network whose hidden layers have the named dimensions."""
    widths = [*hidden, "C"]
    found = MODEL.format(
        dims=", ".join(dict.fromkeys(["B", "D", *widths])),
        params=", ".join(f"layer{i} = dense[O={width}]" for i, width in enumerate(widths)),
        layers=f" |> {activation} |> ".join(f"layer{i}" for i in range(len(widths))),
    )
    if optimizer:
        target, loss = ("f32[B, C]", "binary_cross_entropy") if binary else ("i32[B]", "cross_entropy")
        found += TRAIN.format(target=target, loss=loss, optimizer=optimizer)
    return found


def labelled(dims: Mapping[str, int], random: np.random.Generator) -> dict[str, NDArray[Any]]:
    x = normal(random, dims["B"], dims["D"])
    return {"x": x, "y": random.integers(0, dims["C"], dims["B"]).astype(np.int32)}


def unlabelled(dims: Mapping[str, int], random: np.random.Generator) -> dict[str, NDArray[Any]]:
    return {"x": normal(random, dims["B"], dims["D"])}


def exclusive_or(dims: Mapping[str, int], random: np.random.Generator) -> dict[str, NDArray[Any]]:
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    return {"x": x, "y": np.array([[0], [1], [1], [0]], np.float32)}


def layers_of(values: Values) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Weight and bias of each layer, from first to last."""
    return [(values[f"layer{i}.w"], values[f"layer{i}.b"]) for i in range(len(values) // 2)]


def torch_twin(case: Case, values: Values, data: Values) -> Twin:
    from torch import nn

    from .by_torch import inference, put_dense, tensor, training

    binary = "y" in data and data["y"].ndim == 2
    parts: list[nn.Module] = []
    for weight, bias in layers_of(values):
        layer = nn.Linear(*weight.shape)
        put_dense(layer, weight, bias)
        parts += [layer, nn.Sigmoid() if binary else nn.ReLU()]
    net = nn.Sequential(*parts[:-1])
    x = tensor(data["x"])
    if not case.optimizer:
        return inference(case, net, x)
    if binary:
        return training(case, net, nn.functional.binary_cross_entropy_with_logits, x, tensor(data["y"]))
    return training(case, net, nn.functional.cross_entropy, x, tensor(data["y"]).long())


def jax_twin(case: Case, values: Values, data: Values) -> Twin:
    import jax

    from .by_jax import Tree, arrays, binary_cross_entropy, cross_entropy, dense, fitting, inference, training

    binary = "y" in data and data["y"].ndim == 2
    activation = jax.nn.sigmoid if binary else jax.nn.relu
    last = len(values) // 2 - 1

    def net(p: Tree, x: jax.Array) -> jax.Array:
        for i in range(last):
            x = activation(dense(p, f"layer{i}", x))
        return dense(p, f"layer{last}", x)

    if not case.optimizer:
        return inference(net, arrays(values), data["x"])
    return training(case, fitting(net, binary_cross_entropy if binary else cross_entropy), values, data)


def forward(x: NDArray[Any], params: list[NDArray[Any]], sigmoid: bool) -> list[NDArray[Any]]:
    """The input, each hidden layer, and the scores."""
    found = [x]
    for i in range(0, len(params), 2):
        z = found[-1] @ params[i]
        z += params[i + 1]
        if i + 2 < len(params):
            z = 1 / (1 + np.exp(-z)) if sigmoid else np.maximum(z, 0, out=z)
        found.append(z)
    return found


def loss_and_slope(z: NDArray[Any], y: NDArray[Any]) -> tuple[Any, NDArray[Any]]:
    """The mean cross-entropy of scores and its gradient by them; of sigmoid units if y is no vector of labels."""
    if y.ndim == 2:
        q = 1 / (1 + np.exp(-z))
        return -(y * np.log(q) + (1 - y) * np.log(1 - q)).mean(), (q - y) / np.float32(y.size)
    rows = np.arange(len(y))
    q = np.exp(z - z.max(1, keepdims=True))
    q /= q.sum(1, keepdims=True)
    loss = -np.log(q[rows, y]).mean()
    q[rows, y] -= 1
    q /= np.float32(len(y))
    return loss, q


class Adam:
    """Kingma and Ba 2015, without temporaries of the parameters' size but one."""

    def __init__(self, params: list[NDArray[Any]]) -> None:
        self.slots = [(np.zeros_like(p), np.zeros_like(p), np.empty_like(p)) for p in params]
        self.count = 0

    def update(self, params: list[NDArray[Any]], slopes: list[NDArray[Any]], rate: float) -> None:
        self.count += 1
        one, two = 1 - 0.9**self.count, 1 - 0.999**self.count
        for p, g, (m, v, t) in zip(params, slopes, self.slots, strict=True):
            m *= 0.9
            np.multiply(g, np.float32(0.1), out=t)
            m += t
            v *= 0.999
            np.multiply(g, g, out=t)
            t *= 0.001
            v += t
            np.sqrt(v, out=t)
            t *= 1 / two**0.5
            t += 1e-8
            np.divide(m, t, out=t)
            t *= rate / one
            p -= t


class Descent:
    def __init__(self, params: list[NDArray[Any]]) -> None:
        pass

    def update(self, params: list[NDArray[Any]], slopes: list[NDArray[Any]], rate: float) -> None:
        for p, g in zip(params, slopes, strict=True):
            g *= np.float32(rate)
            p -= g


def numpy_twin(case: Case, values: Values, data: Values) -> Twin:
    params = [np.array(one) for layer in layers_of(values) for one in layer]
    x = data["x"]
    if not case.optimizer:
        return Twin(lambda: forward(x, params, False)[-1])
    y = data["y"]
    sigmoid = y.ndim == 2
    optimizer = Adam(params) if case.optimizer == "adam" else Descent(params)
    rate = [1e-7]

    def run() -> Any:
        units = forward(x, params, sigmoid)
        loss, d = loss_and_slope(units[-1], y)
        slopes: list[NDArray[Any]] = [d] * len(params)
        for i in reversed(range(0, len(params), 2)):
            a = units[i // 2]
            slopes[i], slopes[i + 1] = a.T @ d, d.sum(0)
            if i:
                d = d @ params[i].T
                d *= a * (1 - a) if sigmoid else a > 0
        optimizer.update(params, slopes, rate[0])
        return loss

    return Twin(run, lambda value: rate.__setitem__(0, value))


def flops(case_dims: Mapping[str, int], hidden: list[str], train: bool) -> float:
    widths = [case_dims[name] for name in ["D", *hidden, "C"]]
    layers = [2.0 * case_dims["B"] * i * o for i, o in pairwise(widths)]
    return training_flops(layers) if train else sum(layers)


def case(name: str, dims: dict[str, int], hidden: list[str], optimizer: str = "", binary: bool = False) -> Case:
    small = {"B": 4, "D": 2 if binary else 11, "C": dims["C"] if binary else 5, **dict.fromkeys(hidden, 9)}
    inputs = exclusive_or if binary else labelled if optimizer else unlabelled
    source = text(hidden, "sigmoid" if binary else "relu", optimizer, binary)
    work = flops(dims, hidden, bool(optimizer))
    settings = {"compared_rate": 5.0} if binary else {}  # the few units of W3 learn nothing in a few small steps
    twins = torch_twin, jax_twin, numpy_twin
    return Case(name, source, dims, small, inputs, *twins, work, optimizer=optimizer, settings=settings)


MLP = {"D": 784, "H": 128, "C": 10}
CASES = [
    case("W1", {"B": 100, "D": 784, "C": 10}, [], "sgd"),
    *(case(f"W2-b{batch}", {"B": batch, **MLP}, ["H"], "adam") for batch in (32, 128, 1024)),
    case("W3", {"B": 4, "D": 2, "H": 8, "C": 1}, ["H"], "sgd", binary=True),
    case("W4", {"B": 256, "D": 784, "H": 1024, "K": 1024, "C": 10}, ["H", "K"], "adam"),
    case("W9-mlp-b1", {"B": 1, **MLP}, ["H"]),
]
