"""Sums down the columns of a matrix that no cache holds: read in the order in which it lies.

A product with one row, y[j] = sum over i of x[i] * w[i, j], as a loop over j around one over i would jump from row to
row for every few columns, and memory is slow to deliver that.  Here some whole rows at a time are added to all sums of
a block of columns, which stay in the cache:

    for b in blocks of columns:
        sums[j] = 0;  for each ROWS rows: sums[j] = ((sums[j] + ..) + ..) + ..;  what follows from sums[j]

Every sum takes its terms in the same order as before.  Blocks of columns are what threads share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from graphc.codegen.kernel import (
    Affine,
    Buffer,
    Call,
    Cast,
    Const,
    Fold,
    For,
    Load,
    Position,
    Scalar,
    Select,
    Stmt,
    Store,
    Var,
    affine,
    closure,
)

ROWS = 8  # read side by side
LARGE = 1 << 20  # bytes of a matrix that the second-level cache does not keep
LANES = 16  # of a full vector
FAR = 1024  # bytes from row to row of one whose columns are slow to read
BLOCK, LEAST, MOST = 512, 256, 4096  # columns of a block: at best, at least, and at most if no number divides all


def streamed(stmts: tuple[Stmt, ...]) -> tuple[tuple[Stmt, ...], list[Buffer]]:
    """(the statements with such sums turned round, the scratch buffers for that)."""
    scratch: list[Buffer] = []
    found = [_streamed(stmt, scratch) for stmt in stmts]
    return tuple(found), scratch


@dataclass(frozen=True)
class _Sums:
    """Sums that are worth it: the loop over columns, around that over `count` rows, and the columns of a block."""

    columns: For
    rows: For
    count: int
    blocks: int
    width: int


def _streamed(stmt: Stmt, scratch: list[Buffer]) -> Stmt:
    found = _sums(stmt)
    if found is None:
        return stmt
    rows, width = found.rows, found.width
    sums = [Buffer(f"sums{len(scratch) + n}", f.temp.dtype, (width,), "scratch") for n, f in enumerate(rows.folds)]
    scratch += sums
    block = Var("b", found.blocks)

    def place(column: Var) -> Affine:
        return affine(block) * width + affine(column)

    def added(first: Affine, count: int) -> For:
        """The terms of `count` rows added to every sum."""
        column = Var("j", width)
        stores = []
        for fold, buffer in zip(rows.folds, sums, strict=True):
            total: Scalar = Load(buffer.dtype, buffer, affine(column))
            for n in range(count):
                moved = Moved({found.columns.var: place(column), rows.var: first + n}, {})
                total = Call(buffer.dtype, fold.combine, (total, moved.scalar(fold.value)))
            stores.append(Store(buffer, affine(column), total))
        return For(column, tuple(stores), vector=True)

    fill, group, last = Var("j", width), Var("i", found.count // ROWS), Var("j", width)
    clear = tuple(Store(b, affine(fill), Const(b.dtype, f.identity)) for f, b in zip(rows.folds, sums, strict=True))
    body: list[Stmt] = [For(fill, clear, vector=True), For(group, (added(affine(group) * ROWS, ROWS),))]
    if rest := found.count % ROWS:
        body.append(added(affine(found.count - rest), rest))
    given: dict[Scalar, Scalar] = {
        f.temp: Load(b.dtype, b, affine(last)) for f, b in zip(rows.folds, sums, strict=True)
    }
    moved = Moved({found.columns.var: place(last)}, given)
    stores = [x for x in found.columns.body if isinstance(x, Store)]
    after = tuple(replace(s, at=moved.affine(s.at), value=moved.scalar(s.value)) for s in stores)
    return For(block, (*body, For(last, after, vector=True)))


def _sums(stmt: Stmt) -> _Sums | None:
    if not isinstance(stmt, For) or not stmt.vector or stmt.folds or not stmt.body:
        return None
    rows, *stores = stmt.body
    if not isinstance(rows, For) or rows.body or not all(isinstance(s, Store) and not s.add for s in stores):
        return None
    columns, count = stmt.var.extent, rows.var.extent
    if not isinstance(columns, int) or not isinstance(count, int) or count < ROWS:
        return None
    width = _block(columns)
    if width is None or not any(_is_far(fold, stmt.var, rows.var, count) for fold in rows.folds):
        return None
    return _Sums(stmt, rows, count, columns // width, width)


def _block(columns: int) -> int | None:
    """The columns of a block: even blocks of whole vectors, else all columns; None if those are too many."""
    even = [width for width in range(BLOCK, LEAST - 1, -LANES) if columns % width == 0]
    return even[0] if even else columns if columns <= MOST else None


def _is_far(fold: Fold, column: Var, row: Var, count: int) -> bool:
    """Whether a fold reads a large matrix whose rows it goes down."""
    for s in closure((fold.value,)):
        if isinstance(s, Load) and s.at.coefficient(column) == 1:
            step = s.at.coefficient(row)
            if isinstance(step, int) and step * s.dtype.size >= FAR and step * s.dtype.size * count >= LARGE:
                return True
    return False


class Moved:
    """Scalars with other indices for variables, and other scalars for temps; what is shared stays shared."""

    def __init__(self, variables: Mapping[Var, Affine], temps: Mapping[Scalar, Scalar]) -> None:
        self.variables = dict(variables)
        self.done = dict(temps)

    def scalar(self, root: Scalar) -> Scalar:
        for s in closure((root,)):
            if s not in self.done:
                self.done[s] = self._one(s)
        return self.done[root]

    def affine(self, index: Affine) -> Affine:
        total = Affine(index.constant)
        for term, coefficient in index.terms:
            if isinstance(term, Var):
                total = total + self.variables.get(term, affine(term)) * coefficient
            else:
                total = total + affine(self.scalar(term)) * coefficient
        return total

    def _one(self, s: Scalar) -> Scalar:
        """A scalar whose operands are done."""
        match s:
            case Load(_, _, at, guard, otherwise):
                return replace(s, at=self.affine(at), guard=self._maybe(guard), otherwise=self._maybe(otherwise))
            case Call(_, _, args):
                return replace(s, args=self._all(args))
            case Cast(_, value):
                return replace(s, value=self.done[value])
            case Select(_, condition, yes, no):
                return Select(s.dtype, *self._all((condition, yes, no)))
            case Position(_, index):
                return replace(s, index=self.affine(index))
        return s

    def _maybe(self, s: Scalar | None) -> Scalar | None:
        return None if s is None else self.done[s]

    def _all(self, scalars: Sequence[Scalar]) -> tuple[Scalar, ...]:
        return tuple(self.done[s] for s in scalars)
