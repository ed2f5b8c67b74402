"""Threads for native code: one pool a process, whose workers are Python threads parked in native code.

graphc/codegen/team.py has the native side and the layout of what is shared. A pool is made when a model first wants
one; a child of `os.fork` makes its own; at exit it is sent home before any code is unloaded. The number of threads of a
model is `threads=` if it is given, else as many as this process may use: the least of its CPU affinity, the quota of
its control group, and GRAPHC_THREADS. It never changes what is computed.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import sys
import threading
import time
import weakref
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from graphc.runtime.buffers import aligned_bytes
from graphc.runtime.cpu import machine
from graphc.runtime.errors import OptionError
from graphc.runtime.library import Library
from graphc.runtime.signature import ENTRIES

WORKER, STOP = "graphc_worker", "graphc_stop"
VARIABLE = "GRAPHC_THREADS"
MOST = 256  # threads of a model
_VERSION = 3
PATIENCE, _CROWDED_PATIENCE = 80_000, 2_000  # ns to turn round before sleeping; if there are more threads than CPUs
RELIEF = 24  # times as long as several threads have lost an entry runs on one
FUTEX = {"x86_64": 202, "aarch64": 98}  # the number of the system call
LINE = 64
POOL, _DONE = 384, 16  # bytes: of a pool without its workers' lines, where its forks are counted; jobs in a line
_ACCOUNTS, _ACCOUNT = 64, 128  # bytes: of a team before the accounts of its entries (graphc/codegen/account.py), of one
_ACCOUNTED = np.dtype(
    {
        "names": ["unit", "used", "shared", "measured", "relieved", "refused"],
        "formats": ["f8", "i8", "i8", "i8", "i8", "i8"],
        "offsets": [0, 8, 64, 72, 80, 88],
        "itemsize": _ACCOUNT,
    }
)
_CGROUPS = Path("/sys/fs/cgroup")


class _Team(ctypes.Structure):
    """What a native entry gets, before the accounts: as in graphc/codegen/team.py."""

    _fields_ = [(name, ctypes.c_int64) for name in ("version", "pool", "threads", "patience", "ready")]


@dataclass(frozen=True)
class Runs:
    """How often an entry was run on all threads, and on one: to measure what that takes, as it is faster for now, or
    because another model had the workers. Runs too small for several threads are not counted."""

    shared: int
    measured: int
    relieved: int
    refused: int


class Team:
    """The threads of one model. `address` goes to the native entries, which run on one thread if there is no pool."""

    def __init__(self, threads: int | None, library: Library | None) -> None:
        """`threads` as given by the user; `library` has the workers' loop, None if no entry is worth threads."""
        self._wanted = check_threads(threads) if threads is not None else None
        self._library = library
        self._memory = aligned_bytes(_ACCOUNTS + _ACCOUNT * len(ENTRIES))
        self.address = int(self._memory.ctypes.data)
        self._native = _Team.from_address(self.address)
        self._native.version, self._native.threads, self._native.patience = _VERSION, 1, PATIENCE
        self._accounts = self._memory[_ACCOUNTS:][: _ACCOUNT * len(ENTRIES)].view(_ACCOUNTED)
        self.forget()
        _teams.add(self)

    def forget(self) -> None:
        """There is no pool, or not any more; the next call asks for one, and the accounts begin anew."""
        self._native.pool = 0
        self._memory[_ACCOUNTS:] = 0
        self.is_ready = self._library is None or self._wanted == 1

    @property
    def is_ready(self) -> bool:
        """Whether a call may begin; if not, `start` comes first. The builtin of a model reads it too."""
        return bool(self._native.ready)

    @is_ready.setter
    def is_ready(self, ready: bool) -> None:
        self._native.ready = ready

    def runs(self, entry: str) -> Runs:
        """How the runs of an entry were shared out so far."""
        account = self._accounts[ENTRIES.index(entry)]
        return Runs(*(int(account[field]) for field in ("shared", "measured", "relieved", "refused")))

    @cached_property
    def threads(self) -> int:
        """The most threads of a call. Asked for late: to load a model opens no file but its own."""
        return self._wanted if self._wanted is not None else available()

    def start(self) -> None:
        """Have a pool with workers enough; where there can be none, one thread does the work."""
        self.is_ready = True
        if self._library is not None and self.threads > 1:
            self._native.patience = PATIENCE if self.threads <= cpus() else _CROWDED_PATIENCE
            pool = _pool(self._library, self.threads - 1)
            self._native.pool = pool.address if pool else 0
            self._native.threads = min(self.threads, len(pool.workers) + 1) if pool else 1


