"""Copies a column panel of B into the workspace as [k][width]: vectors there are contiguous, whatever B's layout.

Three ways: rows of vectors where the columns of B are neighbours; square in-register transposes where the innermost k
are; else element by element. Lanes beyond the last column are zeros or copies of columns: they only reach lanes of
the accumulators that the epilogue masks. Nothing beyond B's own elements is read.
"""

from __future__ import annotations

from collections.abc import Callable

from graphc.codegen.llvm import Function, Index, Module, Value, known, vector
from graphc.codegen.micro_kernel import amount, count_of, packed_strides
from graphc.codegen.tiling import Panel, Plan

_AHEAD = 32  # rows of B asked for in advance when they are copied


def emit_packing(plan: Plan, module: Module, panel: Panel) -> str:
    """Adds the function (ptr b, ptr panel, i64 columns, params ..) which packs one panel; returns its name.

    `columns` are those of the panel, of which a full one has `plan.width`.
    """
    f = Function(
        module,
        f"{plan.contraction.name}.pack{panel.vectors}",
        [
            ("ptr", ".b"),
            ("ptr", ".panel"),
            ("i64", ".columns"),
            *([("i64", ".count")] if plan.k_block else []),
            *plan.contraction.params,
        ],
    )
    packing = _Packing(f, plan, panel)
    if plan.contraction.b_column_stride == 1:
        packing.over_axes(0, f[".b"], f[".panel"], packing.copy_rows)
    elif plan.contraction.k[-1].b_stride == 1:
        packing.over_axes(0, f[".b"], f[".panel"], packing.transpose_rows)
    else:
        packing.over_axes(0, f[".b"], f[".panel"], packing.copy_elements)
    f.ret()
    return module.add(f)


def panel_elements(plan: Plan) -> tuple[int, int]:
    """Elements of a packed panel for each k, and those more that packing may write behind the last k."""
    innermost = (plan.k_block if len(plan.contraction.k) == 1 else None) or plan.contraction.k[-1].extent
    behind = -innermost % plan.lanes if isinstance(innermost, int) else plan.lanes - 1
    return plan.width, behind * plan.width


class _Packing:
    def __init__(self, f: Function, plan: Plan, panel: Panel) -> None:
        self.f, self.plan, self.panel = f, plan, panel
        self.lanes, self.scalar = plan.lanes, plan.contraction.scalar
        self.vector = vector(self.scalar, plan.lanes)
        self.full = panel.valid in (None, plan.lanes)
        self.column_stride = amount(f, plan.contraction.b_column_stride)
        self.extent = count_of(f, plan, len(plan.contraction.k) - 1)
        self.packed_strides = packed_strides(f, plan)

    def over_axes(self, level: int, b: Value, to: Value, innermost: Callable[[Value, Value], None]) -> None:
        """Runs `innermost(b, to)` for every index of all axes but the last."""
        f, axes = self.f, self.plan.contraction.k
        if level == len(axes) - 1:
            innermost(b, to)
            return
        with f.loop(0, count_of(f, self.plan, level), carried=[b, to], may_be_empty=True) as loop:
            at, at_to = loop.values
            self.over_axes(level + 1, at, at_to, innermost)
            loop.next = [self._at(at, amount(f, axes[level].b_stride)), self._at(at_to, self.packed_strides[level])]

    def copy_rows(self, b: Value, to: Value) -> None:
        """Whole vectors; only the last of an edge panel is masked."""
        f, inner = self.f, self.plan.contraction.k[-1]
        if not (self.full or f.target.masked):
            self.copy_elements(b, to)
            return
        stride = amount(f, inner.b_stride)
        last = self.panel.vectors - 1
        mask = None if self.full else f.tail_mask(f.sub(f[".columns"], last * self.lanes), self.lanes)
        with f.loop(0, self.extent, carried=[b, to], may_be_empty=True) as loop:
            at, at_to = loop.values
            ahead = self._at(at, f.mul(stride, _AHEAD))
            for v in range(self.panel.vectors):
                f.prefetch(self._at(ahead, v * self.lanes))
                source = self._at(at, v * self.lanes)
                value = f.masked_load(source, self.vector, mask) if mask and v == last else f.load(source, self.vector)
                f.store(value, self._at(at_to, v * self.lanes))
            loop.next = [self._at(at, stride), self._at(at_to, self.plan.width)]

    def transpose_rows(self, b: Value, to: Value) -> None:
        """Squares of lanes columns, contiguous in k, turned in registers; all of a square is stored.

        What lies behind the last k is overwritten later or is the slack that `panel_elements` counts.
        """
        f, extent = self.f, self.extent
        count = known(extent)
        ragged = count is None or count % self.lanes != 0
        stop = extent
        if ragged and not f.target.masked:
            stop = f.and_(extent, -self.lanes)
        with f.loop(0, stop, self.lanes, may_be_empty=True) as k:
            mask = f.tail_mask(f.sub(extent, k.index), self.lanes) if ragged and f.target.masked else None
            at, at_to = self._at(b, k.index), self._at(to, f.mul(k.index, self.plan.width))
            with f.loop(0, self.panel.vectors * self.lanes, self.lanes) as j:
                self._transpose(at, self._at(at_to, j.index), j.index, mask)
        if ragged and not f.target.masked:
            self._copy_from(stop, b, to)

    def _transpose(self, b: Value, to: Value, column: Value, mask: Value | None) -> None:
        f = self.f
        rows = []
        for r in range(self.lanes):
            source = self._at(b, f.mul(self._clamp(f.add(column, r)), self.column_stride))
            rows.append(f.masked_load(source, self.vector, mask) if mask else f.load(source, self.vector))
        for r, row in enumerate(transpose(f, rows)):
            f.store(row, self._at(to, r * self.plan.width))

    def copy_elements(self, b: Value, to: Value) -> None:
        """One element after the other."""
        self._copy_from(0, b, to)

    def _copy_from(self, first: Index, b: Value, to: Value) -> None:
        f, inner = self.f, self.plan.contraction.k[-1]
        with f.loop(first, self.extent, may_be_empty=True) as k:
            at = self._at(b, f.mul(k.index, amount(f, inner.b_stride)))
            at_to = self._at(to, f.mul(k.index, self.plan.width))
            with f.loop(0, self.panel.vectors * self.lanes) as j:
                source = self._at(at, f.mul(self._clamp(j.index), self.column_stride))
                f.store(f.load(source, self.scalar), self._at(at_to, j.index))

    def _clamp(self, column: Value) -> Value:
        """A column of B: beyond an edge the last one again."""
        if self.full:
            return column
        last = self.f.sub(self.f[".columns"], 1)
        return self.f.select(self.f.icmp("slt", column, last), column, last)

    def _at(self, pointer: Value, index: Index) -> Value:
        return self.f.offset(pointer, self.scalar, index)


def transpose(f: Function, rows: list[Value]) -> list[Value]:
    """The transpose of a square of vectors: log2(lanes) stages of shuffles of two, which swap ever larger blocks."""
    lanes, block = len(rows), 1
    while block < lanes:
        low = [lane if not lane & block else (lane ^ block) + lanes for lane in range(lanes)]
        high = [lane | block if not lane & block else lane + lanes for lane in range(lanes)]
        following = list(rows)
        for i in range(lanes):
            if not i & block:
                following[i] = f.shuffle(rows[i], rows[i | block], low)
                following[i | block] = f.shuffle(rows[i], rows[i | block], high)
        rows, block = following, block * 2
    return rows
