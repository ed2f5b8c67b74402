"""One entry of a model bound to its memory: checks what it is given, fills the pointer table, calls the native code.

The plan for a set of shapes (run-time sizes, arena size, output shapes) is made once. The common case, arrays that need
no conversion in shapes seen before, is then left to a builtin (`graphc.runtime.call_path`); what is here does the rest,
in some microseconds. Not thread-safe: the model's lock is held.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from graphc.runtime.buffers import NUMPY, READY, Slab, address, aligned_bytes, as_input
from graphc.runtime.call_path import Builtin, CallPath, NativePlan, Shared, call_path, never
from graphc.runtime.dimexpr import evaluate
from graphc.runtime.errors import BusyError, IndexRangeError, InputTypeError, InternalError, LimitError
from graphc.runtime.library import Library
from graphc.runtime.shapes import Shape, solve
from graphc.runtime.signature import GRADIENT, IndexBound, Leaf, Output, Signature
from graphc.runtime.threads import Team

MAX_PLANS = 256  # sets of shapes remembered by an entry
_CTYPES: dict[str, Any] = {
    "f64": ctypes.c_double,
    "f32": ctypes.c_float,
    "i64": ctypes.c_int64,
    "i32": ctypes.c_int32,
    "i8": ctypes.c_int8,
    "u8": ctypes.c_uint8,
    "bool": ctypes.c_bool,
}


class Arena:
    """Scratch memory shared by the entries of a model; it grows to the largest size asked for and stays.

    `shared` is what the builtins of the entries see of it.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.shared = Shared(size=-1)
        self._memory = aligned_bytes(0)

    @property
    def busy(self) -> bool:
        """Whether it is in use by a call: a call from inside that call must not touch it."""
        return bool(self.shared.busy)

    @busy.setter
    def busy(self, is_busy: bool) -> None:
        self.shared.busy = is_busy

    def use_lock(self, lock: threading.RLock) -> None:
        """The lock under which it is used."""
        self._methods = lock.acquire, lock.release
        self.shared.acquire, self.shared.release = map(id, self._methods)

    def enter(self) -> None:
        """Mark the arena as in use; `BusyError` if it is, by a call of this thread that has not returned."""
        if self.busy:
            raise BusyError("the model was called from inside one of its own calls")
        self.busy = True

    def reserve(self, size: int) -> int:
        """The address of at least `size` bytes; `LimitError` beyond the limit, before anything is allocated."""
        shared = self.shared
        if size > shared.size:
            if not 0 <= size <= self.limit:
                raise LimitError(f"these sizes need an arena of {size:,} bytes; the limit is {self.limit:,}")
            self._memory = aligned_bytes(size)
            shared.arena, shared.size = self._memory.ctypes.data, self._memory.size
        return int(shared.arena)


class Plan(NamedTuple):
    """What a set of input shapes determines. `fresh`: outputs in new arrays (name, place in table, shape, dtype)."""

    dims: Mapping[str, int]
    arena: int
    fresh: tuple[tuple[str, int, Shape, np.dtype[Any]], ...]
    native: NativePlan