class Pool:
    """Workers and the memory through which they are told what to do."""

    def __init__(self, library: Library) -> None:
        self._library = library  # the code in which workers wait must stay
        self._memory = aligned_bytes(POOL + LINE * (MOST + 1))
        self.address = int(self._memory.ctypes.data)
        self._fields = (ctypes.c_int64 * 7).from_address(self.address)
        self._fields[:] = [
            _VERSION,
            0,
            _symbol("syscall"),
            FUTEX[machine()],
            _symbol("clock_gettime"),
            RELIEF,
            _symbol("sched_getcpu"),
        ]
        self._run, self._stop = library.function(WORKER, 2), library.function(STOP, 1)
        self.workers: list[threading.Thread] = []

    def grow(self, workers: int) -> None:
        """At least so many workers, or as many as the system grants. A job may be there before they wait for it."""
        for number in range(len(self.workers) + 1, workers + 1):
            worker = threading.Thread(
                target=self._run, args=(self.address, number), name=f"graphc-{number}", daemon=True
            )
            try:
                worker.start()
            except RuntimeError:  # no more threads, or the interpreter is about to end
                break
            self.workers.append(worker)
        self._fields[1] = len(self.workers)

    def stop(self, seconds: float = 5.0) -> None:
        """Send the workers home, after the step they are busy with."""
        end = time.monotonic() + seconds
        while not self._stop(self.address):
            if time.monotonic() > end:
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(self))  # a step does not end: its memory must stay
                return
            time.sleep(0.001)
        for worker in self.workers:
            worker.join(seconds)

    def insist(self, always: bool = True) -> None:
        """Use the workers even where it does not pay; if not `always`, as the accounts say again."""
        self._fields[5] = 0 if always else RELIEF

    @property
    def forks(self) -> int:
        """Steps that were shared out."""
        return int(ctypes.c_int64.from_address(self.address + POOL).value)

    def jobs(self, worker: int) -> int:
        """How many of them worker `worker` (from 1 on) took part in."""
        return int(ctypes.c_int64.from_address(self.address + POOL + LINE * worker + _DONE).value)


_lock = threading.Lock()
_teams: weakref.WeakSet[Team] = weakref.WeakSet()
_state: dict[str, Pool] = {}
_left_behind: list[Pool] = []  # of the parent, in a forked child


def _pool(library: Library, workers: int) -> Pool | None:
    """The pool of this process with at least so many workers; None where there can be none."""
    if not sys.platform.startswith("linux") or machine() not in FUTEX or sys.is_finalizing():
        return None
    with _lock:
        if "pool" not in _state:
            _state["pool"] = Pool(library)
        _state["pool"].grow(workers)
        return _state["pool"]


def current() -> Pool | None:
    """The pool of this process, if there is one."""
    return _state.get("pool")


def _symbol(name: str) -> int:
    """The address of a function of the C library; 0 if it has none of the name."""
    library = ctypes.CDLL(None)
    return ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0 if hasattr(library, name) else 0


def _after_fork() -> None:
    """In a forked child: its threads are gone; memory and lock of the old pool are left as they were."""
    global _lock
    _lock = threading.Lock()
    if "pool" in _state:
        _left_behind.append(_state.pop("pool"))
    for team in _teams:
        team.forget()


def _at_exit() -> None:
    pool = _state.pop("pool", None)
    for team in _teams:
        team.forget()
        team.is_ready = True
    if pool is not None:
        pool.stop()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


# --- how many


def check_threads(threads: Any) -> int:
    """`threads` as a number of threads; `OptionError` for anything else."""
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= MOST:
        raise OptionError(f"threads must be a whole number from 1 to {MOST}, not {threads!r}")
    return threads


def available() -> int:
    """The threads of a model that does not say: CPUs this process may use, and not more than GRAPHC_THREADS."""
    wanted = os.environ.get(VARIABLE, "").strip()
    if not wanted:
        return min(cpus(), MOST)
    if not (wanted.isascii() and wanted.isdigit() and 1 <= int(wanted) <= MOST):
        raise OptionError(f"{VARIABLE} must be a whole number from 1 to {MOST}, not {wanted[:40]!r}")
    return min(int(wanted), cpus())


@cache
def cpus() -> int:
    """CPUs this process may use: affinity and the quotas of its control groups."""
    try:
        count = len(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        count = os.cpu_count() or 1
    quota = cgroup_quota()
    return max(1, count if quota is None else min(count, quota))


def cgroup_quota(root: Path = _CGROUPS, own: Path = Path("/proc/self/cgroup")) -> int | None:
    """Whole CPUs (at least one) that the control groups of this process allow, version 1 or 2; None: no limit."""
    limits = []
    for folder in _groups(root, own):
        both = _read(folder / "cpu.max").split()
        if len(both) != 2:
            both = [_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")]
        if all(part.isdigit() for part in both) and int(both[1]) > 0:
            limits.append(max(1, int(both[0]) // int(both[1])))
    return min(limits, default=None)


def _groups(root: Path, own: Path) -> list[Path]:
    """The folders of the groups that bound this process, up to the root; in a container its own group is the root."""
    found = {root: None, root / "cpu": None}
    for line in _read(own).splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        base = root if not controllers else root / "cpu"
        if controllers and "cpu" not in controllers.split(","):
            continue
        parts = [part for part in path.split("/") if part not in ("", ".", "..")]
        for depth in range(1, len(parts) + 1):
            found[base.joinpath(*parts[:depth])] = None
    return list(found)


def _read(file: Path) -> str:
    try:
        return file.read_text("ascii").strip()
    except (OSError, ValueError):
        return ""
