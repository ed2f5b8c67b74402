"""check="bounds": native code runs between guard pages, twice, on poisoned memory.

Every input, variable and output, and the arena, gets pages of its own with a page before and after them that may not
be touched: reading or writing there ends the process with SIGSEGV, at the instruction that did it. The first time each
buffer ends at its guard, and all that is not input holds signalling NaNs; the second time it begins after its guard,
and the poison is another. Both must give the same bits, or something was read before it was written; and the rest of
the pages must be as it was. It costs two calls and many system calls: for tests of generated code.

Within the arena its slots are neighbours, without pages between them.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc.runtime.buffers import as_input
from graphc.runtime.entry import Arena, BoundEntry, argument_name
from graphc.runtime.epoch import BatchLoop
from graphc.runtime.errors import InternalError, LimitError, NotAvailableError
from graphc.runtime.store import Store

PAGE = mmap.PAGESIZE
POISONS = (b"\x00\x00\xa0\x7f\x00\x00\xf4\x7f", b"\x55\xaa\x33\xcc\x0f\xf0\x69\x96")
"""Eight bytes each: signalling NaNs as f32 and as f64, and something else."""
Results = tuple[dict[str, Any], dict[str, NDArray[Any]]]


class GuardedMemory:
    """`size` bytes between two guard pages, at the end of their pages or at the start; all of it poison at first."""

    def __init__(self, size: int, at_end: bool, poison: bytes) -> None:
        inner = -(-max(size, 1) // PAGE) * PAGE
        self._map = mmap.mmap(-1, inner + 2 * PAGE)
        pages = np.frombuffer(self._map, np.uint8)
        self._inner = pages[PAGE : PAGE + inner]
        self._inner[:] = np.frombuffer(poison * (inner // len(poison)), np.uint8)
        start = inner - size if at_end else 0
        self.bytes = self._inner[start : start + size]
        self._outside = (self._inner[:start], self._inner[start + size :])
        self._before = tuple(part.copy() for part in self._outside)
        self.address = int(self._inner.ctypes.data) + start
        for page in (pages.ctypes.data, self._inner.ctypes.data + inner):
            _protect(int(page))

    def array(self, shape: Sequence[int], dtype: np.dtype[Any]) -> NDArray[Any]:
        """The memory as an array."""
        return self.bytes.view(dtype).reshape(shape)

    @property
    def is_intact(self) -> bool:
        """Whether the rest of its pages is as it was."""
        return all(np.array_equal(now, then) for now, then in zip(self._outside, self._before, strict=True))


def _protect(page: int) -> None:
    """Makes one page untouchable."""
    try:
        call = ctypes.CDLL(None, use_errno=True).mprotect
    except (AttributeError, OSError, TypeError):
        raise NotAvailableError('check="bounds" needs mprotect, which this system does not have') from None
    call.argtypes, call.restype = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int], ctypes.c_int
    if call(page, PAGE, 0):
        raise LimitError("the system has no more guard pages to give (vm.max_map_count)")


class GuardedArena(Arena):
    """A fresh arena for every call."""

    def __init__(self, limit: int, run: _Run) -> None:
        super().__init__(limit)
        self._guarded_by = run

    def reserve(self, size: int) -> int:
        """The address of `size` bytes of poison. `self.size` stays -1, so that every call asks."""
        if not 0 <= size <= self.limit:
            raise LimitError(f"these sizes need an arena of {size:,} bytes; the limit is {self.limit:,}")
        return self._guarded_by.memory("the arena", size).address


class _Run:
    """One run of a call: all its memory."""

    def __init__(self, at_end: bool, poison: bytes) -> None:
        self._at_end, self._poison = at_end, poison
        self._all: list[tuple[str, GuardedMemory]] = []

    def memory(self, name: str, size: int) -> GuardedMemory:
        made = GuardedMemory(size, self._at_end, self._poison)
        self._all.append((name, made))
        return made

    def copy(self, name: str, array: NDArray[Any]) -> NDArray[Any]:
        inside = self.memory(name, array.nbytes).array(array.shape, array.dtype)
        inside[...] = array
        return inside

    def check(self, key: str) -> None:
        """`InternalError` naming the first buffer beside which something was written."""
        for name, memory in self._all:
            if not memory.is_intact:
                raise InternalError(f"{key}: the native code wrote beside {name}")


class BoundsCheck:
    """Runs the calls of one model between guards; its lock is held."""

    def __init__(self, store: Store, limit: int) -> None:
        self._store, self._limit = store, limit

    def call(self, bound: BoundEntry, given: Mapping[str, Any]) -> Results:
        """As `bound.run(given)`."""
        arrays = self._store.slab.arrays
        held = [leaf.name for leaf, _ in bound.given]
        variables = {name: arrays[name] for name in bound.entry.leaves if name not in held}
        first, after = self._run(bound, given, variables, _Run(True, POISONS[0]))
        second, again = self._run(bound, given, variables, _Run(False, POISONS[1]))
        for name, one, other in _pairs({**first[0], **first[1], **after}, {**second[0], **second[1], **again}):
            if np.asarray(one).tobytes() != np.asarray(other).tobytes():
                raise InternalError(f"{bound.key}: `{name}` depends on memory that nobody wrote")
        for name in bound.entry.updates:
            arrays[name][...] = after[name]
        return first

    def _run(
        self, bound: BoundEntry, given: Mapping[str, Any], variables: Mapping[str, NDArray[Any]], run: _Run
    ) -> tuple[Results, dict[str, NDArray[Any]]]:
        """One run; the variables as it left them."""
        inputs = dict(given)
        for leaf, _ in bound.given:
            if argument_name(leaf) in inputs:
                inputs[argument_name(leaf)] = run.copy(f"`{leaf.name}`", as_input(inputs[argument_name(leaf)], leaf))
        inside = {name: run.copy(f"`{name}`", array) for name, array in variables.items()}

        def allocate(shape: Sequence[int], dtype: np.dtype[Any]) -> NDArray[Any]:
            size = int(np.prod(shape, dtype=object)) * dtype.itemsize
            return run.memory("an output", size).array(shape, dtype)

        with bound.elsewhere(inside, GuardedArena(self._limit, run), allocate):
            figures, outputs = bound.run(inputs)
        run.check(bound.key)
        copies = {name: np.array(array) for name, array in outputs.items()}
        return (figures, copies), {name: np.array(array) for name, array in inside.items()}

    def run(self, loop: BatchLoop, batches: int) -> None:
        """As `loop.run(batches)`."""
        for _ in range(batches):
            if not loop.is_done:
                figures, _ = self.call(loop.bound, loop.inputs_at(loop.position))
                loop.count(figures)


def _pairs(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    return [(name, value, other[name]) for name, value in one.items()]
