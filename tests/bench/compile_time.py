"""Processor seconds that compiling takes, stage by stage, and taking the same model out of the cache.

    python tests/bench/compile_time.py [MODEL ...] [--runs 3]

Every run is a process of its own that has NumPy imported. The least of the runs counts; processor time is less
disturbed by other programs than the clock, but on processors that share a core it still grows by half.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from time import process_time
from typing import Any

EXAMPLES = Path(__file__).parents[2] / "examples"
CHAIN = 20_000  # ops
MODELS = ("W2-b32", "mnist_mlp", "lenet", "W5", "W6", "W7-train", "W8-train", "chain")
STAGES = ("imports", "frontend", "passes", "schedule", "LLVM IR", "LLVM", "linking", "model")


def source(name: str) -> tuple[str, dict[str, int]]:
    """The text of a model and its dimensions: of an example, a workload, or a chain of sines."""
    if name == "chain":
        steps = "".join(f"    x{i + 1} = sin(x{i})\n" for i in range(CHAIN))
        return f"dim B\nmodel chain(x0: f32[B, 8]) -> (y: f32[B, 8]):\n{steps}    y = x{CHAIN}\n", {}
    example = EXAMPLES / name / f"{name}.gc"
    if example.exists():
        return example.read_text(), {}
    from workloads import CASES

    case = next(one for one in CASES if one.name == name)
    return case.text, dict(case.dims)


def stages(text: str, dims: dict[str, int]) -> dict[str, float]:
    """Seconds of each stage of one compilation."""
    from graphc.collector import paused

    seconds: dict[str, float] = {}

    def timed(stage: str, work: Callable[[], Any]) -> Any:
        started = process_time()
        result = work()
        seconds[stage] = process_time() - started
        return result

    with paused():
        timed("imports", lambda: [import_module(f"graphc.{name}") for name in ("driver", "compiler", "inspection")])
        from graphc.compiler import compilations
        from graphc.driver import read_source
        from graphc.runtime.artifact import Artifact
        from graphc.runtime.model import Model
        from graphc.source import Source

        (one,) = timed("frontend", lambda: compilations(Source("model.gc", text), read_source, dims=dims))
        timed("passes", lambda: one.optimised)
        timed("schedule", lambda: one.entries)
        timed("LLVM IR", lambda: one.llvm)
        timed("LLVM", lambda: one.object_code)
        timed("linking", lambda: one.build)
    timed("model", lambda: Model(Artifact((one.build,))))
    return seconds


def whole(text: str, dims: dict[str, int]) -> dict[str, float]:
    """Seconds of the first call of `graphc.compile_source` in a process, imports included, and of the next."""
    seconds = {}
    for turn in ("first", "again"):
        started = process_time()
        import graphc

        graphc.compile_source(text, dims=dims)
        seconds[turn] = process_time() - started
    return seconds


def child(kind: str, name: str, environment: dict[str, str]) -> dict[str, float]:
    """What a process of its own prints."""
    command = [sys.executable, __file__, "--child", kind, name]
    done = subprocess.run(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def least(runs: list[dict[str, float]]) -> dict[str, float]:
    """The run that took least in all."""
    return min(runs, key=lambda run: sum(run.values()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=[], help=f"examples or workloads (default: {' '.join(MODELS)})")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--child", choices=("stages", "whole"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        import numpy as np  # noqa: F401  it is not part of what is measured

        text, dims = source(options.models[0])
        print(json.dumps((stages if options.child == "stages" else whole)(text, dims)))
        return
    columns = [*STAGES[1:], "sum", "imports", "cached", "cached again"]
    print("| | " + " | ".join(columns) + " |\n" + "| --- " * (len(columns) + 1) + "|")
    for name in options.models or MODELS:
        with tempfile.TemporaryDirectory() as folder:
            on = {"GRAPHC_CACHE": "1", "GRAPHC_CACHE_DIR": folder}
            child("whole", name, on)
            cold = least([child("stages", name, on) for _ in range(options.runs)])
            hit = least([child("whole", name, on) for _ in range(options.runs)])
        imports = cold.pop("imports")
        figures = [*cold.values(), sum(cold.values()), imports, hit["first"], hit["again"]]
        print(f"| {name} | " + " | ".join(f"{figure:.3f}" for figure in figures) + " |", flush=True)


if __name__ == "__main__":
    main()
