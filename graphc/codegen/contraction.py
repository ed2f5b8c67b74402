"""Contractions: matrix products, convolutions and recurrent cells from one skeleton, broadcast A times vectors of B.

`emit` writes a function that computes, for every m and n,
    acc[m, n] = sum over k of A[m*a_row_stride + sum k_i*a_stride_i] * B[n*b_column_stride + sum k_i*b_stride_i]
with fused multiply-adds and hands each finished register tile to an epilogue. How to say
- A @ B, row-major [M,K] @ [K,N]: one axis KAxis(K, 1, N), a_row_stride K, b_column_stride 1. A transposed operand swaps
  its two strides;
- a convolution of [H,W,C] pixels by [KH,KW,C,O] weights, one row of the result: m is the width of the result, n is O,
  a_row_stride is C times the step, the axes are KAxis(KH, W*C, KW*C*O) and KAxis(KW*C, 1, O): rows of A overlap,
  nothing is copied. Its weight gradient sums over pixels: m counts (kw, c), the axes run over images, rows, columns;
- a recurrent cell: weights laid out [H/lanes][K][gates][lanes] make all gates of a few units one panel, whose epilogue
  updates the cell.

The sum runs over k in order for every tile size, so a row has the same bits whatever the number of rows. Nothing
outside of A and B is read, and they need no alignment beyond that of an element; the workspace should have 64 bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from graphc.codegen.llvm import Function, Index, Module, Value
from graphc.codegen.micro_kernel import amount, emit_micro_kernel, packed_strides
from graphc.codegen.packing import emit_packing, panel_elements
from graphc.codegen.target import Target
from graphc.codegen.tiling import (
    PACK_ROW_TILES,
    Contraction,
    Elements,
    Epilogue,
    Extent,
    KAxis,
    Panel,
    Plan,
    Source,
    Tile,
    plan,
    split,
)

__all__ = ["Contraction", "Elements", "Epilogue", "Extent", "KAxis", "Tile", "emit", "workspace_elements"]


def emit(contraction: Contraction, module: Module, target: Target) -> str:
    """Adds the internal function (ptr a, ptr b, ptr workspace, params ..) to `module`; returns its name."""
    decided = plan(contraction, target)
    f = Function(module, contraction.name, [("ptr", ".a"), ("ptr", ".b"), ("ptr", ".workspace"), *contraction.params])
    _Driver(f, decided, module).columns()
    f.ret()
    return module.add(f)


def workspace_elements(contraction: Contraction, target: Target) -> Elements:
    """The elements (of `scalar`) the function needs at its workspace; false if none."""
    decided = plan(contraction, target)
    if decided.source is Source.IN_PLACE:
        return Elements()
    width, behind = panel_elements(decided)
    factor, names = decided.depth
    return Elements(((width * factor, names), (behind, ())))


class _Driver:
    """The loops over column panels and row tiles of one contraction."""

    def __init__(self, f: Function, decided: Plan, module: Module) -> None:
        self.f, self.plan, self.module = f, decided, module
        self.contraction = decided.contraction
        self.m, self.n = amount(f, self.contraction.m), amount(f, self.contraction.n)
        self.tiles, self.low, self.extra = self._row_tiles()
        self.kernels: dict[tuple[int, Panel], str] = {}

    def _row_tiles(self) -> tuple[Index, Index, Index]:
        """The number of row tiles, the height of the lower ones, and how many are one higher."""
        f, step = self.f, self.plan.height
        if isinstance(self.m, int):
            return -(-self.m // step), 0, 0    # `split` says the rest
        tiles = f.sdiv(f.add(self.m, step - 1), step)
        divisor = f.select(f.icmp("sgt", tiles, 0), tiles, 1)
        low = f.sdiv(self.m, divisor)
        return tiles, low, f.sub(self.m, f.mul(low, divisor))

    def columns(self) -> None:
        """Every column panel, from the first to the last."""
        f = self.f
        if isinstance(self.n, int):
            for first, count, panel in self.plan.panels():
                self._repeat(first, count, panel.vectors * self.plan.lanes, partial(self.panel, panel))
            return
        stop = f.mul(f.sdiv(self.n, self.plan.width), self.plan.width)
        with f.loop(0, stop, self.plan.width, may_be_empty=True) as loop:
            self.panel(Panel(self.plan.vectors, None, self.plan.source), loop.index)
        rest = f.sdiv(f.add(f.sub(self.n, stop), self.plan.lanes - 1), self.plan.lanes)
        f.switch(rest, {edge.vectors: partial(self.panel, edge, stop) for edge in self.plan.edges()})

    def panel(self, panel: Panel, first: Index) -> None:
        """One column panel, packed first if that is the plan."""
        f, contraction = self.f, self.contraction
        b = f.offset(f[".b"], contraction.scalar, f.mul(first, amount(f, contraction.b_column_stride)))
        column = f.const("i64", first) if isinstance(first, int) else first
        if panel.source is Source.PACKED:
            self._pack(b, column, panel)
            self.rows(column, panel, f[".workspace"], [])
        elif panel.source is Source.IN_PLACE:
            self.rows(column, panel, b, [])
        else:
            zero = f.const("i64", 0)
            places = [b, *(f.add(zero, amount(f, axis.b_stride)) for axis in contraction.k)]
            with f.when(f.icmp("sgt", self.tiles, PACK_ROW_TILES), places) as part:
                self._pack(b, column, panel)
                part.next = [f[".workspace"], *(f.add(zero, stride) for stride in packed_strides(f, self.plan))]
            self.rows(column, panel, part.results[0], part.results[1:])

    def _pack(self, b: Value, column: Value, panel: Panel) -> None:
        f = self.f
        columns = f.const("i64", panel.vectors * self.plan.lanes) if panel.valid is None else f.sub(self.n, column)
        f.call(emit_packing(self.plan, self.module, panel), "void", b, f[".workspace"], columns,
               *self._params())

    def rows(self, column: Value, panel: Panel, b: Value, strides: list[Value]) -> None:
        """Every row tile of one panel."""
        f, m = self.f, self.contraction.m

        def tile(height: int, row: Index) -> None:
            a = f.offset(f[".a"], self.contraction.scalar, f.mul(row, amount(f, self.contraction.a_row_stride)))
            f.call(self._kernel(height, panel), "void", a, b, f.add(f.const("i64", 0), row), column, *strides,
                   *self._params())

        if isinstance(m, int):
            for first, count, height in split(m, self.plan.height):
                self._repeat(first, count, height, partial(tile, height))
            return
        with f.loop(0, self.tiles, may_be_empty=True) as loop:
            higher = f.icmp("slt", loop.index, self.extra)
            row = f.add(f.mul(loop.index, self.low), f.select(higher, loop.index, self.extra))
            f.switch(f.add(f.zext(higher, "i64"), self.low),
                     {height: partial(tile, height, row) for height in range(1, self.plan.height + 1)})

    def _kernel(self, height: int, panel: Panel) -> str:
        key = height, panel
        if key not in self.kernels:
            self.kernels[key] = emit_micro_kernel(self.plan, self.module, height, panel)
        return self.kernels[key]

    def _repeat(self, first: int, count: int, size: int, body: Callable[[Index], None]) -> None:
        """Runs the body at first, first + size, .. `count` times."""
        if count == 1:
            body(first)
            return
        with self.f.loop(first, first + count * size, size) as loop:
            body(loop.index)

    def _params(self) -> list[Value]:
        return [self.f[name] for _, name in self.contraction.params]
