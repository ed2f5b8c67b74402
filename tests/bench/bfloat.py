"""`precision compute = bf16` beside f32: how exact products and training are, and how fast.

    python tests/bench/bfloat.py accuracy [MNIST FOLDER] [--epochs 10]
    python tests/bench/bfloat.py speed [--threads 1] [--realtime]

Errors are relative to the sums of absolute products, in units of 2^-24.  Speeds are the best of calls in turns.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
from threads import nothing, realtime
from workloads import select
from workloads.candidates import graphc_model, graphc_twin

import graphc
from graphc.mnist import load_mnist

FORMATS = ("f32", "bf16")
SIZES = [(256, 784, 1024), (256, 1024, 1024), (512, 512, 512), (1024, 1024, 1024), (64, 3136, 1024)]
STEPS = ["W2", "W4", "W5", "W6", "W7-train", "W8-train"]
MNIST = Path(__file__).parents[3] / "shared" / "data" / "mnist"
MLP = Path(__file__).parents[2] / "examples" / "mnist_mlp" / "mnist_mlp.gc"
SEEDS = range(3)
ROUNDS, ROUND = 12, 30e-3  # seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("accuracy", "speed"))
    parser.add_argument("folder", nargs="?", type=Path, default=MNIST)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--realtime", action="store_true", help="nothing else runs meanwhile (for root)")
    options = parser.parse_args()
    if options.what == "accuracy":
        errors()
        training(options.folder, options.epochs)
    else:
        speed(options.threads, options.realtime)
    return 0


def with_precision(text: str, compute: str) -> str:
    return f"precision params = f32, compute = {compute}\n{text}"


def product(m: int, k: int, n: int) -> str:
    return f"model product(a: f32[{m}, {k}], b: f32[{k}, {n}]) -> (c: f32[{m}, {n}]):\n    c = a @ b\n"


def errors() -> None:
    """Of products of normal numbers, against float64."""
    print(f"{'product':>20}{'f32 most':>12}{'mean':>10}{'bf16 most':>12}{'mean':>10}{'of rounded operands':>22}")
    for m, k, n in SIZES:
        random = np.random.default_rng(0)
        a, b = random.standard_normal((m, k)).astype("f4"), random.standard_normal((k, n)).astype("f4")
        exact, size = a.astype("f8") @ b.astype("f8"), np.abs(a).astype("f8") @ np.abs(b)
        short = [_upper_half(x).astype("f8") for x in (a, b)]
        row = f"{m} x {k} x {n}".rjust(20)
        for compute in FORMATS:
            c = graphc.compile_source(with_precision(product(m, k, n), compute))(a=a, b=b)["c"]
            error = np.abs(c - exact) / size * 2.0**24
            row += f"{error.max():12,.2f}{error.mean():10,.2f}"
        print(row + f"{(np.abs(c - short[0] @ short[1]) / size).max() * 2.0**24:22,.2f}", flush=True)


def _upper_half(x: np.ndarray) -> np.ndarray:
    """The nearest bfloat16 of normal numbers."""
    bits = x.view(np.uint32)
    return ((bits + (0x7FFF + (bits >> 16 & 1))) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def training(folder: Path, epochs: int) -> None:
    """Of a perceptron 784-128-10 on MNIST."""
    digits, test = load_mnist(folder)
    for compute in FORMATS:
        model = graphc.compile_source(with_precision(MLP.read_text(), compute))
        for seed in SEEDS:
            model.init(seed=seed)
            losses = model.fit(digits, batch=32, epochs=epochs, seed=seed, progress=False)["loss"]
            shown = " ".join(f"{losses[epoch]:.4f}" for epoch in sorted({0, epochs // 2, epochs - 1}))
            accuracy = model.evaluate(**test)["accuracy"]
            print(f"{compute:>5}, seed {seed}: loss {shown}, test accuracy {100 * accuracy:.2f} %", flush=True)


def speed(threads: int, alone: bool) -> None:
    for m, k, n in SIZES:
        random = np.random.default_rng(0)
        a, b = random.standard_normal((m, k)).astype("f4"), random.standard_normal((k, n)).astype("f4")
        models = [graphc.compile_source(with_precision(product(m, k, n), x), threads=threads) for x in FORMATS]
        times = in_turns([partial(model, a=a, b=b) for model in models], alone)
        rates = "".join(f"{2 * m * k * n / seconds / 1e9:9.1f} GFLOP/s" for seconds in times)
        print(f"{f'{m} x {k} x {n}':20}{rates}{times[0] / times[1]:7.2f}", flush=True)
    for name in STEPS:
        for case in select([name]):
            data = case.data()
            runs = []
            for compute in FORMATS:
                changed = replace(case, text=with_precision(case.text, compute))
                twin = graphc_twin(changed, graphc_model(changed, threads), data)
                twin.set_rate(0.0)
                runs.append(twin.run)
            times = in_turns(runs, alone)
            print(
                f"{case.name:20}{''.join(f'{1e6 * x:14,.1f} us' for x in times)}{times[0] / times[1]:7.2f}", flush=True
            )


def in_turns(runs: list[Callable[[], object]], alone: bool) -> list[float]:
    """Seconds of a call of each, the best."""
    best = [float("inf")] * len(runs)
    for run in runs:
        run()
    for _ in range(ROUNDS):
        with realtime() if alone else nothing():
            for number, run in enumerate(runs):
                stop = perf_counter() + ROUND
                while (start := perf_counter()) < stop:
                    run()
                    best[number] = min(best[number], perf_counter() - start)
    return best


if __name__ == "__main__":
    sys.exit(main())
