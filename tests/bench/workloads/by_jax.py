"""What the JAX twins share: layers, losses, a training step as one compiled function, inference.

Layouts are ours ([in, out], images [B, H, W, C], kernels [height, width, in, out]), so parameters go over as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.tree import map as each

from .case import Case, Twin, Values

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_cpu_enable_async_dispatch", False)  # every step is waited for: no need to pass it to a thread

Tree = dict[str, jax.Array]
# of parameters, what a step hands to the next besides (moving averages, a random key), input and target: the loss and
# what is handed on
Loss = Callable[[Tree, Tree, jax.Array, jax.Array], tuple[jax.Array, Tree]]


def arrays(values: Values) -> Tree:
    """Copies: they are donated, so JAX overwrites them."""
    return {name: jnp.array(value) for name, value in values.items()}


def dense(p: Tree, name: str, x: jax.Array) -> jax.Array:
    return x @ p[f"{name}.w"] + p[f"{name}.b"]


def convolution(x: jax.Array, w: jax.Array, padding: int, stride: int = 1) -> jax.Array:
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, w, (stride, stride), [(padding, padding)] * 2, dimension_numbers=layout)


def cross_entropy(z: jax.Array, y: jax.Array) -> jax.Array:
    """The mean over labels y: i32[B]."""
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], axis=1))


def binary_cross_entropy(z: jax.Array, y: jax.Array) -> jax.Array:
    """The mean over targets of z's shape, 0 or 1."""
    return jnp.mean(jnp.maximum(z, 0) - z * y + jnp.log1p(jnp.exp(-jnp.abs(z))))


def mse(z: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.mean((z - y) ** 2)


def fitting(forward: Callable[[Tree, jax.Array], jax.Array], loss_of: Callable[..., jax.Array]) -> Loss:
    """The loss of a network that hands nothing on."""
    return lambda p, kept, x, y: (loss_of(forward(p, x), y), kept)


def descent(p: Tree, g: Tree, slots: list[Tree], rate: jax.Array, count: jax.Array) -> tuple[Tree, list[Tree]]:
    return each(lambda p, g: p - rate * g, p, g), slots


def momentum(p: Tree, g: Tree, slots: list[Tree], rate: jax.Array, count: jax.Array) -> tuple[Tree, list[Tree]]:
    v = each(lambda v, g: 0.9 * v + g, slots[0], g)
    return each(lambda p, v: p - rate * v, p, v), [v]


def adam(p: Tree, g: Tree, slots: list[Tree], rate: jax.Array, count: jax.Array) -> tuple[Tree, list[Tree]]:
    """Kingma and Ba 2015."""
    m = each(lambda m, g: 0.9 * m + 0.1 * g, slots[0], g)
    v = each(lambda v, g: 0.999 * v + 0.001 * g * g, slots[1], g)
    one, two = 1 - 0.9**count, 1 - 0.999**count
    return each(lambda p, m, v: p - rate * (m / one) / (jnp.sqrt(v / two) + 1e-8), p, m, v), [m, v]


OPTIMIZERS = {"sgd": (descent, 0), "momentum": (momentum, 1), "adam": (adam, 2)}  # with their numbers of slots


def training(case: Case, loss_of: Loss, values: Values, data: Values, kept: Tree | None = None) -> Twin:
    """Steps of the case's optimizer: forward, gradients and all updates are one compiled function.

    Its state is donated: parameters, slots, the number of the step, and what is `kept` besides.
    """
    update, slots = OPTIMIZERS[case.optimizer]
    params = arrays(values)
    state: Any = params, [each(jnp.zeros_like, params) for _ in range(slots)], jnp.zeros((), jnp.float32), kept or {}
    rate, x, y = jnp.float32(0), jnp.array(data["x"]), jnp.array(data["y"])

    @partial(jax.jit, donate_argnums=0)
    def step(state: Any, rate: jax.Array, x: jax.Array, y: jax.Array) -> Any:
        p, slots, count, kept = state
        (loss, kept), g = jax.value_and_grad(loss_of, has_aux=True)(p, kept, x, y)
        p, slots = update(p, g, slots, rate, count + 1)
        return (p, slots, count + 1, kept), loss

    compiled = step.lower(state, rate, x, y).compile()

    def run() -> Any:
        nonlocal state
        state, loss = compiled(state, rate, x, y)
        return loss.block_until_ready()  # all results of one call are ready together

    def set_rate(value: float) -> None:
        nonlocal rate
        rate = jnp.float32(value)

    return Twin(run, set_rate)


def inference(net: Callable[..., jax.Array], *inputs: Any) -> Twin:
    """Calls of the compiled function; the inputs, parameters among them, are its arguments and no constants."""
    inputs = each(jnp.array, inputs)
    compiled = jax.jit(net).lower(*inputs).compile()
    return Twin(lambda: compiled(*inputs).block_until_ready())
