"""Kernels to LLVM functions: loops, vector loops with a masked rest, folds, and contractions with their epilogue.

A kernel's function takes the address of each buffer and the value of each run-time size it depends on; if it is for
several threads, also which part of how many it is to do (graphc.codegen.parallel).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import cast

from graphc.codegen import contraction, merge_sort, primitives, row_update, turned_copy
from graphc.codegen.amid_sums import registers_amid_sums
from graphc.codegen.contraction import PART, share
from graphc.codegen.contraction_spec import Late
from graphc.codegen.kernel import (
    Affine,
    Call,
    Contract,
    Fold,
    For,
    Kernel,
    Load,
    Routine,
    Scalar,
    Stmt,
    Store,
    closure,
    indices,
    scalars_of,
)
from graphc.codegen.kernel_key import key_of
from graphc.codegen.llvm import Function, Index, Module, Value, const, lanes, vector
from graphc.codegen.parallel import Rows, Split
from graphc.codegen.primitives import llvm_type
from graphc.codegen.scalar_code import ScalarCode
from graphc.codegen.target import Target
from graphc.codegen.tile_epilogue import TileEpilogue, asked_for
from graphc.codegen.tiling import plan
from graphc.codegen.two_passes import STRIP, Passes, in_two
from graphc.ir.dims import Dim, Symbol, bounds, product, symbols
from graphc.ir.types import F64
from graphc.ops.op import instructions

ROUTINES = {"sort": merge_sort.emit, "rows": row_update.emit}
COUNT = "count"  # of the outermost k, where it differs between calls
LIGHT = 6  # instructions of an operation beside which a fold need not wait for itself
WIDE = 4  # vectors that a light fold keeps in flight: one addition waits for the one before


@dataclass(frozen=True)
class Compiled:
    """A kernel's function and what it must be called with, after the buffers: the values of these sizes.

    A function made for a split takes two more i64: the number of the part, and how many parts there are.
    """

    function: str
    sizes: tuple[Symbol, ...]


def emit_kernel(kernel: Kernel, module: Module, split: Split | None = None) -> Compiled:
    """Adds the kernel's function to the module; kernels that do the same share one."""
    key = key_of(kernel), _number(kernel.body, split), split.rows if split is not None else None
    found = module.kernels.get(key)
    if not isinstance(found, Compiled):
        found = module.kernels[key] = _emit(kernel, module, split)
    return found


def _number(stmts: Sequence[Stmt], split: Split | None) -> int:
    """Which loop is split, counted from the first; -1 for contractions, -2 for none."""
    if split is None or split.loop is None:
        return -2 if split is None else -1
    return next(number for number, loop in enumerate(_loops_in(stmts)) if loop is split.loop)


def _loops_in(stmts: Sequence[Stmt]) -> Iterator[For]:
    for stmt in stmts:
        if isinstance(stmt, For):
            yield stmt
            yield from _loops_in(stmt.body)


def _emit(kernel: Kernel, module: Module, split: Split | None) -> Compiled:
    sizes = tuple(dict.fromkeys(s for d in _dims(kernel) for s in symbols(d)))
    buffers = {b: f"b{i}" for i, b in enumerate(kernel.buffers)}
    params = [*(("ptr", name) for name in buffers.values()), *(("i64", f"n{i}") for i in range(len(sizes)))]
    params += [("i64", name) for name in (PART if split else ())]
    f = Function(module, "kernel", params)
    values = {s.name: f[f"n{i}"] for i, s in enumerate(sizes)}
    code = ScalarCode(f, {b: f[name] for b, name in buffers.items()}, values, width_of(kernel, module))
    for dim in _dims(kernel):
        code.dim(dim)
    _Statements(code, module, split).block(kernel.body)
    f.ret()
    return Compiled(module.add(f), sizes)


