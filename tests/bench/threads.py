"""What a second thread gains: workloads on one and on several threads, in turns in one process.

    python tests/bench/threads.py [W2-b1024 W6 ...] [--threads 2] [--busy] [--realtime]

The figures are means of rounds of about 4 ms, the best and the median of them, and how the calls were shared. `--busy`
has another process turn round beside, on one processor. `--realtime` (for root) lets nothing else run meanwhile, for
half a second a workload: on a machine that is not idle.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter, sleep

from workloads import select
from workloads.candidates import graphc_model, graphc_twin
from workloads.case import Case

NAMES = ["W2", "W4", "W5", "W6", "W7", "W8", "W9-cnn", "W10-gemm"]
ROUND = 4e-3  # seconds of calls
LEAST_ROUNDS = 12
TURNS_ROUND = "while True: pass"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"workloads; without any: {', '.join(NAMES)}")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=0.5, help="of timing for each workload")
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--realtime", action="store_true")
    options = parser.parse_args()
    several = f"{options.threads} threads"
    print(f"{'workload':24}{'one thread':>12}{'median':>12}{several:>12}{'median':>12}{'gain':>7}{'median':>8}  runs")
    cases = [case for name in options.names or NAMES for case in select([name])]
    with busy() if options.busy else nothing():
        for case in cases:
            print(case.name.ljust(24) + measured(case, options.threads, options.seconds, options.realtime), flush=True)
    return 0


def measured(case: Case, threads: int, seconds: float, alone: bool) -> str:
    """The columns of a workload."""
    data = case.data()
    models = [graphc_model(case, count) for count in (1, threads)]
    twins = [graphc_twin(case, model, data) for model in models]
    for twin in twins:
        twin.set_rate(0.0)
        twin.run()
        twin.run()
    count = max(2, int(ROUND / timed(twins[0].run, 2)))
    rounds: list[list[float]] = [[], []]
    with realtime() if alone else nothing():
        stop = perf_counter() + seconds
        while perf_counter() < stop or len(rounds[0]) < LEAST_ROUNDS:
            for twin, found in zip(twins, rounds, strict=True):
                twin.run()
                found.append(timed(twin.run, count))
    best, median = [min(found) for found in rounds], [statistics.median(found) for found in rounds]
    runs = models[1].team.runs("step" if case.optimizer else "forward")
    columns = "".join(f"{1e6 * x:12,.1f}" for x in (best[0], median[0], best[1], median[1]))
    return f"{columns}{best[0] / best[1]:7.2f}{median[0] / median[1]:8.2f}  {runs.shared} shared, {runs.relieved} not"


def timed(run: Callable[[], object], count: int) -> float:
    """Seconds of a call, the mean of so many."""
    start = perf_counter()
    for _ in range(count):
        run()
    return (perf_counter() - start) / count


@contextmanager
def nothing() -> Iterator[None]:
    yield


@contextmanager
def busy() -> Iterator[None]:
    """Another process uses a processor all the time."""
    other = subprocess.Popen([sys.executable, "-c", TURNS_ROUND])
    try:
        sleep(0.2)
        yield
    finally:
        other.kill()
        other.wait()


@contextmanager
def realtime() -> Iterator[None]:
    """All threads of this process come before those of others; then the others have their turn."""
    threads = [int(name) for name in os.listdir("/proc/self/task")]
    for thread in threads:
        os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(1))
    try:
        yield
    finally:
        for thread in threads:
            os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))
        sleep(0.3)


if __name__ == "__main__":
    sys.exit(main())
