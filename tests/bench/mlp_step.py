"""One training step of an MLP 784-128-10 with Adam: graphc beside NumPy by hand and PyTorch eager, in one run.

    python tests/bench/mlp_step.py [--batch 32] [--threads 1] [--seconds 4]

Times are of calls from Python, the candidates taking turns so that all see the same machine; the median and the best
of many short rounds are printed, and the ratio to graphc's best.  Set OPENBLAS_CORETYPE=SkylakeX where OpenBLAS does
not recognise a processor with AVX-512, or NumPy runs at half its speed.  PyTorch is left out if it is not installed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec

SOURCE = """
use std.nn: dense
dim B
model mlp(x: f32[B, 784]) -> (logits: f32[B, 10]):
    param one = dense[O=128], two = dense[O=10]
    logits = x |> one |> relu |> two
train mlp:
    input y: i32[B]
    loss = cross_entropy(logits, y)
    optimizer = adam(lr = 1e-3)
"""
FLOPS = 2 * (2 * 784 * 128 + 3 * 128 * 10)  # a row: forward, weight gradients, and the hidden gradient
Step = Callable[[], object]


def graphc_step(x: object, y: object) -> tuple[Step, float]:
    """A step through `model.step`, and the seconds that compiling took."""
    import graphc

    started = time.perf_counter()
    model = graphc.compile_source(SOURCE)
    seconds = time.perf_counter() - started
    return lambda: model.step(x=x, y=y), seconds


def numpy_step(x: object, y: object) -> Step:
    """What a careful person writes by hand: no temporaries that can be avoided."""
    import numpy as np

    rng = np.random.default_rng(0)
    shapes = ((784, 128), (128,), (128, 10), (10,))
    params = [rng.normal(0, 0.05, s).astype(np.float32) for s in shapes]
    slots = [(np.zeros(s, np.float32), np.zeros(s, np.float32), np.empty(s, np.float32)) for s in shapes]
    rows = np.arange(len(y))  # type: ignore[arg-type]
    count = 0

    def step() -> float:
        nonlocal count
        count += 1
        w1, b1, w2, b2 = params
        h = x @ w1 + b1  # type: ignore[operator]
        np.maximum(h, 0, out=h)
        z = h @ w2 + b2
        z -= z.max(1, keepdims=True)
        p = np.exp(z)
        p /= p.sum(1, keepdims=True)
        loss = -np.log(p[rows, y]).mean()
        p[rows, y] -= 1
        p /= len(rows)
        dh = p @ w2.T
        dh *= h > 0
        for param, g, (m, v, t) in zip(params, (x.T @ dh, dh.sum(0), h.T @ p, p.sum(0)), slots, strict=True):  # type: ignore[attr-defined]
            m *= 0.9
            m += 0.1 * g
            v *= 0.999
            np.multiply(g, g, out=t)
            t *= 0.001
            v += t
            np.sqrt(v, out=t)
            t *= 1 / (1 - 0.999**count) ** 0.5
            t += 1e-8
            np.divide(m, t, out=t)
            t *= 1e-3 / (1 - 0.9**count)
            param -= t
        return float(loss)

    return step


def torch_step(x: object, y: object, threads: int, fused: bool) -> Step:
    import torch

    torch.set_num_threads(threads)
    net = torch.nn.Sequential(torch.nn.Linear(784, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
    adam = torch.optim.Adam(net.parameters(), lr=1e-3, fused=fused)
    xs, ys = torch.from_numpy(x), torch.from_numpy(y).long()
    loss_of = torch.nn.CrossEntropyLoss()

    def step() -> float:
        adam.zero_grad(set_to_none=True)
        loss = loss_of(net(xs), ys)
        loss.backward()
        adam.step()
        return loss.item()

    return step


def take_turns(steps: dict[str, Step], seconds: float) -> dict[str, list[float]]:
    """name -> seconds a step in each round; a round is about 2 ms of one candidate."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    repeat = {}
    for name, step in steps.items():
        for _ in range(30):
            step()
        started = time.perf_counter()
        step()
        repeat[name] = max(1, int(2e-3 / (time.perf_counter() - started)))
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop:
        for name, step in steps.items():
            started = time.perf_counter()
            for _ in range(repeat[name]):
                step()
            times[name].append((time.perf_counter() - started) / repeat[name])
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1, help="of NumPy and PyTorch; graphc runs one")
    parser.add_argument("--seconds", type=float, default=4.0)
    options = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(options.threads)
    import numpy as np

    rng = np.random.default_rng(1)
    x = rng.random((options.batch, 784), np.float32)
    y = rng.integers(0, 10, options.batch).astype(np.int32)
    ours, compiling = graphc_step(x, y)
    steps: dict[str, Step] = {"graphc": ours, "numpy by hand": numpy_step(x, y)}
    if find_spec("torch") is not None:
        steps["torch eager"] = torch_step(x, y, options.threads, fused=False)
        steps["torch eager, fused Adam"] = torch_step(x, y, options.threads, fused=True)
    times = take_turns(steps, options.seconds)
    best = {name: min(rounds) for name, rounds in times.items()}
    print(f"batch {options.batch}, {options.threads} thread(s); graphc compiled in {compiling:.2f} s")
    print(f"{'':26} {'median us':>10} {'best us':>10} {'x graphc':>9} {'GFLOP/s':>9}")
    for name, rounds in times.items():
        flops = FLOPS * options.batch / best[name] / 1e9
        median = statistics.median(rounds) * 1e6
        print(f"{name:26} {median:10.1f} {best[name] * 1e6:10.1f} {best[name] / best['graphc']:9.2f} {flops:9.1f}")


if __name__ == "__main__":
    main()