def _dims(kernel: Kernel) -> list[Dim]:
    """Every dimension that the kernel's code needs, in a fixed order."""
    found: dict[Dim, None] = {}

    def note(*affines: Affine) -> None:
        for at in affines:
            found.update(dict.fromkeys([at.constant, *(c for _, c in at.terms)]))

    def walk(stmts: Sequence[Stmt]) -> None:
        for stmt in stmts:
            match stmt:
                case For(var, body):
                    found[var.extent] = None
                    note(*stmt.bounds)
                    walk(body)
                case Store(_, at):
                    note(at)
                case Contract():
                    ks = [d for k in stmt.k for d in (k.extent, k.a_stride, k.b_stride)]
                    extents = [stmt.row.extent, stmt.column.extent, stmt.a_row_stride, stmt.b_column_stride]
                    found.update(dict.fromkeys([*extents, *ks]))
                    note(*(ask.at for ask in stmt.asks), *(fetch.at for fetch in stmt.fetches))
                    note(stmt.a_at, stmt.b_at, *stmt.diagonals, *(k.count for k in stmt.k if k.count is not None))
                    walk(stmt.epilogue)
                case Routine():
                    found.update(dict.fromkeys(stmt.sizes))
                    note(*stmt.at)

    walk(kernel.body)
    for scalar in closure(tuple(scalars_of(kernel.body))):
        note(*indices(scalar))
    return [d for d in found if not isinstance(d, int)]


def width_of(kernel: Kernel, module: Module) -> int:
    """Lanes of the kernel's vector loops: a vector register, or several where a light fold would wait for itself."""
    every = closure(tuple(scalars_of(kernel.body)))
    doubles = any(s.dtype == F64 for s in every)
    lanes = module.target.vector_bytes // (8 if doubles else 4)
    folds, extent = _vector_folds(kernel.body, False)
    heavy = any(isinstance(s, Call) and instructions(s.op) > LIGHT for s in every) or any(_steps(s) for s in every)
    parts = any(loop.bounds for loop in _loops_in(kernel.body))
    if not folds or folds > 2 or heavy or parts or (isinstance(extent, int) and extent < lanes * WIDE):
        return lanes
    return lanes * WIDE


def _steps(scalar: Scalar) -> bool:
    return isinstance(scalar, Load) and any(isinstance(t, Scalar) for t, _ in scalar.at.terms)


def _vector_folds(stmts: Sequence[Stmt], inside: bool) -> tuple[int, Dim]:
    """(the most folds of one loop that are vectors, the extent of the vector loop)."""
    most = 0
    extent: Dim = 0
    for stmt in stmts:
        if isinstance(stmt, For):
            within = inside or stmt.vector
            count, deeper = _vector_folds(stmt.body, within)
            most = max(most, count, len(stmt.folds) if within else 0)
            extent = stmt.var.extent if stmt.vector else deeper or extent
    return most, extent