class BoundEntry:
    """An entry, its pointer table, and the plans of the shapes it has seen."""

    def __init__(self, key: str, signature: Signature, library: Library, slab: Slab, arena: Arena, team: Team) -> None:
        self.key, self.signature, self.entry, self.team = key, signature, signature.entries[key], team
        self._function = library.function(self.entry.symbol, 4)
        self.function_address = library.address(self.entry.symbol)
        self._arena, self._low, self._high = arena, slab.low, slab.high
        leaves = [signature.leaf(name) for name in self.entry.leaves]
        self.table = (ctypes.c_size_t * (len(leaves) + len(self.entry.outputs) or 1))()
        self._table_address = ctypes.addressof(self.table)
        self.given: list[tuple[Leaf, int]] = []
        for place, leaf in enumerate(leaves):
            if leaf.role in ("input", "gradient"):
                self.given.append((leaf, place))
            else:
                self.table[place] = address(slab.arrays[leaf.name])
        self._slots = [(argument_name(leaf), place, NUMPY[leaf.dtype], leaf) for leaf, place in self.given]
        self.names = [name for name, *_ in self._slots]
        self.outputs = {output.name: output for output in self.entry.outputs}
        self.figures: list[tuple[str, Any]] = []
        for place, output in enumerate(self.entry.outputs, len(leaves)):
            if is_figure(key, output):
                value = _CTYPES[output.dtype]()
                self.table[place] = ctypes.addressof(value)
                self.figures.append((output.name, value))
        self._figure_names = frozenset(name for name, _ in self.figures)
        others = (leaf for leaf in signature.with_role("input") if key != "forward" or not leaf.train_only)
        self.unused = frozenset(leaf.name for leaf in others) - set(self.names)  # declared, but not needed here
        self._plans: dict[tuple[Shape, ...], Plan] = {}
        self._allocate: Callable[[Shape, np.dtype[Any]], NDArray[Any]] = np.empty
        self._path = call_path(library, signature.call) if key in ("forward", "step", "evaluate") else None
        if self._path is not None:
            self._open(self._path, slab)

    def _open(self, path: CallPath, slab: Slab) -> None:
        """Tell the builtin where everything is."""
        places = {name: self._table_address + 8 * i for i, name in enumerate(self.entry.leaves)}
        first = len(self.entry.leaves)
        made = [(one.name, self._table_address + 8 * i) for i, one in enumerate(self.entry.outputs, first)]
        held = self.table, self.team, self._arena, [value for _, value in self.figures], slab.memory
        path.bind(
            self.function_address,
            self._table_address,
            self._arena.shared,
            self.team.address,
            (slab.low, slab.high),
            held,
        )
        path.takes([(name, dtype, len(leaf.shape), places[leaf.name]) for name, _, dtype, leaf in self._slots])
        path.gives(
            [one for one in made if one[0] not in self._figure_names],
            self.key == "forward",
            [(name, ctypes.addressof(value), self.outputs[name].dtype) for name, value in self.figures],
        )

    @property
    def builtin(self) -> Builtin:
        """(inputs or None, named inputs) -> results of the common case; None for others, then nothing has happened."""
        return self._path.call if self._path is not None else never

    def count_steps(self, counter: NDArray[Any]) -> None:
        """The builtin adds one to the i64 `counter` at each call."""
        if self._path is not None:
            self._path.count_steps(address(counter))

    def run(self, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Call the native code: the scalar figures as Python numbers, the other outputs as fresh arrays."""
        arena = self._arena
        arena.enter()
        try:
            return self._run(given, arena)
        finally:
            arena.busy = False

    def _run(self, given: Mapping[str, Any], arena: Arena) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        table, low, high = self.table, self._low, self._high
        held: list[NDArray[Any]] = []  # keeps converted copies alive during the call
        shapes: list[Shape] = []
        for name, place, dtype, leaf in self._slots:
            try:
                array = given[name]
            except KeyError:
                raise self._wrong_names(given) from None
            if type(array) is not np.ndarray or array.dtype != dtype or array.flags.num & READY != READY:
                array = as_input(array, leaf)
            at = address(array)
            if low <= at < high:  # a view of our own variables, which the entry may write while it reads
                array = array.copy()
                at = address(array)
            table[place] = at
            held.append(array)
            shapes.append(array.shape)
        if len(given) != len(held) and any(name not in self.names and name not in self.unused for name in given):
            raise self._wrong_names(given)
        key = tuple(shapes)
        plan = self._plans.get(key) or self._make_plan(key)
        outputs: dict[str, NDArray[Any]] = {}
        for name, place, shape, dtype in plan.fresh:
            out = outputs[name] = self._allocate(shape, dtype)
            table[place] = address(out)
        base = arena.reserve(plan.arena)
        if not self.team.is_ready:
            self.team.start()
        is_new = self._path is not None and not plan.native.is_known
        started = time.perf_counter_ns() if is_new else 0
        code = self._function(self._table_address, plan.native.dims, base, self.team.address)
        if is_new:
            self._learn(plan.native, time.perf_counter_ns() - started)
        if code:
            raise self.error(
                code, {leaf.name: array for (leaf, _), array in zip(self.given, held, strict=True)}, plan.dims
            )
        return {name: value.value for name, value in self.figures}, outputs

    def _learn(self, plan: NativePlan, nanoseconds: int) -> None:
        """The entry took so long; after some calls the builtin may make them."""
        if plan.learn(nanoseconds) and self._path is not None:
            self._path.remember(plan)

    @contextmanager
    def elsewhere(
        self,
        variables: Mapping[str, NDArray[Any]],
        arena: Arena,
        allocate: Callable[[Shape, np.dtype[Any]], NDArray[Any]],
    ) -> Iterator[None]:
        """Calls meanwhile use these copies of the variables, this arena, and memory from `allocate` for outputs."""
        kept = list(self.table), self._arena, self._allocate
        for place, name in enumerate(self.entry.leaves):
            if name in variables:
                self.table[place] = address(variables[name])
        self._arena, self._allocate = arena, allocate
        try:
            yield
        finally:
            self.table[:], self._arena, self._allocate = kept

    def _make_plan(self, shapes: tuple[Shape, ...]) -> Plan:
        dims = solve(self.signature, [leaf for leaf, _ in self.given], shapes)
        fresh = tuple(
            (output.name, place, tuple(evaluate(size, dims) for size in output.shape), NUMPY[output.dtype])
            for place, output in enumerate(self.entry.outputs, len(self.entry.leaves))
            if output.name not in self._figure_names
        )
        arena = self.arena_bytes(dims)
        self._arena.reserve(arena)  # a size that is refused must not be remembered
        sizes = [size for shape in shapes for size in shape]
        native = NativePlan(tuple(dims.values()), arena, [one[2:] for one in fresh], sizes)
        plan = Plan(dims, arena, fresh, native)
        if len(self._plans) >= MAX_PLANS:
            self._plans.clear()
        self._plans[shapes] = plan
        return plan

    def arena_bytes(self, dims: Mapping[str, int]) -> int:
        """The scratch memory of all threads at these sizes."""
        return evaluate(self.entry.arena, dims) + (self.team.threads - 1) * evaluate(self.entry.private, dims)

    def _wrong_names(self, given: Mapping[str, Any]) -> InputTypeError:
        missing = [name for name in self.names if name not in given]
        unknown = [str(name)[:80] for name in given if name not in self.names and name not in self.unused]
        parts = [f"missing {', '.join(f'`{name}`' for name in missing)}"] if missing else []
        parts += [f"unknown {', '.join(f'`{name}`' for name in unknown)}"] if unknown else []
        takes = ", ".join(self.names) or "nothing"
        return InputTypeError(f"{'; '.join(parts)}: `{self.key}` takes {takes}")

    def error(self, code: int, arrays: Mapping[str, NDArray[Any]], dims: Mapping[str, int]) -> Exception:
        """What a non-zero result of the native code means."""
        if not 1 <= code <= len(self.entry.leaves):
            return InternalError(f"entry {self.key} of {self.signature.name} returned {code}")
        name = self.entry.leaves[code - 1]
        for bound in self.entry.index_bounds:
            if bound.leaf == name and name in arrays and (found := out_of_range(arrays[name], bound, dims)):
                return found
        return IndexRangeError(f"`{name}` holds an index outside its table")


def argument_name(leaf: Leaf) -> str:
    """The name under which a caller passes the leaf: a gradient goes by its parameter's."""
    return leaf.name.removeprefix(GRADIENT) if leaf.role == "gradient" else leaf.name


def is_figure(key: str, output: Output) -> bool:
    """Whether an output is returned as a Python number: the losses and metrics of the training entries."""
    return key != "forward" and output.shape == () and not output.name.startswith(GRADIENT)


def out_of_range(array: NDArray[Any], bound: IndexBound, dims: Mapping[str, int]) -> IndexRangeError | None:
    """The error for the first element of `array` outside the bound, or None."""
    if array.size == 0:
        return None
    high = evaluate(bound.high, dims)
    if array.min() >= bound.low and array.max() < high:
        return None
    wrong = (array < bound.low) | (array >= high)
    if bound.ignore is not None:
        wrong &= array != bound.ignore
    if not wrong.any():
        return None
    where = tuple(int(i) for i in np.unravel_index(int(np.argmax(wrong)), wrong.shape))
    at = "" if not where else f" at {list(where)}"
    but = "" if bound.ignore is None else f", or {bound.ignore}"
    return IndexRangeError(f"`{bound.leaf}` holds {array[where]}{at}; it must be from {bound.low} to {high - 1}{but}")


def check_ranges(entry: Sequence[IndexBound], arrays: Mapping[str, NDArray[Any]], dims: Mapping[str, int]) -> None:
    """Raise for the first index of `arrays` outside its bounds."""
    for bound in entry:
        if bound.leaf in arrays and (found := out_of_range(arrays[bound.leaf], bound, dims)):
            raise found
