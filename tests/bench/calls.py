"""What a call costs: by the builtin, in Python, in the native loop of `fit`; loading an artifact, importing graphc.

    python tests/bench/calls.py

Times of calls are the least of many short rounds in turns; loads and imports run in fresh processes, the least of ten.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

ROUNDS, CALLS = 150, 300
PROCESSES = 10
LOOP = 2000  # steps in one native call
LOAD = """
from time import perf_counter
import sys, numpy, ctypes
began = perf_counter()
from graphc import load
imported = perf_counter()
model = load(sys.argv[1], threads=1)
loaded = perf_counter()
kinds = {"f32": numpy.float32, "i32": numpy.int32}
inputs = {leaf.name: numpy.zeros(leaf.sizes, kinds[leaf.dtype]) for leaf in model.signature.with_role("input")}
called = perf_counter()
model.step(inputs) if "y" in inputs else model(inputs)
print(imported - began, loaded - imported + perf_counter() - called)
"""


def least(calls: dict[str, Callable[[], Any]], count: int = CALLS) -> dict[str, float]:
    """Microseconds of each call, in turns."""
    found = dict.fromkeys(calls, float("inf"))
    for _ in range(ROUNDS):
        for name, call in calls.items():
            started = perf_counter()
            for _ in range(count):
                call()
            found[name] = min(found[name], (perf_counter() - started) / count * 1e6)
    return found


def step_times(model: Any, data: dict[str, Any]) -> dict[str, float]:
    """A training step from Python, with the builtin and without, and in the native loop."""
    x, y = data["x"], data["y"]
    rows = len(x)
    whole = {name: np.concatenate([array] * LOOP) for name, array in data.items()}
    loop = model.batches("step", model.dataset("step", whole), rows)
    order = np.arange(len(whole["x"]), dtype=np.int64)

    def native() -> None:
        loop.begin(order)
        loop.run(LOOP)

    in_python = model._entries["step"].run
    for _ in range(5):
        model.step(data)
    found = least(
        {
            "model.step(x=x, y=y)": lambda: model.step(x=x, y=y),
            "model.step(data)": lambda: model.step(data),
            "the same in Python": lambda: in_python(data),
        }
    )
    return found | {"in the loop of fit": least({"": native}, 1)[""] / LOOP}


def call_times(model: Any, data: dict[str, Any]) -> dict[str, float]:
    """A call for predictions."""
    x = data["x"]
    in_python = model._entries["forward"].run
    for _ in range(5):
        model(data)
    return least(
        {
            "model(x=x)": lambda: model(x=x),
            "model(data)": lambda: model(data),
            "the same in Python": lambda: in_python(data),
        }
    )


def load_times(path: Path) -> dict[str, float]:
    """Milliseconds in fresh processes; byte code is compiled by the first, which does not count."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory() as cache:
        environment["PYTHONPYCACHEPREFIX"] = cache
        runs = [
            subprocess.run(
                [sys.executable, "-c", LOAD, str(path)], env=environment, capture_output=True, text=True, check=True
            ).stdout
            for _ in range(PROCESSES + 1)
        ]
    numbers = np.array([[float(word) for word in run.split()] for run in runs[1:]]).min(axis=0) * 1e3
    return {"import, over NumPy and ctypes (ms)": numbers[0], "load and first call (ms)": numbers[1]}


def main() -> None:
    from workloads import select
    from workloads.candidates import graphc_model

    with tempfile.TemporaryDirectory() as folder:
        for name in ("W3", "W9-mlp-b1", "W2-b32"):
            (case,) = select([name])
            model, data = graphc_model(case, 1), case.data()
            found = step_times(model, data) if case.optimizer else call_times(model, data)
            path = Path(folder) / f"{name}.gca"
            model.save(path)
            print(name, *(f"  {value:8.3f}  {what}" for what, value in {**found, **load_times(path)}.items()), sep="\n")


if __name__ == "__main__":
    main()