class _Statements:
    def __init__(self, code: ScalarCode, module: Module, split: Split | None = None) -> None:
        self.code, self.module, self.f, self.split = code, module, code.f, split
        self.in_vector = False

    def block(self, stmts: Sequence[Stmt]) -> None:
        stores: list[Store] = []
        for stmt in stmts:
            if isinstance(stmt, Store):
                stores.append(stmt)
            elif isinstance(stmt, Contract):
                emit_contract(stmt, self.code, self.module, self.split)
            elif isinstance(stmt, Routine):
                ROUTINES[stmt.kind](stmt, self.code)
            elif not self._turned(stmt):
                self.any_loop(stmt)
        self.code.store_all(stores)

    def any_loop(self, stmt: For) -> None:
        if stmt.vector:
            self.vector_loop(stmt)
        else:
            self.loop(stmt)

    def _turned(self, stmt: For) -> bool:
        """Whether the loops copy a turned tensor, which is done here if no threads share them."""
        lanes = self.module.target.lanes(turned_copy.SIZE)
        copy = turned_copy.turned_copy(stmt, lanes) if self.code.width == lanes > 1 else None
        if copy is None or (self.split is not None and self.split.loop in (stmt, *stmt.body)):
            return False
        copy.emit(self.code, lanes)
        for rest in copy.rest(stmt, lanes):
            self.any_loop(rest)
        return True

    def _enter(self, stmt: For) -> None:
        """Moves out of the loop what does not change in it."""
        if bounds(stmt.var.extent)[0] >= 1:
            self.code.hoist([*scalars_of((stmt,))], [s.at for s in _stores_in(stmt.body)])

    def loop(self, stmt: For) -> None:
        code, extent = self.code, self.code.dim(stmt.var.extent)
        self._enter(stmt)
        initial = [self._identity(fold) for fold in stmt.folds]
        low, high = self._turns(stmt, extent, 1)
        may_be_empty = bounds(stmt.var.extent)[0] < 1 or high is not extent or low != 0
        counted = self.f.loop(low, high, carried=initial, may_be_empty=may_be_empty)
        with counted as loop, code.scope(stmt.var, loop.index, False):
            self.block(stmt.body)
            loop.next = [self._folded(fold, old) for fold, old in zip(stmt.folds, loop.values, strict=True)]
        for fold, value in zip(stmt.folds, loop.results, strict=True):
            code.define(fold.temp, value)

    def _turns(self, stmt: For, extent: Index, granule: int) -> tuple[Index, Index]:
        """The loop's turns: all, its part, or this thread's part of all, which begin at multiples of the granule."""
        f = self.f
        if stmt.bounds:
            low = 0 if stmt.start is None else self._bound(stmt.start, extent, granule)
            return low, extent if stmt.stop is None else self._bound(stmt.stop, extent, granule)
        if self.split is None or self.split.loop is not stmt:
            return 0, extent
        if self.split.rows is not None:
            assert isinstance(extent, int), "rows are shared out if their number is known"
            count = extent // self.split.rows.count
            low, high = _rows_of(f, self.split.rows)
            return f.mul(low, count), f.mul(high, count)
        units = f.sdiv(f.add(extent, granule - 1), granule)
        low, stop = share(f, units, f[PART[0]], f[PART[1]])
        high = f.mul(stop, granule)
        return f.mul(low, granule), high if granule == 1 else f.select(f.icmp("slt", high, extent), high, extent)

    def _bound(self, at: Affine, extent: Index, granule: int) -> Value:
        """Where a part of a loop ends or begins: a multiple of the granule, or the extent."""
        f, offset = self.f, self.code.offset(at)[0]
        place = _value(f.and_(f.add(f.add(offset, self.code.dim(at.constant)), granule - 1), -granule))
        place = f.select(f.icmp("sgt", place, 0), place, 0)
        return f.select(f.icmp("slt", place, extent), place, _value(extent))

    def _identity(self, fold: Fold) -> Value:
        """The neutral element; a vector if what is folded differs between lanes of an enclosing vector loop."""
        kind = llvm_type(fold.temp.dtype)
        width = self.code.width if self.in_vector else 1
        return const(vector(kind, width), fold.identity)

    def _folded(self, fold: Fold, old: Value) -> Value:
        value = self.code.wide(fold.value) if lanes(old.type) > 1 else self.code.value(fold.value)
        # what is new comes first: the test of min and max for NaN, which is of the first, then waits for nothing
        return primitives.call(self.f, fold.combine, fold.temp.dtype, [value, old])

    def vector_loop(self, stmt: For) -> None:
        """Full vectors, then one masked vector for the rest; folds are folded over the lanes at the end."""
        code, f, width = self.code, self.f, self.code.width
        extent = code.dim(stmt.var.extent)
        self._enter(stmt)
        full: Index
        rest: Index
        low, high = self._turns(stmt, extent, width)
        if stmt.start is not None and not stmt.body:
            low = self._unless_neutral(stmt, low, high)
        if isinstance(high, int):
            full, rest = high // width * width, high % width
            if low != 0 and rest != 0:
                rest = f.select(f.icmp("slt", cast(Value, low), high), const("i64", rest), 0)
        else:
            full = f.and_(high, -width)
            rest = 0 if isinstance(extent, int) and extent % width == 0 else f.sub(high, full)
            if low != 0 and rest != 0:  # of parts without a turn none has the rest
                rest = f.select(f.icmp("slt", cast(Value, low), high), rest, 0)
        values = [const(vector(llvm_type(x.temp.dtype), width), x.identity) for x in stmt.folds]
        passes = in_two(stmt.body, stmt.var) if not stmt.folds and not stmt.bounds and full != 0 else None
        if passes is not None:
            self._in_strips(stmt, low, full, passes)
        elif full != 0:
            with f.loop(low, full, width, carried=values, may_be_empty=not isinstance(full, int) or low != 0) as loop:
                loop.next = self._vector(stmt, loop.index, loop.values)
            values = loop.results
        if isinstance(rest, Value):
            with f.when(f.icmp("ne", rest, 0), values) as part:
                part.next = self._masked(stmt, full, rest, values)
            values = part.results
        elif rest:
            values = self._masked(stmt, full, rest, values)
        for fold, value in zip(stmt.folds, values, strict=True):
            code.define(fold.temp, primitives.fold_lanes(f, fold.combine, fold.temp.dtype, value))

    def _unless_neutral(self, stmt: For, low: Index, high: Index) -> Index:
        """Where a loop of folds begins; its end if what it folds is the same in every turn and changes nothing."""
        f, counts = self.f, const("i1", False)
        for fold in stmt.folds:
            value = self.code.recall(fold.value)  # there already if it does not change in the loop
            if not isinstance(value, Value) or lanes(value.type) > 1 or not fold.temp.dtype.is_float:
                return low
            counts = f.or_(counts, f.fcmp("une", value, fold.identity))
        return f.select(counts, _value(low), _value(high))

    def _in_strips(self, stmt: For, low: Index, full: Index, passes: Passes) -> None:
        """Full vectors in two passes over a few of them at a time; what the first keeps lies on the stack."""
        code, f, width = self.code, self.f, self.code.width
        kind = vector(llvm_type(passes.late[0].value.dtype), width)
        rooms = [(s, f.local(kind, STRIP)) for s in passes.kept]

        def place(room: Value, start: Value, index: Value) -> Value:
            return f.offset(room, llvm_type(passes.late[0].value.dtype), f.sub(index, start))

        def first(start: Value, index: Value) -> None:
            kept = [(code.wide(s), place(room, start, index)) for s, room in rooms]
            code.store_all(passes.early)
            for value, at in kept:
                f.store(value, at)

        def second(start: Value, index: Value) -> None:
            for s, room in rooms:
                code.remember(s, f.load(place(room, start, index), kind))
            code.store_all(passes.late)

        self.in_vector = True
        with f.loop(low, full, STRIP * width, may_be_empty=not isinstance(full, int)) as strip:
            behind = f.add(strip.index, STRIP * width)
            if not isinstance(full, int) or not isinstance(low, int) or (full - low) % (STRIP * width):
                limit = const("i64", full) if isinstance(full, int) else full
                behind = f.select(f.icmp("slt", behind, limit), behind, limit)
            for one in (first, second):
                with f.loop(strip.index, behind, width) as loop, code.scope(stmt.var, loop.index, True):
                    one(strip.index, loop.index)
        self.in_vector = False

    def _masked(self, stmt: For, index: Index, rest: Index, values: list[Value]) -> list[Value]:
        code, f = self.code, self.f
        code.mask = f.tail_mask(rest, code.width)
        results = self._vector(stmt, f.const("i64", index) if isinstance(index, int) else index, values)
        results = [f.select(code.mask, new, old) for new, old in zip(results, values, strict=True)]
        code.mask = None
        return results

    def _vector(self, stmt: For, index: Value, values: list[Value]) -> list[Value]:
        self.in_vector = True
        with self.code.scope(stmt.var, index, True):
            self.block(stmt.body)
            results = [self._folded(fold, old) for fold, old in zip(stmt.folds, values, strict=True)]
        self.in_vector = False
        return results


