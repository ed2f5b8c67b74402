"""The routine `rows`: takes multiples of summed updates from the rows of a table that an index names, in place.

Memory of the other rows is not touched.  Rows are numbered in the order in which the index first names them.  Which
number a row has stands in `position`, one integer for each row of the table, that is never cleared: an entry is true
if the list of rows holds that row at the number that it gives (Briggs and Torczon, "An efficient representation for
sparse sets", 1993).  Then the places of the index are sorted by row, by counting, so that a row is read and written
once and its updates are added in the order of the index.
"""

from __future__ import annotations

from graphc.codegen.kernel import Routine
from graphc.codegen.llvm import Index, Value, const
from graphc.codegen.primitives import llvm_type
from graphc.codegen.scalar_code import ScalarCode
from graphc.ir.dims import Dim, bounds
from graphc.ir.types import I64


def workspace_elements(count: Dim, size: Dim) -> Dim:
    """Integers (i32) that the routine needs for an index of `count` places into `size` rows."""
    return size + 4 * count + 1


def emit(stmt: Routine, code: ScalarCode) -> None:
    """table[r] -= rate * sum of updates[k] for index[k] = r: buffers table, index, updates, rate, work.

    Sizes: places of the index, rows of the table, elements of a row (both known).  An index out of range means the
    nearest row.
    """
    size, width = stmt.sizes[1:]
    assert isinstance(size, int) and isinstance(width, int), "sizes of a parameter are known"
    routine = _Rows(stmt, code, size, width)
    if bounds(stmt.sizes[0])[0] >= 1:
        routine.emit()
    else:
        with code.f.when(code.f.icmp("sgt", routine.count, 0)):
            routine.emit()


class _Rows:
    """The work space is cut into position[size], rows[count], slot_of[count], order[count] and start[count + 1]."""

    def __init__(self, stmt: Routine, code: ScalarCode, size: int, width: int) -> None:
        self.f, self.code, self.size, self.width = code.f, code, size, width
        count = code.dim(stmt.sizes[0])
        self.count = const("i64", count) if isinstance(count, int) else count
        self.kind, self.index_type = llvm_type(stmt.buffers[0].dtype), stmt.buffers[1].dtype
        places = (code.address(buffer, at) for buffer, at in zip(stmt.buffers, stmt.at, strict=True))
        self.table, self.index, self.updates, self.rate, self.position = places
        self.rows = self._place(self.position, size)
        self.slot_of, self.order = self._place(self.rows, self.count), self._place(self.rows, self.f.mul(self.count, 2))
        self.start = self._place(self.order, self.count)

    def _place(self, of: Value, index: Index) -> Value:
        return self.f.offset(of, "i32", index)

    def _get(self, of: Value, index: Index) -> Value:
        return self.f.zext(self.f.load(self._place(of, index), "i32"), "i64")

    def _put(self, value: Value, of: Value, index: Index) -> None:
        self.f.store(self.f.trunc(value, "i32"), self._place(of, index))

    def emit(self) -> None:
        named = self._number_rows()
        self._sort_places(named)
        rate = self.f.load(self.rate, self.kind)
        with self.f.loop(0, named) as loop:
            self._subtract(loop.index, rate)

    def _number_rows(self) -> Value:
        """How many rows are named; start[slot + 1] becomes the number of places that name the slot's row."""
        f, none = self.f, const("i64", 0)
        with f.loop(0, self.count, carried=[none]) as loop:
            (named,) = loop.values
            row = self._row(loop.index)
            found = self._get(self.position, row)
            is_slot = f.icmp("ult", found, named)
            listed = self._get(self.rows, f.select(is_slot, found, none))
            is_known = f.and_(is_slot, f.icmp("eq", listed, row))
            slot = f.select(is_known, found, named)
            self._put(slot, self.position, row)
            self._put(row, self.rows, slot)
            self._put(slot, self.slot_of, loop.index)
            before = f.select(is_known, self._get(self.start, f.add(slot, 1)), none)
            self._put(f.add(before, 1), self.start, f.add(slot, 1))
            loop.next = [f.select(is_known, named, f.add(named, 1))]
        return loop.results[0]

    def _row(self, place: Value) -> Value:
        f, kind = self.f, llvm_type(self.index_type)
        given = self.code.convert(f.load(f.offset(self.index, kind, place), kind), self.index_type, I64)
        positive = f.select(f.icmp("sgt", given, 0), given, const("i64", 0))
        return f.select(f.icmp("slt", positive, self.size), positive, const("i64", self.size - 1))

    def _sort_places(self, named: Value) -> None:
        """order[start[slot] .. start[slot + 1]] are the places that name the slot's row, in the order of the index."""
        f, none = self.f, const("i64", 0)
        self._put(none, self.start, 0)
        with f.loop(0, named, carried=[none]) as loop:
            (begin,) = loop.values
            places = self._get(self.start, f.add(loop.index, 1))
            self._put(begin, self.start, f.add(loop.index, 1))  # moves on to the end of the slot as it is filled
            loop.next = [f.add(begin, places)]
        with f.loop(0, self.count) as loop:
            after = f.add(self._get(self.slot_of, loop.index), 1)
            free = self._get(self.start, after)
            self._put(loop.index, self.order, free)
            self._put(f.add(free, 1), self.start, after)

    def _subtract(self, slot: Value, rate: Value) -> None:
        """row - rate * (0 + first update + second + ..), a vector at a time."""
        f = self.f
        lanes = f.target.vector_bytes // (8 if self.kind == "double" else 4)
        row = f.offset(self.table, self.kind, f.mul(self._get(self.rows, slot), self.width))
        begin, end = self._get(self.start, slot), self._get(self.start, f.add(slot, 1))
        factor = f.splat(rate, lanes)
        full = self.width // lanes * lanes
        if full:
            with f.loop(0, full, lanes) as loop:
                self._subtract_vector(f.offset(row, self.kind, loop.index), loop.index, begin, end, factor, None)
        if full < self.width:
            mask = f.tail_mask(self.width - full, lanes)
            self._subtract_vector(f.offset(row, self.kind, full), full, begin, end, factor, mask)

    def _subtract_vector(
        self, row: Value, column: Index, begin: Value, end: Value, factor: Value, mask: Value | None
    ) -> None:
        f = self.f
        with f.loop(begin, end, carried=[const(factor.type, 0.0)]) as loop:
            place = f.add(f.mul(self._get(self.order, loop.index), self.width), column)
            update = self._load(f.offset(self.updates, self.kind, place), factor.type, mask)
            loop.next = [f.fadd(loop.values[0], update)]
        value = f.fsub(self._load(row, factor.type, mask), f.fmul(factor, loop.results[0]))
        if mask is None:
            f.store(value, row)
        else:
            f.masked_store(value, row, mask)

    def _load(self, at: Value, type: str, mask: Value | None) -> Value:
        return self.f.load(at, type) if mask is None else self.f.masked_load(at, type, mask)
