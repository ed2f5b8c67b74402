"""Sums down few columns of many rows, such as a normalisation's over all pixels: in parts that are added up afterwards.

A loop over 16 columns around one over all rows is one vector wide: nothing in it can be shared out to threads, and
every addition waits for the one before.  Here the rows are cut into parts, whose number depends on the sizes alone:

    for p in parts:  for j in columns:  part[p, j] = the sum of the rows of part p, as a few sums side by side
    for p in parts:  for j in columns:  total = part[0, j] + part[1, j] + ..;  the next sweep over the rows of part p

Threads share the parts, and every sum has the same order for any number of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from graphc.codegen.kernel import Affine, Buffer, Call, Fold, For, Load, Scalar, Stmt, Store, Temp, Var, affine
from graphc.codegen.row_stream import Moved
from graphc.codegen.target import Target
from graphc.ir.dims import Dim, bounds, divide_exactly, product

MOST_VECTORS = 1  # of columns: more are shared out as they are
PARTS, LEAST_PARTS = 16, 8  # each adds up the sums of all parts again
LEAST_ROWS = 64  # of a part
LEAST_ELEMENTS = 1 << 15
CHAINS = 8  # sums side by side: two units of four cycles' latency
MOST_CHAINS = 4  # of each sum


def in_parts(stmts: tuple[Stmt, ...], target: Target) -> tuple[tuple[Stmt, ...], list[Buffer]]:
    """(the statements with such sums in parts, the scratch buffers for that)."""
    found: list[Stmt] = []
    scratch: list[Buffer] = []
    for stmt in stmts:
        sums = _sums(stmt, target)
        found += [stmt] if sums is None else _Parts(sums, scratch).statements()
    return tuple(found), scratch


@dataclass(frozen=True)
class _Sums:
    """Sweeps down columns, one after the other, and what is stored for each column at last.

    The outermost loop of each sweep has `parts` times `turns` turns.
    """

    columns: For
    sweeps: tuple[For, ...]
    stores: tuple[Store, ...]
    parts: int
    turns: Dim


def _sums(stmt: Stmt, target: Target) -> _Sums | None:
    """The sums of a statement, if parts of them are worth it."""
    if not isinstance(stmt, For) or not stmt.vector or stmt.folds:
        return None
    sweeps = tuple(s for s in stmt.body if isinstance(s, For))
    stores = tuple(s for s in stmt.body if isinstance(s, Store) and not s.add)
    columns = stmt.var.extent
    if (*sweeps, *stores) != stmt.body or not any(sweep.folds for sweep in sweeps) or not isinstance(columns, int):
        return None
    extents = [_extents(sweep) for sweep in sweeps]
    lanes = target.lanes(sweeps[0].folds[0].temp.dtype.size)
    if columns > MOST_VECTORS * lanes or any(one != extents[0] or not one for one in extents):
        return None
    outer, *inner = extents[0]
    for parts in range(PARTS, LEAST_PARTS - 1, -1):
        turns = divide_exactly(outer, parts)
        if turns is not None:
            rows = product((turns, *inner))
            few = bounds(rows)[1]
            if few is not None and (few < LEAST_ROWS or few * parts * columns < LEAST_ELEMENTS):
                return None
            return _Sums(stmt, sweeps, stores, parts, turns)
    return None


def _extents(sweep: For) -> list[Dim]:
    """The extents of a sweep's loops, the outermost first; none if they are around more than sums, or stores."""
    found = [sweep.var.extent]
    while isinstance(inner := sweep.body[0] if sweep.body else None, For):
        if len(sweep.body) > 1 or inner.vector or bool(inner.folds) != bool(sweep.folds):
            return []
        sweep = inner
        found.append(sweep.var.extent)
    is_plain = all(isinstance(s, Store) and not s.add for s in sweep.body) and bool(sweep.body) != bool(sweep.folds)
    return found if is_plain else []