def _rows_of(f: Function, rows: Rows) -> tuple[Index, Index]:
    """The first row of this thread's part, and the one behind its last."""
    low, extra = divmod(rows.count, rows.tiles)

    def start(tile: Index) -> Index:
        return f.add(f.mul(tile, low), least(tile) if extra else 0)

    def least(tile: Index) -> Index:
        return min(tile, extra) if isinstance(tile, int) else f.select(f.icmp("slt", tile, extra), tile, extra)

    first, behind = share(f, rows.tiles, f[PART[0]], f[PART[1]])
    return start(first), start(behind)


def _stores_in(stmts: Sequence[Stmt]) -> list[Store]:
    """The stores of loops; the indices of an epilogue's are made beside the register tile."""
    found: list[Store] = []
    for stmt in stmts:
        if isinstance(stmt, For):
            found += _stores_in(stmt.body)
        elif isinstance(stmt, Store):
            found.append(stmt)
    return found


# ---- contractions ----------------------------------------------------------------------------------------------------


def emit_contract(stmt: Contract, code: ScalarCode, module: Module, split: Split | None = None) -> None:
    """Calls the contraction's function, which runs the epilogue on each finished register tile.

    With a `split` that is of no loop it does this thread's part of the tiles.
    """
    is_split = split is not None and split.loop is None
    row_tile = split.rows.height if split is not None and split.rows is not None else None
    f, epilogue = code.f, TileEpilogue(stmt, module)
    spec, names = _skeleton(stmt, epilogue.params, epilogue, epilogue.announce, epilogue)
    spec = replace(spec, split=is_split, row_tile=row_tile, fetch=epilogue.fetch if stmt.fetches else None)
    name = contraction.emit(spec, module, module.target)
    workspace = code.pointers[stmt.workspace] if stmt.workspace is not None else next(iter(code.pointers.values()))
    part = [f[x] for x in PART] if is_split else []
    counts = [_value(code.offset(k.count)[0]) for k in stmt.k if k.count is not None]
    diagonals = [_value(f.add(code.offset(at)[0], code.dim(at.constant))) for at in stmt.diagonals]
    sizes = [_value(code.dim(d)) for d in names]
    arguments = [*part, *epilogue.arguments(code), *diagonals, *sizes, *counts]
    f.call(name, "void", code.address(stmt.a, stmt.a_at), code.address(stmt.b, stmt.b_at), workspace, *arguments)


