"""What a workload is: a model file, its sizes and inputs, and the same written for PyTorch, JAX and NumPy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = Mapping[str, NDArray[Any]]

# Timed steps fit one batch again and again; rates are so small that nothing is learned, or gradients and moments would
# become denormal numbers, which no real training has.  To compare what is computed, steps of a larger rate are taken.
TIMED_RATE = {"sgd": 1e-3, "adam": 1e-7, "momentum": 1e-4}
COMPARED_RATE = {"sgd": 0.05, "adam": 1e-3, "momentum": 0.01}


@dataclass(frozen=True)
class Twin:
    """One more candidate for the same work: `run()` makes a step and gives the loss, or infers and gives the output."""

    run: Callable[[], Any]
    set_rate: Callable[[float], None] = lambda rate: None


@dataclass(frozen=True)
class Case:
    """One row of the table.

    text       the model file; all of its dimensions are named in `dims`
    small      smaller dimensions for a quick test of the same text
    inputs     arrays by the names of the model's inputs, for the dimensions and a random generator
    torch      a PyTorch twin from dimensions, first values of our parameters, inputs and optimizer; None: there is none
    jax        the same by JAX
    numpy      the same by NumPy, as a careful person writes it by hand
    flops      of products and convolutions, 2 a multiply-add: forward, gradients by weights and by what is no input
    moved      bytes that must be read and written once, for what is bound by memory
    optimizer  sgd, momentum or adam; "" is inference
    compared   the text without what is random, where results are compared; "" is `text`
    """

    name: str
    text: str
    dims: Mapping[str, int]
    small: Mapping[str, int]
    inputs: Callable[[Mapping[str, int], np.random.Generator], dict[str, NDArray[Any]]]
    torch: Callable[[Case, Values, Values], Twin] | None
    jax: Callable[[Case, Values, Values], Twin] | None = None
    numpy: Callable[[Case, Values, Values], Twin] | None = None
    flops: float = 0.0
    moved: float = 0.0
    optimizer: str = ""
    compared: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    def data(self) -> dict[str, NDArray[Any]]:
        """The inputs, the same in every process."""
        return self.inputs(self.dims, np.random.default_rng(0))

    def at(self, dims: Mapping[str, int]) -> Case:
        return replace(self, dims=dict(dims))

    def without_randomness(self) -> Case:
        return replace(self, text=self.compared or self.text, settings={**self.settings, "dropout": 0.0})


def normal(random: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    return random.standard_normal(shape, dtype=np.float32)


def training_flops(layers: list[float]) -> float:
    """Each layer forward, its gradient by weights, and by its input but for the first layer's."""
    return 3 * sum(layers) - layers[0]
