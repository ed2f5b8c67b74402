"""The routine `sort`: the order of the elements of one line, by a stable merge sort of their numbers.

Runs of 1, 2, 4, .. neighbours are merged in turns between the two rows of the work space: n * ceil(log2 n) steps
without a branch that depends on the data.  Only numbers move; keys are read where they lie.
"""

from __future__ import annotations

from graphc.codegen.kernel import Routine
from graphc.codegen.llvm import Function, Index, Value, const
from graphc.codegen.scalar_code import ScalarCode, memory_type
from graphc.ir.dims import bounds
from graphc.ir.types import DType


def emit(stmt: Routine, code: ScalarCode) -> None:
    """order[i] = the number of the i-th key: buffers keys, order, work; sizes elements, step of keys, step of order.

    The option says whether the greatest comes first.  NaN counts as greater than every number.
    """
    f = code.f
    keys, order, work = (code.address(buffer, at) for buffer, at in zip(stmt.buffers, stmt.at, strict=True))
    size, key_step, order_step = (code.dim(d) for d in stmt.sizes)
    count = const("i64", size) if isinstance(size, int) else size
    sort = _Sort(f, keys, key_step, count, stmt.buffers[0].dtype, bool(stmt.options[0]))
    may_be_empty = bounds(stmt.sizes[0])[0] < 1
    with f.loop(0, count, may_be_empty=may_be_empty) as loop:
        f.store(f.trunc(loop.index, "i32"), f.offset(work, "i32", loop.index))
    passes = f.sub(64, f.intrinsic("llvm.ctlz", "i64", f.sub(count, 1), const("i1", 0)))
    if may_be_empty:  # nothing to sort: of -1 every bit counts
        passes = f.select(f.icmp("slt", count, 1), const("i64", 0), passes)
    rows = [work, f.offset(work, "i32", count)]
    with f.loop(0, passes, carried=rows, may_be_empty=True) as sweep:
        sort.merge_runs(f.shl(const("i64", 1), sweep.index), *sweep.values)
        sweep.next = sweep.values[::-1]
    sorted_row = sweep.results[0]
    with f.loop(0, count, may_be_empty=may_be_empty) as loop:
        number = f.load(f.offset(sorted_row, "i32", loop.index), "i32")
        f.store(number, f.offset(order, "i32", f.mul(loop.index, order_step)))


class _Sort:
    def __init__(self, f: Function, keys: Value, step: Index, count: Value, dtype: DType, descending: bool) -> None:
        self.f, self.keys, self.step, self.count = f, keys, step, count
        self.dtype, self.descending = dtype, descending

    def merge_runs(self, width: Value, source: Value, target: Value) -> None:
        """Merges each two neighbouring runs of `width` numbers of the source into one of the target."""
        f = self.f
        pair = f.shl(width, 1)
        start = const("i64", 0)
        with f.loop(0, self.count, carried=[start, start], may_be_empty=True) as loop:
            begin = f.and_(loop.index, f.sub(0, pair))
            middle, end = self._least(f.add(begin, width)), self._least(f.add(begin, pair))
            is_first = f.icmp("eq", loop.index, begin)
            left = f.select(is_first, begin, loop.values[0])
            right = f.select(is_first, middle, loop.values[1])
            a, b = self._number(source, left), self._number(source, right)
            is_left_over = f.icmp("sge", left, middle)
            is_right_open = f.icmp("slt", right, end)
            takes_right = f.and_(is_right_open, f.or_(is_left_over, self._is_before(b, a)))
            f.store(f.select(takes_right, b, a), f.offset(target, "i32", loop.index))
            taken = f.zext(takes_right, "i64")
            loop.next = [f.add(left, f.sub(1, taken)), f.add(right, taken)]

    def _least(self, place: Value) -> Value:
        return self.f.select(self.f.icmp("slt", place, self.count), place, self.count)

    def _number(self, source: Value, place: Value) -> Value:
        """The number at a place of a row; of a run that is used up, some number that is not taken."""
        last = self.f.sub(self.count, 1)
        inside = self.f.select(self.f.icmp("slt", place, last), place, last)
        return self.f.load(self.f.offset(source, "i32", inside), "i32")

    def _is_before(self, a: Value, b: Value) -> Value:
        """Whether the key of number a must stand before that of number b, which has the smaller number."""
        x, y = (self._key(b), self._key(a)) if self.descending else (self._key(a), self._key(b))
        if not self.dtype.is_float:
            return self.f.icmp("ult" if self.dtype.kind == "u" else "slt", x, y)
        last = self.f.and_(self.f.fcmp("ord", x, x), self.f.fcmp("uno", y, y))
        return self.f.or_(self.f.fcmp("olt", x, y), last)

    def _key(self, number: Value) -> Value:
        place = self.f.mul(self.f.zext(number, "i64"), self.step)
        return self.f.load(self.f.offset(self.keys, memory_type(self.dtype), place), memory_type(self.dtype))
