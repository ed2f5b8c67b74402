"""The runtime's side of the native batch loop (graphc/codegen/epoch.py has the code and the layout of the job).

Data stays where it is; the rows of each batch are gathered into two contiguous buffers' worth of memory by native code,
which calls the entry and adds up its figures. One call makes many steps.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc.runtime.buffers import Slab, address, aligned_array
from graphc.runtime.dataset import Dataset
from graphc.runtime.dimexpr import evaluate
from graphc.runtime.entry import Arena, BoundEntry, check_ranges
from graphc.runtime.shapes import solve

_KINDS = {"f32": 0, "f64": 1, "i64": 2, "i32": 3, "i8": 4, "u8": 5, "bool": 5}


class Job(ctypes.Structure):
    """As in graphc/codegen/epoch.py; every field is 8 bytes."""

    _fields_ = [
        (name, ctypes.c_int64)
        for name in (
            "entry", "table", "dims", "arena", "team", "order", "position", "stop", "batch", "size", "counter",
            "advance", "gathers", "gather_count", "figures", "figure_count",
        )
    ]  # fmt: skip


class _Gather(ctypes.Structure):
    _fields_ = [("source", ctypes.c_int64), ("destination", ctypes.c_int64), ("width", ctypes.c_int64)]


class _Figure(ctypes.Structure):
    _fields_ = [("value", ctypes.c_int64), ("kind", ctypes.c_int64), ("sum", ctypes.c_double)]


class BatchLoop:
    """One entry over batches of a data set. The order of rows and the position in it can be set; sums are in f64."""

    def __init__(
        self, bound: BoundEntry, run: Any, data: Dataset, batch: int, rows: int, slab: Slab, arena: Arena
    ) -> None:
        """`run` is the native loop, `rows` the length of an order. Sizes, bounds, index ranges are checked here."""
        self._bound, self._run, self._data, self._arena = bound, run, data, arena
        self.batch, self.rows = batch, rows
        self.pace = 1  # batches of the next native call, as `Model.run_batches` has found them to be worth it
        signature, entry = bound.signature, bound.entry
        sizes = sorted({min(batch, rows), rows % batch or min(batch, rows)}, reverse=True)
        plans = [solve(signature, data.leaves, data.shapes(size)) for size in sizes]
        self._dims = plans[0]
        self._arena_size = max(bound.arena_bytes(dims) for dims in plans)
        arena.reserve(self._arena_size)
        check_ranges(entry.index_bounds, data.arrays, self._dims)
        self._native_dims = (ctypes.c_int64 * (len(self._dims) or 1))(*self._dims.values())
        self._table = type(bound.table).from_buffer_copy(bound.table)
        self._held: list[Any] = []
        gathers = self._place_inputs(slab, sizes[0])
        self._place_outputs()
        self._figures = (_Figure * (len(bound.figures) or 1))()
        dtypes = {output.name: output.dtype for output in entry.outputs}
        for figure, (name, value) in zip(self._figures, bound.figures, strict=False):
            figure.value, figure.kind = ctypes.addressof(value), _KINDS[dtypes[name]]
        self.names = [name for name, _ in bound.figures]
        self._gathers = (_Gather * (len(gathers) or 1))(*gathers)
        self._unused = ctypes.c_int64()
        self._job = Job(
            entry=bound.function_address,
            table=ctypes.addressof(self._table),
            dims=ctypes.addressof(self._native_dims),
            team=bound.team.address,
            batch=batch,
            size=self._size_address(),
            counter=ctypes.addressof(self._unused),
            gathers=ctypes.addressof(self._gathers),
            gather_count=len(gathers),
            figures=ctypes.addressof(self._figures),
            figure_count=len(bound.figures),
        )
        self.begin(np.arange(rows, dtype=np.int64))

    def _place_inputs(self, slab: Slab, rows: int) -> list[_Gather]:
        """Batch buffers (or whole arrays) into the table; what to gather."""
        gathers = []
        for leaf, place in self._bound.given:
            array, factor = self._data.arrays[leaf.name], self._data.axis.factors[leaf.name]
            if slab.low <= address(array) < slab.high:
                array = array.copy()
            self._held.append(array)
            if factor:
                buffer = aligned_array((factor * rows, *array.shape[1:]), leaf.dtype)
                self._held.append(buffer)
                width = factor * (array.nbytes // array.shape[0])
                gathers.append(_Gather(address(array), address(buffer), width))
                array = buffer
            self._table[place] = address(array)
        return gathers

    def _place_outputs(self) -> None:
        """Memory for outputs that are not figures; the loop does not read them."""
        for place, output in enumerate(self._bound.entry.outputs, len(self._bound.entry.leaves)):
            if output.name not in (name for name, _ in self._bound.figures):
                array = aligned_array([evaluate(size, self._dims) for size in output.shape], output.dtype)
                self._held.append(array)
                self._table[place] = address(array)

    def _size_address(self) -> int:
        symbol = self._data.axis.symbol
        if symbol is None:
            return ctypes.addressof(self._unused)
        return ctypes.addressof(self._native_dims) + 8 * list(self._dims).index(symbol)

    def count_steps(self, counter: NDArray[Any]) -> None:
        """Add one to the i64 `counter` after each batch."""
        self._held.append(counter)
        self._job.counter, self._job.advance = address(counter), 1

    def begin(self, order: NDArray[np.int64], position: int = 0, sums: Sequence[float] = ()) -> None:
        """Go through the first `rows` of `order` next, from `position` on; `sums` are those of the rows before."""
        self._order = np.ascontiguousarray(order[: self.rows], np.int64)
        self._job.order, self._job.position = address(self._order), position
        for figure, value in zip(self._figures, [*sums, *[0.0] * (len(self.names) - len(sums))], strict=False):
            figure.sum = value

    def run(self, batches: int) -> None:
        """The next `batches` batches or what is left. Raises what the entry reports; `position` is then its batch's."""
        self._job.stop = min(len(self._order), self._job.position + batches * self.batch)
        self._arena.enter()
        try:
            if not self._bound.team.is_ready:
                self._bound.team.start()
            self._job.arena = self._arena.reserve(self._arena_size)
            code = self._run(ctypes.addressof(self._job))
        finally:
            self._arena.busy = False
        if code:
            raise self._bound.error(code, self._data.arrays, self._dims)

    def count(self, figures: Mapping[str, Any]) -> None:
        """A batch that was made in another way, with these figures."""
        rows = min(self.batch, len(self._order) - self.position)
        for name, figure in zip(self.names, self._figures, strict=False):
            figure.sum += float(figures[name]) * rows
        self._job.position += rows
        if self._job.advance:
            counter = ctypes.c_int64.from_address(self._job.counter)
            counter.value += 1

    @property
    def position(self) -> int:
        """Rows of the order done so far."""
        return int(self._job.position)

    @property
    def bound(self) -> BoundEntry:
        """The entry."""
        return self._bound

    @property
    def order(self) -> NDArray[np.int64]:
        """The rows it goes through."""
        return self._order

    def inputs_at(self, position: int) -> dict[str, NDArray[Any]]:
        """The inputs of the batch that starts at a position, by name."""
        rows, inputs = self._order[position : position + self.batch], {}
        for name, array in self._data.arrays.items():
            factor = self._data.axis.factors[name]
            inputs[name] = array[(rows[:, None] * factor + np.arange(factor)).reshape(-1)] if factor else array
        return inputs

    @property
    def is_done(self) -> bool:
        return self.position >= len(self._order)

    @property
    def sums(self) -> tuple[float, ...]:
        """Each figure times the rows of its batch, added up."""
        return tuple(figure.sum for figure in self._figures[: len(self.names)])

    def means(self) -> dict[str, float]:
        """The figures averaged over the rows done so far."""
        rows = max(1, self.position)
        return {name: total / rows for name, total in zip(self.names, self.sums, strict=True)}