class _Parts:
    """The sums of a statement as statements in parts; `scratch` gets the buffers of the parts' sums."""

    def __init__(self, sums: _Sums, scratch: list[Buffer]) -> None:
        self.sums, self.scratch = sums, scratch
        self.width = sums.columns.var.extent
        self.known: list[list[tuple[Fold, Buffer]]] = []  # the sums of every sweep so far, and where they are by parts

    def statements(self) -> list[Stmt]:
        found: list[Stmt] = [self.part_of(sweep) for sweep in self.sums.sweeps]
        if self.sums.stores:  # at last: they may overwrite what the sweeps read
            column = Var("j", self.width)
            totals, moved = self.totals(column)
            found.append(For(column, (*totals, *_moved(self.sums.stores, moved)), vector=True))
        return found

    def totals(self, column: Var) -> tuple[list[For], Moved]:
        """Loops that add up the sums of the parts, and scalars that read them instead of what they stand for."""
        loops: list[For] = []
        moved = Moved({self.sums.columns.var: affine(column)}, {})
        for sweep in self.known:
            each = Var("q", self.sums.parts)
            folds: list[Fold] = []
            for fold, sums in sweep:
                load = Load(sums.dtype, sums, affine(each) * self.width + affine(column))
                temp = Temp(sums.dtype, fold.temp.name)
                folds.append(Fold(temp, fold.combine, fold.identity, load))
                moved.done[fold.temp] = temp
            loops.append(For(each, (), folds=tuple(folds)))
        return loops, moved

    def part_of(self, sweep: For) -> For:
        """One sweep, part by part."""
        part, column = Var("p", self.sums.parts), Var("j", self.width)
        totals, moved = self.totals(column)
        start = affine(part) * self.sums.turns
        if not sweep.folds:
            turn = Var(sweep.var.name, self.sums.turns)
            moved.variables[sweep.var] = start + affine(turn)
            return For(part, (For(column, (*totals, _again(sweep, turn, moved)), vector=True),))
        loop, values = _side_by_side(sweep, moved, start, self.sums.turns)
        found: list[tuple[Fold, Buffer]] = []
        stores: list[Stmt] = []
        for fold, value in zip(sweep.folds, values, strict=True):
            sums = Buffer(f"part{len(self.scratch)}", value.dtype, (self.sums.parts, self.width), "scratch")
            self.scratch.append(sums)
            found.append((fold, sums))
            stores.append(Store(sums, affine(part) * self.width + affine(column), value))
        self.known.append(found)
        return For(part, (For(column, (*totals, loop, *stores), vector=True),))


def _moved(stores: Sequence[Stmt], moved: Moved) -> tuple[Store, ...]:
    every = (s for s in stores if isinstance(s, Store))
    return tuple(replace(s, at=moved.affine(s.at), value=moved.scalar(s.value)) for s in every)


def _again(loop: For, var: Var, moved: Moved) -> For:
    """A loop around stores, with another variable."""
    inner = loop.body[0]
    return For(var, (_again(inner, inner.var, moved),) if isinstance(inner, For) else _moved(loop.body, moved))


def _side_by_side(loop: For, moved: Moved, start: Affine, extent: Dim) -> tuple[For, list[Scalar]]:
    """(a loop's turns from `start` on with several sums for each of its own, what these add up to)."""
    inner = loop.body[0] if loop.body else None
    if isinstance(inner, For):
        var = Var(loop.var.name, extent)
        here = Moved({**moved.variables, loop.var: start + affine(var)}, moved.done)
        deeper, sums = _side_by_side(inner, here, Affine(), inner.var.extent)
        here.done.update(zip((fold.temp for fold in inner.folds), sums, strict=True))
        folds = tuple(replace(f, temp=Temp(f.temp.dtype, f.temp.name), value=here.scalar(f.value)) for f in loop.folds)
        return For(var, (deeper,), folds=folds), [fold.temp for fold in folds]
    most = max(1, min(MOST_CHAINS, CHAINS // len(loop.folds)))
    count, turns = next((n, turns) for n in range(most, 0, -1) if (turns := divide_exactly(extent, n)) is not None)
    var = Var(loop.var.name, turns)
    copies: list[list[Fold]] = [[] for _ in loop.folds]
    for n in range(count):
        here = Moved({**moved.variables, loop.var: start + affine(var) * count + n}, moved.done)
        for fold, found in zip(loop.folds, copies, strict=True):
            temp = Temp(fold.temp.dtype, f"{fold.temp.name}.{n}")
            found.append(replace(fold, temp=temp, value=here.scalar(fold.value)))
    totals: list[Scalar] = []
    for fold, found in zip(loop.folds, copies, strict=True):
        total: Scalar = found[0].temp
        for one in found[1:]:
            total = Call(total.dtype, fold.combine, (total, one.temp))
        totals.append(total)
    return For(var, (), folds=tuple(f for found in copies for f in found)), totals
