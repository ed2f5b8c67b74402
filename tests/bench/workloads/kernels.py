"""W10: single operations. Products of matrices, a chain of elementwise functions, softmax of rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .case import Case, Twin, Values, normal

PRODUCT = """
dim M, K, N
model product(a: f32[M, K], b: f32[K, N]) -> (c: f32[M, N]):
    c = a @ b
"""
CHAIN = """
dim N
model chain(x: f32[N]) -> (y: f32[N]):
    g = 0.5 * x * (1.0 + tanh(0.79788456 * (x + 0.044715 * x * x * x)))
    y = tanh(1.5 * x + 0.25) * sigmoid(x) + g * exp(-x * x)
"""
SOFTMAX = """
dim M, N
model rows(x: f32[M, N]) -> (y: f32[M, N]):
    y = softmax(x, axis=N)
"""


def factors(dims: Mapping[str, int], random: np.random.Generator) -> dict[str, NDArray[Any]]:
    return {"a": normal(random, dims["M"], dims["K"]), "b": normal(random, dims["K"], dims["N"])}


def array(dims: Mapping[str, int], random: np.random.Generator) -> dict[str, NDArray[Any]]:
    return {"x": normal(random, *dims.values())}


def product_by_numpy(case: Case, values: Values, data: Values) -> Twin:
    out = np.empty((case.dims["M"], case.dims["N"]), np.float32)
    return Twin(lambda: np.matmul(data["a"], data["b"], out=out))


def product_by_torch(case: Case, values: Values, data: Values) -> Twin:
    import torch

    from .by_torch import inference, tensor

    out = torch.empty(case.dims["M"], case.dims["N"])
    return inference(case, lambda a, b: torch.mm(a, b, out=out), tensor(data["a"]), tensor(data["b"]))


def product_by_jax(case: Case, values: Values, data: Values) -> Twin:
    from jax.numpy import matmul

    from .by_jax import inference

    return inference(matmul, data["a"], data["b"])


def chain_by_numpy(case: Case, values: Values, data: Values) -> Twin:
    x, f = data["x"], np.float32

    def run() -> Any:
        g = f(0.5) * x * (1 + np.tanh(f(0.79788456) * (x + f(0.044715) * x * x * x)))
        return np.tanh(f(1.5) * x + f(0.25)) / (1 + np.exp(-x)) + g * np.exp(-x * x)

    return Twin(run)


def chain_by_torch(case: Case, values: Values, data: Values) -> Twin:
    import torch

    from .by_torch import inference, tensor

    def chain(x: torch.Tensor) -> torch.Tensor:
        g = 0.5 * x * (1 + torch.tanh(0.79788456 * (x + 0.044715 * x * x * x)))
        return torch.tanh(1.5 * x + 0.25) * torch.sigmoid(x) + g * torch.exp(-x * x)

    return inference(case, chain, tensor(data["x"]))


def chain_by_jax(case: Case, values: Values, data: Values) -> Twin:
    import jax
    import jax.numpy as jnp

    from .by_jax import inference

    def chain(x: jax.Array) -> jax.Array:
        g = 0.5 * x * (1 + jnp.tanh(0.79788456 * (x + 0.044715 * x * x * x)))
        return jnp.tanh(1.5 * x + 0.25) * jax.nn.sigmoid(x) + g * jnp.exp(-x * x)

    return inference(chain, data["x"])


def softmax_by_numpy(case: Case, values: Values, data: Values) -> Twin:
    x = data["x"]

    def run() -> Any:
        e = np.exp(x - x.max(1, keepdims=True))
        e /= e.sum(1, keepdims=True)
        return e

    return Twin(run)


def softmax_by_torch(case: Case, values: Values, data: Values) -> Twin:
    import torch

    from .by_torch import inference, tensor

    return inference(case, lambda x: torch.softmax(x, 1), tensor(data["x"]))


def softmax_by_jax(case: Case, values: Values, data: Values) -> Twin:
    from jax.nn import softmax

    from .by_jax import inference

    return inference(lambda x: softmax(x, axis=1), data["x"])


def product(name: str, m: int, k: int, n: int) -> Case:
    dims, small = {"M": m, "K": k, "N": n}, {"M": 7, "K": 20, "N": 33}
    work = 2.0 * m * k * n
    twins = product_by_torch, product_by_jax, product_by_numpy
    return Case(f"W10-gemm-{name}", PRODUCT, dims, small, factors, *twins, flops=work)


CASES = [
    *(product(str(n), n, n, n) for n in (512, 1024, 2048)),
    product("256x784x1024", 256, 784, 1024),
    product("64x3136x1024", 64, 3136, 1024),
    Case(
        "W10-chain",
        CHAIN,
        {"N": 10_000_000},
        {"N": 101},
        array,
        chain_by_torch,
        chain_by_jax,
        chain_by_numpy,
        moved=8e7,
    ),
    Case(
        "W10-softmax",
        SOFTMAX,
        {"M": 4096, "N": 1000},
        {"M": 3, "N": 11},
        array,
        softmax_by_torch,
        softmax_by_jax,
        softmax_by_numpy,
        moved=8.0 * 4096 * 1000,
    ),
]
