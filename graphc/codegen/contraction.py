"""Contractions: matrix products, convolutions and recurrent cells from one skeleton, broadcast A times vectors of B.

`emit` writes a function that computes, for every m and n,
    acc[m, n] = sum over k of A[m*a_row_stride + sum k_i*a_stride_i] * B[n*b_column_stride + sum k_i*b_stride_i]
with fused multiply-adds and hands each finished register tile to an epilogue. How to say
- A @ B, row-major [M,K] @ [K,N]: one axis KAxis(K, 1, N), a_row_stride K, b_column_stride 1. A transposed operand swaps
  its two strides;
- a convolution of [H,W,C] pixels by [KH,KW,C,O] weights, one row of the result: m is the width of the result, n is O,
  a_row_stride is C times the step, the axes are KAxis(KH, W*C, KW*C*O) and KAxis(KW*C, 1, O): rows of A overlap,
  nothing is copied. Its weight gradient sums over pixels: m counts (kw, c), the axes run over images, rows, columns;
- weights laid out beforehand as [N/width][K][width]: `vectors` and `panel_stride`. In a recurrent cell the columns of a
  panel are [gates][lanes], so that an epilogue has all gates of some units and updates their cells.

The order of a sum over k does not depend on the tile, so a row has the same bits whatever the number of rows. Nothing
outside of A and B is read, and they need no alignment beyond that of an element; the workspace should have 64 bytes.
Every extent of k is at least 1. If the contraction is `split`, the function takes the number of a part and how many
there are behind the workspace, and computes the panels, or the row tiles, that are this part's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from graphc.codegen import waiting
from graphc.codegen.contraction_spec import Announce, Contraction, Elements, Epilogue, Extent, KAxis, Tile
from graphc.codegen.llvm import Function, Index, Module, Value, const
from graphc.codegen.micro_kernel import amount, asks_ahead, emit_micro_kernel, packed_strides
from graphc.codegen.packing import emit_packing, panel_elements
from graphc.codegen.target import Target
from graphc.codegen.tiling import Panel, Plan, Source, plan

__all__ = [
    "PART",
    "Announce",
    "Contraction",
    "Elements",
    "Epilogue",
    "Extent",
    "KAxis",
    "Tile",
    "emit",
    "share",
    "workspace_elements",
]

PART = (".part", ".parts")  # i64 parameters of what is split between threads


def emit(contraction: Contraction, module: Module, target: Target) -> str:
    """Adds the internal function (ptr a, ptr b, ptr workspace, params ..) to `module`; returns its name."""
    decided = plan(contraction, target)
    part = [("i64", name) for name in PART] if contraction.split else []
    operands = [("ptr", ".a"), ("ptr", ".b"), ("ptr", ".workspace")]
    f = Function(module, contraction.name, [*operands, *part, *contraction.params])
    row = _one_row(decided, target)
    if row:
        alone = f.icmp("eq", amount(f, contraction.m), 1)
        with f.when(alone):
            _Driver(f, row, module).emit()
        with f.when(f.xor(alone, 1)):
            _Driver(f, decided, module).emit()
    else:
        _Driver(f, decided, module).emit()
    f.ret()
    return module.add(f)


def share(f: Function, units: Index, part: Value, parts: Value) -> tuple[Index, Index]:
    """The first unit of a part and the one behind its last: as even as can be, and no part more than the first."""
    up = f.sub(parts, 1)
    low, high = (f.sdiv(f.add(f.mul(units, number), up), parts) for number in (part, f.add(part, 1)))
    return low, high


def _one_row(decided: Plan, target: Target) -> Plan | None:
    """The plan for a run-time m that turns out to be 1, if its wider tiles are worth their code: B in place."""
    n = decided.contraction.n
    known_or_fixed = isinstance(decided.contraction.m, int) or decided.contraction.vectors is not None
    if known_or_fixed or not isinstance(n, int) or n <= decided.width:
        return None
    row = plan(replace(decided.contraction, m=1), target)
    return row if row.source is Source.IN_PLACE else None


def workspace_elements(contraction: Contraction, target: Target) -> Elements:
    """The elements (of `scalar`) the function needs at its workspace, split or not; false if none."""
    decided, other = plan(contraction, target), plan(replace(contraction, split=not contraction.split), target)
    partial, terms = max(decided.partial_elements, other.partial_elements), []
    if decided.source is not Source.IN_PLACE:
        width, behind = panel_elements(decided)
        factor, names = decided.depth
        terms, partial = [(width * decided.group * factor, names)], partial + behind
    return Elements((*terms, *([(partial, ())] if partial else [])))


@dataclass(frozen=True)
class _Block:
    """Part of the work: a group of panels of one kind by some indices of the outermost k. B is read from `b` on."""

    panel: Panel
    first: Index  # column
    count: Index  # panels
    k: Index  # first index of the outermost k
    depth: Index  # how many indices
    b: Value
    panel_stride: Index  # elements from one panel to the next
    strides: tuple[Value, ...]  # of k in B, where the kernel does not know them


class _Driver:
    """The loops of one contraction.

    groups of panels > superblocks of row tiles (if k is cut) > blocks of k > row blocks > panels > row tiles
    """

    def __init__(self, f: Function, decided: Plan, module: Module) -> None:
        self.f, self.plan, self.module = f, decided, module
        self.contraction = decided.contraction
        self.m, self.n = amount(f, self.contraction.m), amount(f, self.contraction.n)
        self.tiles = f.sdiv(f.add(self.m, decided.height - 1), decided.height)
        divisor = self._maximum(self.tiles, 1)
        self.low = f.sdiv(self.m, divisor)  # the height of a row tile, of the first `extra` ones is one more
        self.extra = f.sub(self.m, f.mul(self.low, divisor))
        self.packed = self._at(f[".workspace"], decided.partial_elements)  # panels, behind the sums
        self.kernels: dict[tuple[int, Panel], str] = {}
        self.tile_range: tuple[Index, Index] = 0, self.tiles
        self.panel_range: tuple[Index, Index] | None = None  # None: all
        self.waiting = waiting.room(f, decided) if decided.waits else None

    def emit(self) -> None:
        """All of it, or the part that is asked for."""
        if not self.contraction.split:
            self.columns()
            return
        f = self.f
        self._take_part()
        low, high = self.tile_range
        with f.when(f.icmp("slt", self._i64(low), high)):  # to pack for no tile would compute one
            self.columns()

    def _take_part(self) -> None:
        """Panels are shared out, or row tiles, whichever is more even; panels if both are. Row tiles if asked to."""
        f, tiles = self.f, self.tiles
        part, parts = (f[name] for name in PART)
        panels = self._panels()
        if self.contraction.row_tile is not None or panels == 1:
            self.tile_range = share(f, tiles, part, parts)
            return
        if tiles == 1:
            self.panel_range = share(f, panels, part, parts)
            return
        most_panels, most_tiles = (f.sdiv(f.sub(f.add(parts, n), 1), parts) for n in (panels, tiles))
        by_panels = f.icmp("sle", self._i64(f.mul(most_panels, tiles)), f.mul(most_tiles, panels))
        one = const("i64", 1)
        self.panel_range = share(f, panels, *self._if(by_panels, (part, parts), (const("i64", 0), one)))
        self.tile_range = share(f, tiles, *self._if(by_panels, (const("i64", 0), one), (part, parts)))

    def _if(self, condition: Value, yes: tuple[Value, Value], no: tuple[Value, Value]) -> tuple[Value, Value]:
        return self.f.select(condition, yes[0], no[0]), self.f.select(condition, yes[1], no[1])

    def _panels(self) -> Index:
        """How many panels of columns there are."""
        if isinstance(self.n, int):
            return sum(count for _, count, _ in self.plan.panels())
        return self.f.sdiv(self.f.add(self.n, self.plan.width - 1), self.plan.width)

    def columns(self) -> None:
        """Every group of column panels, from the first to the last."""
        f, width, group = self.f, self.plan.width, self.plan.group
        if isinstance(self.n, int):
            before = 0
            for first, count, panel in self.plan.panels():
                self._chunks(*self._own(before, count), group, partial(self.group, panel, first))
                self._last_tile(panel)
                before += count
            return
        full = f.sdiv(self.n, width)
        kind = Panel(self.plan.vectors, None, self.plan.source)
        self._chunks(*self._own(0, full), group, partial(self.group, kind, 0))
        self._last_tile(kind)
        stop = f.mul(full, width)
        rest = f.sdiv(f.add(f.sub(self.n, stop), self.plan.lanes - 1), self.plan.lanes)
        if self.panel_range is not None:
            low, high = self.panel_range
            own = f.and_(f.icmp("sle", self._i64(low), full), f.icmp("sgt", self._i64(high), full))
            rest = f.select(own, self._i64(rest), 0)
        f.switch(self._i64(rest), {edge.vectors: partial(self._edge, edge, stop) for edge in self.plan.edges()})

    def _edge(self, edge: Panel, first: Index) -> None:
        self.group(edge, first, 0, 1)
        self._last_tile(edge)

    def _last_tile(self, panel: Panel) -> None:
        """The epilogue of the last tile of panels of one kind, for which no other has waited."""
        if self.waiting is not None:
            waiting.finish(self.f, self.plan, panel, self.waiting)

    def _own(self, before: int, count: Index) -> tuple[Index, Index]:
        """This part of `count` panels that come behind `before` others."""
        if self.panel_range is None:
            return 0, count
        low, high = (self.f.sub(end, before) for end in self.panel_range)
        return self._maximum(low, 0), self._minimum(high, count)

    def group(self, panel: Panel, first: Index, start: Index, stop: Index) -> None:
        """The panels from `start` to `stop` of those of one kind, which begin at column `first`; all rows and all k."""
        f = self.f
        first = f.add(f.mul(start, panel.vectors * self.plan.lanes), first)
        count = f.sub(stop, start)
        depth = amount(self.f, self.contraction.k[0].extent)
        step = self.plan.k_block
        whole = self._maximum(depth, 1)  # one block at least: sums of nothing are stored too

        def superblock(low: Index, high: Index) -> None:
            def block(k: Index, end: Index) -> None:
                self.block(panel, first, count, k, self._minimum(end, depth), low, high)

            self._chunks(0, whole, step, block)

        self._chunks(*self.tile_range, self.plan.kept_tiles, superblock)

    def block(self, panel: Panel, first: Index, count: Index, k: Index, end: Index, low: Index, high: Index) -> None:
        """A group of panels by some k and the row tiles from `low` to `high`; B is packed first if that is the plan."""
        f, contraction = self.f, self.contraction
        column_stride = amount(f, contraction.b_column_stride)
        panel_stride, start = f.mul(column_stride, panel.vectors * self.plan.lanes), f.mul(first, column_stride)
        if contraction.panel_stride is not None:
            panel_stride = amount(f, contraction.panel_stride)
            start = f.mul(f.sdiv(first, self.plan.width), panel_stride)
        b = self._at(self._at(f[".b"], start), f.mul(k, amount(f, contraction.k[0].b_stride)))
        in_place = _Block(panel, first, count, k, f.sub(end, k), b, panel_stride, ())
        if panel.source is Source.IN_PLACE:
            self.row_blocks(in_place, low, high)
            return
        factor, names = self.plan.depth
        stride: Index = self.plan.width * factor
        for name in names:
            stride = f.mul(stride, f[name])
        if panel.source is Source.PACKED:
            packed = replace(in_place, b=self.packed, panel_stride=stride)
            if self.plan.packs_itself:
                self.packing_rows(replace(in_place, panel=replace(panel, source=Source.PACKING)), packed, low, high)
            else:
                self._pack(in_place, stride)
                self.row_blocks(packed, low, high)
            return
        given = [in_place.panel_stride, *(amount(f, axis.b_stride) for axis in contraction.k)]
        with f.when(f.icmp("sgt", self.tiles, self.plan.late_pack_tiles), [b, *map(self._i64, given)]) as part:
            self._pack(in_place, stride)
            part.next = [self.packed, *map(self._i64, [stride, *packed_strides(f, self.plan)])]
        at, panel_stride, *strides = part.results
        self.row_blocks(replace(in_place, b=at, panel_stride=panel_stride, strides=tuple(strides)), low, high)

    def _pack(self, block: _Block, stride: Index) -> None:
        f, panel = self.f, block.panel
        name = emit_packing(self.plan, self.module, panel)
        columns = f.sub(self.n, block.first) if panel.valid is not None else panel.vectors * self.plan.lanes
        cut = [self._i64(block.depth)] if self.plan.k_block else []
        self._each(
            0,
            block.count,
            lambda i: f.call(
                name,
                "void",
                self._at(block.b, f.mul(i, block.panel_stride)),
                self._at(self.packed, f.mul(i, stride)),
                self._i64(columns),
                *cut,
                *self._params(),
            ),
        )

    def row_blocks(self, block: _Block, low: Index, high: Index, done: Index | None = None) -> None:
        """The row tiles from `low` to `high`, cut so that their part of A stays in the cache for all panels.

        Those before `done` are left out.
        """

        def rows(start: Index, stop: Index) -> None:
            self._each(0, block.count, lambda i: self._each(start, stop, lambda tile: self.tile(block, i, tile, low)))

        self._chunks(low if done is None else done, high, self.plan.row_block, rows)

    def packing_rows(self, in_place: _Block, packed: _Block, low: Index, high: Index) -> None:
        """`row_blocks` whose first row tile packs each panel for the others; they ask for the panel that is next."""
        f, step = self.f, self.plan.row_block
        stop = self._minimum(f.add(low, step), high) if step else high

        def panel(i: Index) -> None:
            self.tile(in_place, i, low, low, [self._at(packed.b, f.mul(i, packed.panel_stride))])
            second = f.add(low, 1)
            ask = self._ask_for_next(in_place, i, second)
            self._each(second, stop, lambda tile: self.tile(packed, i, tile, low, ask(tile)))

        self._each(0, in_place.count, panel)
        if step:
            self.row_blocks(packed, low, high, stop)

    def _ask_for_next(self, block: _Block, i: Index, second: Index) -> Callable[[Index], Sequence[Value]]:
        """What the row tiles from `second` on are told to ask for: a part each of the panel behind panel `i` of B."""
        f, rows = self.f, self.plan.ahead * self.plan.height
        if not rows:
            return lambda tile: ()
        k_stride, following = amount(f, self.contraction.k[0].b_stride), f.add(i, 1)
        further = f.mul(block.depth, k_stride)  # behind the last panel comes the first one, with the next k
        start = self._choose(following, block.count, f.mul(following, block.panel_stride), further)

        def ask(tile: Index) -> Sequence[Value]:
            part = f.mul(f.sub(tile, second), f.mul(k_stride, rows))
            return self._at(block.b, f.add(start, part)), const("i1", 1)

        return ask

    def tile(self, block: _Block, i: Index, tile: Index, low: Index, to: Sequence[Value] = ()) -> None:
        """One register tile: the row tile `tile` by panel `i` of the block."""
        f, contraction, panel = self.f, self.contraction, block.panel
        row = f.add(f.mul(tile, self.low), 0 if self.extra == 0 else self._minimum(tile, self.extra))
        a = self._at(
            self._at(f[".a"], f.mul(row, amount(f, contraction.a_row_stride))),
            f.mul(block.k, amount(f, contraction.k[0].a_stride)),
        )
        column = f.add(block.first, f.mul(i, panel.vectors * self.plan.lanes))
        if asks_ahead(self.plan, panel) and not to:
            to = [block.b, const("i1", 0)]
        arguments = [
            a,
            self._at(block.b, f.mul(i, block.panel_stride)),
            self._i64(row),
            self._i64(column),
            *block.strides,
            *to,
        ]
        if self.waiting is not None:
            arguments.append(self.waiting)
        if self.plan.k_block:
            arguments += [self._i64(block.depth), *self._partial(block, i, f.sub(tile, low))]
            if self.contraction.is_cut:
                arguments.append(self._i64(block.k))

        if self.contraction.seen is not None and panel.source is not Source.PACKING:
            most = f.add(self.low, 0 if self.extra == 0 else 1)
            end = f.add(f.add(row, f.sub(most, 1)), amount(f, self.contraction.seen))
            with f.when(f.icmp("slt", self._i64(column), end)):
                self._call(panel, tile, arguments)
        else:
            self._call(panel, tile, arguments)

    def _call(self, panel: Panel, tile: Index, arguments: Sequence[Value]) -> None:
        """Calls the kernel of the row tile's height."""
        f = self.f

        def call(height: int) -> None:
            f.call(self._kernel(height, panel), "void", *arguments, *self._params())

        heights = range(1, self.plan.height + 1)
        if isinstance(self.low, int) and isinstance(self.extra, int):
            heights = range(self.low, self.low + (2 if self.extra else 1))
        if len(heights) == 1:
            call(heights[0])
        elif isinstance(tile, int) and isinstance(self.low, int) and isinstance(self.extra, int):
            call(self.low + (tile < self.extra))
        else:
            higher = f.zext(f.icmp("slt", tile, self.extra), "i64")
            f.switch(f.add(higher, self.low), {height: partial(call, height) for height in heights})

    def _partial(self, block: _Block, i: Index, tile: Index) -> list[Value]:
        """Where the sums of a tile stay between blocks of k, whether there are any, and whether more blocks come."""
        f, contraction = self.f, self.contraction
        size = self.plan.height * self.plan.width
        place = f.add(f.mul(tile, self.plan.group * size), f.mul(i, size))
        end, all_k = f.add(block.k, block.depth), amount(f, contraction.k[0].extent)
        return [
            self._at(f[".workspace"], place),
            f.icmp("sgt", self._i64(block.k), 0),
            f.icmp("slt", self._i64(end), all_k),
        ]

    def _kernel(self, height: int, panel: Panel) -> str:
        key = height, panel
        if key not in self.kernels:
            self.kernels[key] = emit_micro_kernel(self.plan, self.module, height, panel)
        return self.kernels[key]

    def _params(self) -> list[Value]:
        return [self.f[name] for _, name in self.contraction.params]

    # ---- loops over numbers that may be known ------------------------------------------------------------------------

    def _each(self, low: Index, high: Index, body: Callable[[Index], object]) -> None:
        """The body for low, low + 1, .. below high; without a loop if that is one number."""
        if isinstance(low, int) and high == low + 1:
            body(low)
            return
        with self.f.loop(low, high, may_be_empty=True) as loop:
            body(loop.index)

    def _chunks(self, low: Index, high: Index, step: int | None, body: Callable[[Index, Index], None]) -> None:
        """The body for (start, stop) of pieces of at most `step`; None and what is known to be short stay whole."""
        if step is None or (isinstance(low, int) and isinstance(high, int) and high - low <= step):
            body(low, high)
            return
        with self.f.loop(low, high, step, may_be_empty=True) as loop:
            body(loop.index, self._minimum(self.f.add(loop.index, step), high))

    def _choose(self, a: Index, b: Index, less: Index, otherwise: Index) -> Index:
        """`less` if a < b."""
        if isinstance(a, int) and isinstance(b, int):
            return less if a < b else otherwise
        return self.f.select(self.f.icmp("slt", self._i64(a), b), self._i64(less), otherwise)

    def _minimum(self, a: Index, b: Index) -> Index:
        if isinstance(a, int) and isinstance(b, int):
            return min(a, b)
        f = self.f
        return f.select(f.icmp("slt", self._i64(a), b), self._i64(a), b)

    def _maximum(self, a: Index, b: Index) -> Index:
        if isinstance(a, int) and isinstance(b, int):
            return max(a, b)
        f = self.f
        return f.select(f.icmp("sgt", self._i64(a), b), self._i64(a), b)

    def _i64(self, index: Index) -> Value:
        return const("i64", index) if isinstance(index, int) else index

    def _at(self, pointer: Value, index: Index) -> Value:
        return self.f.offset(pointer, self.contraction.scalar, index)
