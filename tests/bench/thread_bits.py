"""What workloads are trained to on 1, 2, 3 and 8 threads, as hashes.

    python tests/bench/thread_bits.py [--full] [W2-b32 ...]

prints a line for each workload: its name, then for each number of threads the hash of all variables and losses after 50
steps. `--full` takes the workloads' own sizes instead of some that take a second.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Mapping

import numpy as np
from workloads import select
from workloads.case import Case

import graphc
from graphc.runtime import threads
from graphc.runtime.model import Model

COUNTS = (1, 2, 3, 8)
STEPS = 50
RATES = {"sgd": 0.1, "momentum": 0.01, "adam": 1e-3}

# large enough for several threads
SIZES: dict[str, Mapping[str, int]] = {
    "W2-b32": {},
    "W5": {"B": 6, "S": 16, "F": 20, "G": 40, "H": 100},
    "W6": {"B": 19, "T": 7, "V": 60, "E": 40, "H": 70},
    "W8-train": {"B": 3, "T": 21, "D": 48, "A": 3, "F": 90},
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"workloads that train; without any: {', '.join(SIZES)}")
    parser.add_argument("--full", action="store_true")
    options = parser.parse_args()
    for case in select(options.names or [*SIZES]):
        sizes = {} if options.full else SIZES[case.name]
        print(case.name, *hashes(case.at({**case.dims, **sizes})), flush=True)
    return 0


def hashes(case: Case) -> list[str]:
    """Of each number of threads."""
    model = graphc.compile_source(case.text, name=case.name, dims=dict(case.dims), threads=1)
    data = case.data()
    return [trained(Model(model.artifact, threads=count), case, data) for count in COUNTS]


def trained(model: Model, case: Case, data: Mapping[str, np.ndarray]) -> str:
    """The hash after some steps; RuntimeError if not all threads had a part in each, or if nothing was learnt."""
    model.team.start()
    if (pool := threads.current()) is not None:
        pool.insist()
    model.init(seed=7)
    model.hyper["lr"] = RATES[case.optimizer]
    losses = [model.step(data)["loss"] for _ in range(STEPS)]
    if pool is not None and model.threads > 1 and model.team.runs("step").shared != STEPS:
        raise RuntimeError(f"{case.name}: a step is too small for several threads, or was not shared")
    if not np.isfinite(losses).all() or losses[0] == losses[-1]:
        raise RuntimeError(f"{case.name}: losses from {losses[0]} to {losses[-1]} show nothing")
    state = {**model.params, **model.states, **model.slots, "losses": np.array(losses)}
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in state.values())).hexdigest()[:16]


if __name__ == "__main__":
    sys.exit(main())
