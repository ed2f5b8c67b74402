"""The innermost function of a contraction: one register tile over the whole of k, then the epilogue.

For every k the vectors of B are loaded, each row's element of A is broadcast, and all accumulators take one fused
multiply-add; they are phis of the loop over k, which keeps them in registers. Each sum runs over k in the same order,
whatever the height of the tile: a row's result does not depend on how many rows there are.

Where B is one vector wide and rows of A overlap, the taps of a convolution share what they read of A: a step is for all
taps, whose vectors of B are loaded first, and each element of A takes part in the sums of several rows.

An epilogue may run amid the sums of the next tile (graphc.codegen.waiting), a vector in each of as many parts of them.
What the epilogue will read from memory is asked for meanwhile, row by row of the tile: all at once, the requests would
hold up the loads of B.
"""

from __future__ import annotations

from collections.abc import Iterator

from graphc.codegen import bfloat, waiting
from graphc.codegen.contraction_spec import Announce, Extent, KAxis, Tile
from graphc.codegen.llvm import Function, Index, Module, Value, const, known, vector
from graphc.codegen.tiling import Panel, Plan, Source

_ROW_GROUP = 3  # rows reached from one pointer when their distance is a register: p, p + d, p + 2d


def amount(f: Function, extent: Extent) -> Index:
    """An extent as an operand: the number, or the parameter of that name."""
    return f[extent] if isinstance(extent, str) else extent


def count_of(f: Function, plan: Plan, level: int) -> Index:
    """How many indices of an axis of k there are: those of the block, if the outermost is cut."""
    return f[".count"] if plan.k_block and level == 0 else amount(f, plan.contraction.k[level].extent)


def kernel_params(plan: Plan, panel: Panel) -> list[tuple[str, str]]:
    """The parameters of a micro kernel.

    The strides of B are among them if it is read from either place; if k is cut into blocks: how many indices of the
    outermost k, whether sums of earlier blocks are at .partial, whether more blocks follow, and, if A may be zero
    for some k, which is the first of the block. A kernel that packs
    is told where to; one that asks for another panel of B: from where on, and whether it shall; one whose tile waits
    for its epilogue: where.
    """
    params = [("ptr", ".a"), ("ptr", ".b"), ("i64", ".row"), ("i64", ".column")]
    if panel.source is Source.EITHER:
        params += [("i64", f".stride{i}") for i in range(len(plan.contraction.k))]
    if panel.source is Source.PACKING:
        params.append(("ptr", ".panel"))
    if asks_ahead(plan, panel):
        params += [("ptr", ".ahead"), ("i1", ".asks")]
    if plan.waits:
        params.append(("ptr", waiting.PARAM))
    if plan.k_block:
        params += [("i64", ".count"), ("ptr", ".partial"), ("i1", ".later"), ("i1", ".more")]
        if plan.contraction.is_cut:
            params.append(("i64", ".first"))
    return [*params, *plan.contraction.params]


def asks_ahead(plan: Plan, panel: Panel) -> bool:
    """Whether a kernel can ask for a part of the panel to be packed next."""
    return bool(plan.ahead) and panel.source is Source.PACKED


def has_parts(plan: Plan, panel: Panel) -> bool:
    """Whether something is done amid the sums, between parts of them."""
    announces = plan.contraction.announce is not None or plan.contraction.fetch is not None
    return announces or asks_ahead(plan, panel) or plan.waits


def emit_micro_kernel(plan: Plan, module: Module, height: int, panel: Panel) -> str:
    """Adds the function of one register tile, with `kernel_params`; returns its name."""
    f = Function(module, f"{plan.contraction.name}.{height}x{panel.vectors}", kernel_params(plan, panel))
    body = _Body(f, plan, height, panel)
    accumulators = body.zeros()
    if plan.k_block:
        with f.when(f[".later"], accumulators) as part:
            part.next = [f.load(at, body.vector) for at in body.partial()]
        accumulators = part.results
    accumulators = body.reduce(0, body.row_pointers(), body.b_pointers(), accumulators, True)
    if plan.k_block:
        with f.when(f[".more"]):
            if plan.waits:
                waiting.clear(f, plan, f[waiting.PARAM])
            for at, value in zip(body.partial(), accumulators, strict=True):
                f.store(value, at)
        with f.when(f.icmp("eq", f[".more"], 0)):
            body.finish(accumulators)
    else:
        body.finish(accumulators)
    f.ret()
    return module.add(f)


