"""What the machine can do while it is measured: rate of multiply-adds, bandwidth of memory; and the memory in use."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter, process_time, sleep

import numpy as np
from contraction import peak_function

from graphc.codegen.target import host

TURNS = 50  # thousands, a call: about 0.1 ms


def on_threads(threads: int, run: Callable[[int], object]) -> Callable[[], float]:
    """A call that runs `run(i)` on so many threads at once: the seconds from the first start to the last end."""
    pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def timed(i: int) -> tuple[float, float]:
        start = perf_counter()
        run(i)
        return start, perf_counter()

    def all_of_them() -> float:
        spans = [timed(0)] if pool is None else list(pool.map(timed, range(threads)))
        return max(end for _, end in spans) - min(start for start, _ in spans)

    return all_of_them


class Peak:
    """GFLOP/s of vector multiply-adds in registers, two operations each."""

    def __init__(self, threads: int) -> None:
        self._alive, function = peak_function()
        self._flops = 1000.0 * TURNS * 16 * 2 * host().lanes(4) * threads
        self._run = on_threads(threads, lambda i: function(TURNS))
        self.best = 0.0

    def measure(self) -> None:
        for _ in range(5):
            self.best = max(self.best, self._flops / self._run() / 1e9)


class Bandwidth:
    """GB/s, read and written, of copying arrays that are larger than the caches."""

    def __init__(self, threads: int, megabytes: int = 128) -> None:
        size = megabytes * 2**20 // 4 // threads
        pairs = [(np.ones(size, np.float32), np.zeros(size, np.float32)) for _ in range(threads)]
        self._bytes = 8.0 * size * threads
        self._run = on_threads(threads, lambda i: np.copyto(pairs[i][1], pairs[i][0]))
        self._run()
        self.best = 0.0
        for _ in range(3):
            self.measure()

    def measure(self) -> None:
        self.best = max(self.best, self._bytes / self._run() / 1e9)


class Others:
    """What other processes use of the processors of this one, from now on."""

    def __init__(self) -> None:
        self._began, self._busy, self._own = perf_counter(), self._ticks(), process_time()

    def _ticks(self) -> int:
        ticks = busy()
        return sum(ticks.get(cpu, 0) for cpu in os.sched_getaffinity(0))

    def share(self) -> float:
        """Of the time of one processor; above a few per cent the figures are not to be trusted."""
        theirs = (self._ticks() - self._busy) / os.sysconf("SC_CLK_TCK") - (process_time() - self._own)
        return max(0.0, theirs) / (perf_counter() - self._began)


def resident() -> float:
    """MiB of this process that are in memory."""
    return status("VmRSS")


def peak_resident() -> float:
    """The most MiB since `forget_peak`."""
    return status("VmHWM")


def forget_peak() -> None:
    """The peak is what is resident now."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return  # not allowed everywhere: then peaks are since the process began


def status(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    return 0.0


def idlest(count: int) -> list[int]:
    """So many of the processors this process may use, those with the least work in the last moments."""
    before = busy()
    sleep(0.15)
    after = busy()
    usable = sorted(os.sched_getaffinity(0))
    return sorted(usable, key=lambda cpu: after.get(cpu, 0) - before.get(cpu, 0))[:count]


def busy() -> dict[int, int]:
    """Ticks that each processor has worked since it started."""
    found = {}
    for line in Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name.startswith("cpu") and name != "cpu":
            found[int(name[3:])] = sum(int(t) for t in ticks) - int(ticks[3]) - int(ticks[4])
    return found