class _Names:
    """Names of sizes known only at the call: parameters of the contraction's function."""

    def __init__(self) -> None:
        self.named: dict[Dim, str] = {}

    def __call__(self, dim: Dim) -> contraction.Extent:
        return dim if isinstance(dim, int) else self.named.setdefault(dim, f"d{len(self.named)}")


def _skeleton(
    stmt: Contract,
    params: Sequence[tuple[str, str]],
    epilogue: contraction.Epilogue,
    announce: contraction.Announce | None = None,
    late: Late | None = None,
) -> tuple[contraction.Contraction, list[Dim]]:
    """The skeleton's description of a contraction, and the sizes that are its last parameters."""
    extent = _Names()
    k = tuple(contraction.KAxis(extent(x.extent), extent(x.a_stride), extent(x.b_stride)) for x in stmt.k)
    counted = [("i64", COUNT) for x in stmt.k if x.count is not None]
    if counted:
        k = (replace(k[0], extent=COUNT, most=k[0].extent), *k[1:])
    m, n = extent(stmt.row.extent), extent(stmt.column.extent)
    a_row, b_column = extent(stmt.a_row_stride), extent(stmt.b_column_stride)
    bounds = (".seen", stmt.seen), (".nonzero", stmt.nonzero), (".zero", stmt.zero)
    seen, nonzero, zero = (None if at is None else x for x, at in bounds)
    diagonals = [("i64", x) for x in (seen, nonzero, zero) if x is not None]
    every = (*params, *diagonals, *(("i64", x) for x in extent.named.values()), *counted)
    kind = llvm_type(stmt.temp.dtype)
    spec = contraction.Contraction("contract", kind, m, n, k, a_row, b_column, every, epilogue, pairs=stmt.pairs)
    spec = replace(spec, seen=seen, nonzero=nonzero, zero=zero)
    if asks := asked_for(stmt):
        spec = replace(spec, announce=announce or _nothing, reads=any(not ask.is_written for ask in asks))
    registers = registers_amid_sums(stmt)
    if registers is not None:
        spec = replace(spec, late=late or _Planned(registers))
    if stmt.vectors is not None:
        (axis,) = stmt.k
        if stmt.others:  # whole panels of vectors, one of every part
            spec = replace(spec, n=extent(stmt.b.shape[0] * axis.b_stride))
        spec = replace(spec, vectors=stmt.vectors, panel_stride=extent(axis.extent * axis.b_stride))
    return spec, list(extent.named)


def _nothing(*of: object) -> None:
    """The epilogue of a contraction that is only planned, and what it would announce."""


@dataclass(frozen=True)
class _Planned:
    """An epilogue that is only planned, amid the sums of the next tile."""

    registers: int

    def vector(self, *of: object) -> None:
        """Nothing is written."""

    def tile(self, *of: object) -> None:
        """Nothing is written."""


def panel_vectors(stmt: Contract, target: Target) -> int:
    """The vectors of a column panel of the contraction."""
    return plan(_skeleton(stmt, (), _nothing)[0], target).vectors


def shared_tile_height(stmt: Contract, target: Target) -> int | None:
    """Rows of the contraction's tiles where threads share them; None if sums are cut, whose parts have a place each."""
    decided = plan(replace(_skeleton(stmt, (), _nothing)[0], split=True), target)
    return None if decided.k_block else decided.height


def workspace_elements(stmt: Contract, target: Target) -> Dim:
    """Elements of the workspace that a contraction packs its operand into; 0 for none."""
    spec, named = _skeleton(stmt, (), _nothing)
    by_name = {f"d{i}": dim for i, dim in enumerate(named)}
    total: Dim = 0
    for factor, names in contraction.workspace_elements(spec, target).terms:
        total = total + product(by_name[x] for x in names) * factor
    return total


def _value(index: Index) -> Value:
    return const("i64", index) if isinstance(index, int) else index