class _Body:
    """The loops over k of one kernel. Accumulators are a flat list, row by row."""

    def __init__(self, f: Function, plan: Plan, height: int, panel: Panel) -> None:
        self.f, self.plan, self.height, self.panel = f, plan, height, panel
        self.contraction = plan.contraction
        self.scalar = plan.contraction.scalar
        self.vector = vector(self.scalar, plan.lanes)
        self.row_stride = amount(f, self.contraction.a_row_stride)
        self.group = height if known(self.row_stride) is not None else _ROW_GROUP
        padded = panel.source is Source.PACKED or self.contraction.panel_stride is not None
        self.mask = None if padded else waiting.last_mask(f, plan, panel, f[".column"])
        self.strides = [
            [amount(f, axis.a_stride)] * len(self.row_pointers()) + self._b_strides(level)
            for level, axis in enumerate(self.contraction.k)
        ]
        self.level_of_parts = self._level_of_parts()
        self.near = [f.mul(self.row_stride, i) for i in range(min(self.group, height))]

    def zeros(self) -> list[Value]:
        return [const(self.vector, 0)] * (self.height * self.panel.vectors)

    def partial(self) -> Iterator[Value]:
        """Where the accumulators are kept between blocks of k."""
        for i in range(self.height * self.panel.vectors):
            yield self.f.offset(self.f[".partial"], self.scalar, i * self.plan.lanes)

    def finish(self, accumulators: list[Value]) -> None:
        """The epilogue of the contraction, or the tile waits for it."""
        if self.plan.waits:
            waiting.leave(self.f, self.plan, self._tile(accumulators))
            return
        self.contraction.epilogue(self.f, self._params(), self._tile(accumulators))

    def _params(self) -> dict[str, Value]:
        return {name: self.f[name] for _, name in self.contraction.params}

    def _tile(self, accumulators: list[Value]) -> Tile:
        f, vectors = self.f, self.panel.vectors
        rows = [f.add(f[".row"], i) for i in range(self.height)]
        columns = waiting.columns_of(f, self.plan, self.panel, f[".column"])
        return Tile(rows, columns, [accumulators[i * vectors : (i + 1) * vectors] for i in range(self.height)])

    def row_pointers(self) -> list[Value]:
        """One pointer for each group of rows of A."""
        f = self.f
        return [
            f.offset(f[".a"], self.scalar, f.mul(self.row_stride, first)) for first in range(0, self.height, self.group)
        ]

    def b_pointers(self) -> list[Value]:
        """Where B is read, and where it is packed to, if it is."""
        return [self.f[name] for name in (".b", ".panel") if name in self.f.params]

    def _b_strides(self, level: int) -> list[Index]:
        """How far the pointers of B move along an axis of k."""
        f, packed = self.f, packed_strides(self.f, self.plan)[level]
        in_place = amount(f, self.contraction.k[level].b_stride)
        return {
            Source.IN_PLACE: [in_place],
            Source.PACKED: [packed],
            Source.PACKING: [in_place, packed],
            Source.EITHER: [f.params.get(f".stride{level}", packed)],
        }[self.panel.source]

    def reduce(
        self, level: int, a: list[Value], b: list[Value], accumulators: list[Value], is_first: bool = False
    ) -> list[Value]:
        """Adds the products of the axes from `level` on, starting at a and b; other things are done amid the first."""
        f, axes = self.f, self.contraction.k
        if level == len(axes):
            return self._step(a, b, accumulators)
        count, turns = count_of(f, self.plan, level), self._turn(level)
        if level == 0 and self.contraction.is_cut and self.panel.source is not Source.PACKING:
            count, a, b = self._cut(count, turns, a, b)
        if is_first and level < self.level_of_parts:
            accumulators = self.reduce(level + 1, a, b, accumulators, True)
            (a, b), count = self._advance(level, a, b), f.sub(count, 1)
        values = [*accumulators, *a, *b]
        if is_first and level == self.level_of_parts:
            parts = self.parts
            part = f.mul(f.sdiv(count, parts * turns), turns)
            values, count = self._in_parts(parts, part, turns, values), f.sub(count, f.mul(part, parts))
        whole = f.mul(f.sdiv(count, turns), turns)
        values = self._turns(level, whole, turns, values)
        accumulators, a, b = self._parts(values)
        rest = f.sub(count, whole)
        if turns == 1 or rest == 0:
            return accumulators
        if isinstance(rest, int):
            return self._step(a, b, accumulators)
        with f.when(f.icmp("ne", rest, 0), accumulators) as branch:
            branch.next = self._step(a, b, accumulators)
        return branch.results

    @property
    def parts(self) -> int:
        """Of the sums, each behind what is done for a row of a tile, or for a vector of a row."""
        rows = self.plan.height if self.plan.waits else self.height
        return rows * self.panel.vectors if self.plan.is_fine else rows

    def _turn(self, level: int) -> int:
        """How many indices of an axis are one turn of its loop."""
        return self.plan.unroll if level == len(self.contraction.k) - 1 else 1

    def _level_of_parts(self) -> int:
        """The axis whose indices are divided into parts: the outermost that has enough of them; -1: there are none."""
        if not has_parts(self.plan, self.panel):
            return -1
        for level, axis in enumerate(self.contraction.k):
            if not isinstance(axis.extent, int) or self.plan.k_block:
                break
            if axis.extent >= self.parts * self._turn(level):
                return level
        return 0

    def _cut(self, count: Index, turns: int, a: list[Value], b: list[Value]) -> tuple[Index, list[Value], list[Value]]:
        """(how many of the outermost k there are between those that are zero, pointers to the first of them)."""
        f, nonzero, zero = self.f, self.contraction.nonzero, self.contraction.zero
        row = f.sub(f[".row"], f[".first"] if self.plan.k_block else 0)
        if nonzero is not None:
            end = f.and_(f.add(f.add(row, self.height - 1 + turns - 1), amount(f, nonzero)), -turns)
            count = self._within(end, count)
        if zero is not None:
            start = self._within(f.and_(f.add(row, amount(f, zero)), -turns), count)
            count = f.sub(count, start)
            moved = [
                f.offset(pointer, self.scalar, f.mul(start, stride))
                for pointer, stride in zip([*a, *b], self.strides[0], strict=True)
            ]
            a, b = moved[: len(a)], moved[len(a) :]
        return count, a, b

    def _within(self, value: Value, count: Index) -> Value:
        """The value, if it is not below 0 or beyond the count."""
        f = self.f
        value = f.select(f.icmp("sgt", value, 0), value, 0)
        return f.select(f.icmp("slt", value, count), value, f.const("i64", count) if isinstance(count, int) else count)

    def _turns(self, level: int, count: Index, turns: int, values: list[Value]) -> list[Value]:
        """Accumulators and pointers after `count` indices of an axis, a multiple of `turns`, which are one turn."""
        if count == 0:
            return values
        with self.f.loop(0, count, turns, carried=values, may_be_empty=True) as loop:
            accumulators, a, b = self._parts(loop.values)
            for _ in range(turns):
                accumulators = self.reduce(level + 1, a, b, accumulators)
                a, b = self._advance(level, a, b)
            loop.next = [*accumulators, *a, *b]
        return loop.results

    def _in_parts(self, parts: int, part: Index, turns: int, values: list[Value]) -> list[Value]:
        """The same after `parts` times `part` indices of the axis of parts.

        Each part is behind what else is to be done for a row of the tile, or for a vector of a row.
        """
        with self.f.loop(0, parts, carried=values) as loop:
            row, vectors = self._of_part(loop.index)
            if self.plan.waits:
                waiting.part_of(self.f, self.plan, self.panel, row, vectors)
            if self.contraction.announce is not None:
                self._announce(row, vectors, self.contraction.announce, self.plan.rows_ahead)
            if self.contraction.fetch is not None:
                self._announce(row, vectors, self.contraction.fetch, 0)
            if asks_ahead(self.plan, self.panel):
                with self.f.when(self.f[".asks"]):
                    self._ask_ahead(row, vectors)
            loop.next = self._turns(self.level_of_parts, part, turns, loop.values)
        return loop.results

    def _of_part(self, number: Value) -> tuple[Index, list[Index]]:
        """A row, and vectors of it."""
        f, vectors = self.f, self.panel.vectors
        if not self.plan.is_fine:
            return number, [*range(vectors)]
        row = f.sdiv(number, vectors)
        return row, [f.sub(number, f.mul(row, vectors))]

    def _ask_ahead(self, row: Index, vectors: list[Index]) -> None:
        """The row's share of what the tile asks for."""
        f, stride = self.f, amount(self.f, self.contraction.k[0].b_stride)
        start = f.offset(f[".ahead"], self.scalar, f.mul(row, f.mul(stride, self.plan.ahead)))
        for k in range(self.plan.ahead):
            for v in vectors:
                place = f.add(f.mul(stride, k), f.mul(v, self.plan.lanes))
                f.prefetch(f.offset(start, self.scalar, place), locality=2)

    def _announce(self, row: Index, vectors: list[Index], announce: Announce, ahead: int) -> None:
        f = self.f
        columns = [f.add(f[".column"], f.mul(v, self.plan.lanes)) for v in vectors]
        below = f.add(f[".row"], f.add(row, ahead))
        if not self.plan.k_block:
            announce(f, self._params(), below, columns)
            return
        with f.when(f.icmp("eq", f[".more"], 0)):  # the epilogue is behind the last block
            announce(f, self._params(), below, columns)

    def _step(self, a: list[Value], b: list[Value], accumulators: list[Value]) -> list[Value]:
        """One k: the outer product of a column of A and a row of B."""
        if self.plan.taps is not None:
            return self._tap_step(self.plan.taps, a, b, accumulators)
        f, vectors = self.f, self.panel.vectors
        row = [self._load_b(b[0], v) for v in range(vectors)]
        if self.plan.a_ahead:
            f.prefetch(f.offset(a[0], self.scalar, self.plan.a_ahead), locality=2)
        for to in b[1:]:
            for v, value in enumerate(row):
                f.store(value, f.offset(to, self.scalar, v * self.plan.lanes))
        if self.contraction.pairs and not bfloat.has_dot(f, self.vector):
            return self._halves(a, b, accumulators)
        product = bfloat.dot if self.contraction.pairs else Function.fma
        result = []
        for i in range(self.height):
            element = f.splat(self._load_a(a, i), self.plan.lanes)
            result += [product(f, element, row[v], accumulators[i * vectors + v]) for v in range(vectors)]
        if vectors > 1:
            f.fence()
        return result

    def _tap_step(self, taps: KAxis, a: list[Value], b: list[Value], accumulators: list[Value]) -> list[Value]:
        """One k of all taps: what row i meets at tap t is the element of row i + t, which is loaded once."""
        f, result, count = self.f, list(accumulators), int(taps.extent)
        vectors = [self._load_b(f.offset(b[0], self.scalar, t * int(taps.b_stride)), 0) for t in range(count)]
        for j in range(self.height + count - 1):
            at = f.offset(a[0], self.scalar, f.mul(self.row_stride, j))
            element = f.splat(f.load(at, self.scalar), self.plan.lanes)
            for t in range(max(0, j - self.height + 1), min(count, j + 1)):
                result[j - t] = f.fma(element, vectors[t], result[j - t])
        return result

    def _halves(self, a: list[Value], b: list[Value], accumulators: list[Value]) -> list[Value]:
        """A step of pairs without an instruction for them: the upper halves, then the lower, which are loaded again."""
        f, vectors = self.f, self.panel.vectors
        for is_upper in (True, False):
            row = [bfloat.half(f, self._load_b(b[0], v), is_upper) for v in range(vectors)]
            result = []
            for i in range(self.height):
                element = f.splat(bfloat.half(f, self._load_a(a, i), is_upper), self.plan.lanes)
                result += [f.fma(element, row[v], accumulators[i * vectors + v]) for v in range(vectors)]
            accumulators = result
            f.fence()
        return accumulators

    def _load_a(self, a: list[Value], i: int) -> Value:
        """The element of A in row i."""
        at = self.f.offset(a[i // self.group], self.scalar, self.near[i % self.group])
        return self.f.load(at, self.scalar)

    def _load_b(self, b: Value, v: int) -> Value:
        at = self.f.offset(b, self.scalar, v * self.plan.lanes)
        if self.mask is not None and v == self.panel.vectors - 1:
            return self.f.masked_load(at, self.vector, self.mask)
        return self.f.load(at, self.vector)

    def _advance(self, level: int, a: list[Value], b: list[Value]) -> tuple[list[Value], list[Value]]:
        moved = [
            self.f.offset(pointer, self.scalar, stride)
            for pointer, stride in zip([*a, *b], self.strides[level], strict=True)
        ]
        return moved[: len(a)], moved[len(a) :]

    def _parts(self, values: list[Value]) -> tuple[list[Value], list[Value], list[Value]]:
        """Accumulators, pointers into A, pointers of B."""
        count, pointers = self.height * self.panel.vectors, len(values) - len(self.b_pointers())
        return values[:count], values[count:pointers], values[pointers:]


def packed_strides(f: Function, plan: Plan) -> list[Index]:
    """How far neighbours along each axis of k lie apart in a packed panel."""
    strides: list[Index] = [plan.width]
    for axis in reversed(plan.contraction.k[1:]):
        strides.insert(0, f.mul(strides[0], amount(f, axis.extent)))
    return strides
