"""Accounts of threads, without threads: runs whose times are made up, on the code that decides how many share them."""

from __future__ import annotations

import ctypes
import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from graphc.codegen.account import ACCOUNT, Account
from graphc.codegen.llvm import Function, Module, compile_object
from graphc.codegen.target import host
from graphc.linking.link import link
from graphc.runtime.buffers import aligned_bytes
from graphc.runtime.library import Library
from graphc.runtime.threads import RELIEF

COST = 5_000_000  # of all runs, unless a test says otherwise
Time = Callable[[int], int]  # nanoseconds of a run, of the time (ns of all runs before it)


@pytest.fixture(scope="module")
def library() -> Library:
    module = Module(host())
    for name in ("is_for_one", "measured", "shared"):
        f = Function(
            module, name, [("ptr", "account"), *(("i64", x) for x in ("relief", "cost", "spent"))], "i64", False
        )
        account = Account(f, f["account"], f["relief"])
        if name == "is_for_one":
            f.ret(f.zext(account.is_for_one(), "i64"))
        else:
            getattr(account, name)(f["cost"], f["spent"])
            f.ret(f["cost"])
        module.add(f)
    return Library(link(compile_object(module.text(), module.target)), ["is_for_one", "measured", "shared"])


@dataclass
class Run:
    shared: bool
    time: int
    alone: int  # what it would have taken on one thread


class Books:
    """An account, and runs of given times on it."""

    def __init__(self, library: Library, relief: int = RELIEF) -> None:
        self.memory = aligned_bytes(ACCOUNT)
        self.address, self.relief, self.clock = int(self.memory.ctypes.data), relief, 0
        names = ("is_for_one", "measured", "shared")
        self.is_for_one, self.measured, self.shared = (library.function(name, 4) for name in names)

    def runs(self, milliseconds: int, alone: Time, shared: Time, cost: int = COST) -> list[Run]:
        """Runs for so long."""
        found, end = [], self.clock + milliseconds * 1_000_000
        while self.clock < end:
            times = alone(self.clock), shared(self.clock)
            by_one = bool(self.is_for_one(self.address, self.relief, cost, 0))
            spent = times[0] if by_one else times[1]
            (self.measured if by_one else self.shared)(self.address, self.relief, cost, spent)
            self.clock += spent
            found.append(Run(not by_one, spent, times[0]))
        return found


def share(runs: list[Run]) -> float:
    return sum(run.shared for run in runs) / len(runs)


def slowdown(runs: list[Run]) -> float:
    """Time to that of one thread."""
    return sum(run.time for run in runs) / sum(run.alone for run in runs)


def steady(microseconds: float, noise: float = 0.1, seed: int = 0) -> Time:
    """About so much; never less, and now and then 5 times as much."""
    rng = random.Random(seed)
    return lambda now: int(1000 * microseconds * (5 if rng.random() < 0.003 else 1 + noise * rng.random()))


@pytest.mark.parametrize("microseconds", [30, 400, 10_000])
def test_what_gains_is_shared_nearly_always(library: Library, microseconds: int) -> None:
    books = Books(library)
    books.runs(200, steady(microseconds), steady(0.6 * microseconds, seed=1))
    later = books.runs(3_000, steady(microseconds), steady(0.6 * microseconds, seed=1))
    assert share(later) > 0.97
    assert slowdown(later) < 0.63


@pytest.mark.parametrize("microseconds", [30, 400, 10_000])
@pytest.mark.parametrize("factor", [1.05, 1.2, 2.0, 5.0])
def test_what_loses_is_hardly_ever_shared(library: Library, microseconds: int, factor: float) -> None:
    books = Books(library)
    books.runs(1_000, steady(microseconds), steady(factor * microseconds, seed=1))
    later = books.runs(5_000, steady(microseconds), steady(factor * microseconds, seed=1))
    assert slowdown(later) < 1.06


@pytest.mark.parametrize("microseconds", [100, 1_000, 10_000])
def test_a_busy_cpu_costs_little(library: Library, microseconds: int) -> None:
    """Another process has a CPU: a worker waits until that has had its turn of up to 3 ms, or runs at once."""
    rng = random.Random(3)

    def shared(now: int) -> int:
        waits = rng.random() < 0.4
        return int(1000 * microseconds * 0.6 + waits * rng.uniform(0, 3e6) + 500 * microseconds * rng.random())

    books = Books(library)
    books.runs(500, steady(microseconds), shared)
    assert slowdown(books.runs(5_000, steady(microseconds), shared)) < 1.06


@pytest.mark.parametrize("microseconds", [100, 400, 2_000, 10_000])
def test_a_disturbance_that_comes_back_does_not_end_the_gain(library: Library, microseconds: int) -> None:
    """In the first 5 of every 25 ms threads of another library spin."""

    def shared(now: int) -> int:
        return int(1000 * microseconds * (1.8 if now % 25_000_000 < 5_000_000 else 0.55))

    books = Books(library)
    books.runs(1_000, steady(microseconds), shared)
    assert share(books.runs(2_000, steady(microseconds), shared)) > 0.9


@pytest.mark.parametrize("microseconds", [50, 1_000, 10_000])
def test_it_is_tried_again_when_the_cpus_are_free(library: Library, microseconds: int) -> None:
    books = Books(library)
    for _ in range(3):
        books.runs(2_000, steady(microseconds), steady(3 * microseconds, seed=1))
        books.runs(1_500, steady(microseconds), steady(0.5 * microseconds, seed=1))
        assert share(books.runs(300, steady(microseconds), steady(0.5 * microseconds, seed=1))) > 0.95


def test_a_process_that_was_stopped_goes_on(library: Library) -> None:
    books = Books(library)
    books.runs(500, steady(1_000), steady(500, seed=1))
    books.runs(1, steady(1_000), lambda now: 3_600_000_000_000)
    books.runs(1_400, steady(1_000), steady(500, seed=1))
    assert share(books.runs(300, steady(1_000), steady(500, seed=1))) > 0.95


def test_runs_of_other_sizes_are_measured_by_their_cost(library: Library) -> None:
    books = Books(library)
    books.runs(100, steady(1_000), steady(550, seed=1))
    for _ in range(50):
        books.runs(20, steady(1_000), steady(550, seed=1))
        books.runs(1, steady(100), steady(60, seed=1), COST // 10)
    later = books.runs(100, steady(1_000), steady(550, seed=1))
    assert share(later) > 0.97


def test_without_relief_everything_is_shared(library: Library) -> None:
    books = Books(library, relief=0)
    assert share(books.runs(100, steady(100), steady(1_000))) == 1.0


def test_the_counts_are_those_of_the_runs(library: Library) -> None:
    books = Books(library)
    runs = books.runs(300, steady(200), steady(500, seed=1))
    shared, measured, relieved, refused = (
        ctypes.c_int64.from_address(books.address + place).value for place in (64, 72, 80, 88)
    )
    assert (shared, measured + relieved, refused) == (
        sum(run.shared for run in runs),
        sum(not run.shared for run in runs),
        0,
    )
    assert measured > 0 < relieved
