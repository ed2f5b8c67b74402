"""Time of random values in nanoseconds an element, on one core: `python tests/bench/random_values.py [TARGET ...]`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np

import graphc

FORWARD = "dim N\nmodel m(x: {real}[N]) -> (y: {real}[N]):\n    y = {value}\n"
TRAIN = """
dim N
model m(x: f32[N]) -> (y: f32[N]):
    param w: f32 = ones()
    y = {value}
train m:
    loss = sum(y * y)
    optimizer = sgd(lr=0.0)
"""
SMALL, LARGE = 1 << 16, 1 << 20


def best(call: Callable[[], object], size: int) -> float:
    """The shortest of many runs, an element."""
    times = []
    for _ in range(200):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times) / size * 1e9


def forward(value: str, real: str, target: str) -> float:
    model = graphc.compile_source(FORWARD.format(value=value, real=real), target=target)
    x = np.full(SMALL, 0.5, {"f32": "f4", "f64": "f8"}[real])
    return best(lambda: model(x=x), SMALL)


def step(value: str, target: str) -> float:
    model = graphc.compile_source(TRAIN.format(value=value), target=target)
    x = np.ones(LARGE, "f4")
    return best(lambda: model.step(x=x), LARGE)


def main() -> None:
    for target in sys.argv[1:] or ["host"]:
        print(f"{target}: ns an element, {SMALL} elements; steps {LARGE}")
        for value in ("x + 1.0", "uniform(like=x)", "bernoulli(x)", "normal(like=x)"):
            print(f"  {value:18} f32 {forward(value, 'f32', target):5.2f}   f64 {forward(value, 'f64', target):5.2f}")
        for value in ("x * w", "dropout(x * w, 0.5)"):
            print(f"  step of {value:22} f32 {step(value, target):5.2f}")


if __name__ == "__main__":
    main()
