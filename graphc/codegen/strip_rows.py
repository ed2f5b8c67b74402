"""The sweeps over the rows of a strip, up to the diagonal where a mask hides the rest of each row.

In  where(row >= column, x, c)  every element behind the diagonal is c, whatever x is. If all that a sweep folds or
stores there is then the same for a whole row, the sweep is cut in two: one over what can be seen, and one over the
rest, which computes its value once a row and adds nothing if that is neutral. What was hidden need not be computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from graphc.codegen.kernel import (
    Affine,
    Ask,
    Buffer,
    Call,
    Const,
    Fold,
    For,
    Load,
    Position,
    Scalar,
    Stmt,
    Store,
    Temp,
    Var,
    affine,
    closure,
    indices,
    scalars_of,
    stores_of,
)
from graphc.codegen.loops import Nest, Space, inner_nodes
from graphc.codegen.scalars import Pull, linear
from graphc.ir.dims import Dim, floordiv
from graphc.ir.node import Node
from graphc.ir.types import BOOL, I32, I64

ENDS = {"ge": 1, "gt": 0, "le": 1, "lt": 0}  # how far behind the place where both are equal a comparison ends to hold
TOGETHER = 4  # rows of a group: while one waits for its sum, sweeps of the others go on
NEAR = 1 << 10  # elements of the rows of a group: what is kept of them stays in the first-level cache
SMALL = 1 << 30  # numbers that can be added to a place without wrapping around


@dataclass(frozen=True)
class Strip:
    """`height` rows from row `start` on, for one index of the outer axes.

    The first contraction, if there is one, is `given`; its result is in `buffer`.
    """

    buffer: Buffer
    space: Space
    outer: tuple[Var, ...]
    start: Affine
    height: Dim
    given: Node | None


def strip_rows(strip: Strip, outputs: Mapping[Node, Buffer], inputs: Mapping[Node, Buffer]) -> StripRows:
    """The sweeps; what is not stored in memory stays in the strip."""
    try:
        return StripRows(strip, outputs, inputs, masked=True)
    except _Everywhere:
        return StripRows(strip, outputs, inputs, masked=False)


class _Everywhere(Exception):
    """Something is computed behind the diagonal that differs along a row."""


class StripRows(Nest):
    """`diagonal`: row r is hidden from column r + diagonal on; None if nothing is known to be."""

    def __init__(
        self, strip: Strip, outputs: Mapping[Node, Buffer], inputs: Mapping[Node, Buffer], masked: bool
    ) -> None:
        self.strip, self.space, self.outputs, self.scratch = strip, strip.space, outputs, []
        self.inner = inner_nodes(list(outputs), inputs)
        self.column = Var("s", strip.space.shape[-1])
        self.together = _rows_together(strip.height, self.column.extent)
        self.group = Var("g", floordiv(strip.height, self.together))
        self.var = Var("r", self.together if self.together > 1 else strip.height)
        self.at = affine(self.var) + (affine(self.group) * self.together if self.together > 1 else 0)
        self.vars = [(self.var, False), (self.column, True)]
        self.inside = self.at * self.column.extent + affine(self.column)
        self.row = (*(affine(var) for var in strip.outer), strip.start + self.at)
        self.full = (*self.row, affine(self.column))
        self.pull, self.beyond = Pull(inputs), Pull(inputs)
        for pull in (self.pull, self.beyond):
            if strip.given is not None:
                pull.give(strip.given, self.full, Load(strip.buffer.dtype, strip.buffer, self.inside))
        self.stop = self._stop() if masked else None
        self.stmts = self._nest()

    @property
    def diagonal(self) -> Affine | None:
        return None if self.stop is None else self.stop - self.at

    def place(self, output: Buffer) -> Affine:
        if output is self.strip.buffer:
            return self.inside
        return super().place(output) if output.role != "scratch" else linear(output, self.full[-2:])

    def _stop(self) -> Affine | None:
        """The end of what the first mask that has one lets through of a row; behind it, such masks are resolved."""
        stop: Affine | None = None
        for node in self.inner:
            if node.op != "where" or node.shape != self.space.shape:
                continue
            condition, _, hidden = node.inputs
            found = self._end(self.pull.read(condition, self.full))
            if found is None or (stop is not None and not _is_zero(stop - found)):
                continue
            stop = found
            self.beyond.give(node, self.full, self.beyond.read(hidden, self.full))
        return stop

    def _end(self, condition: Scalar) -> Affine | None:
        """The column, one more for each row, from which on a condition never holds."""
        match condition:
            case Call(_, "and", (a, b)):
                return self._end(a) or self._end(b)
            case Call(_, op, (x, y)) if op in ENDS:
                left, right = _index(x), _index(y)
                if left is None or right is None:
                    return None
                ahead = left - right if op in ("ge", "gt") else right - left
                if ahead.coefficient(self.var) == 1 and ahead.coefficient(self.column) == -1:
                    return ahead + affine(self.column) + ENDS[op]
        return None

    # ---- some rows at a time -----------------------------------------------------------------------------------------

    def _around(self, sweeps: list[list[Stmt]]) -> tuple[Stmt, ...]:
        if self.together == 1:
            return super()._around(sweeps)
        return (For(self.group, tuple(For(self.var, tuple(sweep)) for sweep in sweeps)),)

    def _keep(self, folds: list[Node]) -> list[Stmt]:
        """Stores of what was folded, an element for each row of a group, from where later sweeps load it."""
        if self.together == 1:
            return []
        stores: list[Stmt] = []
        for node in folds:
            buffer = Buffer(f"row{len(self.scratch)}", node.dtype, (self.together,), "scratch")
            self.scratch.append(buffer)
            stores.append(Store(buffer, affine(self.var), self.pull.read(node, self.row)))
            for pull in (self.pull, self.beyond):
                pull.give(node, self.row, Load(node.dtype, buffer, affine(self.var)))
        return stores

    def _spill_vars(self) -> tuple[Var, ...]:
        return (self.column,) if self.together == 1 else (self.var, self.column)

    # ---- the two parts of a sweep ------------------------------------------------------------------------------------

    def hidden(self, node: Node) -> Scalar:
        """What a node is behind the diagonal, the same in a whole row; raises _Everywhere if it differs."""
        value = self._value(node, self.full, self.beyond)
        at = [index for scalar in closure((value,)) for index in indices(scalar)]
        if any(index.coefficient(self.column) != 0 for index in at):
            raise _Everywhere
        return value

    def _folding(self, nodes: list[Node], stores: list[Stmt]) -> list[Stmt]:
        if self.stop is None:
            return super()._folding(nodes, stores)
        folds, rest = [self._fold(node) for node in nodes], []
        for node, fold in zip(nodes, folds, strict=True):
            value, total = self.hidden(node.inputs[0]), self.pull.read(node, self.row)
            if not (isinstance(value, Const) and value.value == fold.identity):
                other = Temp(fold.temp.dtype, f"{fold.temp.name}.hidden")
                rest.append(replace(fold, temp=other, value=value))
                total = Call(fold.temp.dtype, fold.combine, (fold.temp, other))
            for pull in (self.pull, self.beyond):
                pull.give(node, self.row, total)
        return self._parts(self._sweep(folds, stores), self._sweep(rest, []) if rest else None)

    def _storing(self, stores: list[Stmt]) -> list[Stmt]:
        if self.stop is None:
            return super()._storing(stores)
        full = [node for node in self.outputs if node.shape == self.space.shape]
        if len(full) != len(stores):
            raise _Everywhere
        rest: list[Stmt] = []
        for node in full:
            output = self.outputs[node]
            rest.append(Store(output, self.place(output), self.hidden(node)))
        return self._parts(self._sweep([], stores), self._sweep([], rest))

    def _parts(self, seen: For, hidden: For | None) -> list[Stmt]:
        rest = [replace(hidden, start=self.stop)] if hidden is not None else []
        return [replace(seen, stop=self.stop), *rest]

    # ---- what the sweeps need of memory ------------------------------------------------------------------------------

    def asks(self, row: Var, column: Var) -> tuple[Ask, ...]:
        """What the sweeps read or write at a row and column of much memory: the first contraction can ask for it."""
        found: dict[tuple[object, ...], Ask] = {}
        loads = [s for s in closure(tuple(scalars_of(self.stmts))) if isinstance(s, Load) and s.guard is None]
        asks = [Ask(s.buffer, s.at) for s in loads] + [Ask(s.buffer, s.at, True) for s in stores_of(self.stmts)]
        for ask in asks:
            if ask.buffer.role != "scratch" and ask.buffer.is_large and ask.at.is_of_rows(self.var, self.column):
                moved = (affine(row) - self.at) * ask.at.coefficient(self.var) + affine(column) - affine(self.column)
                at = ask.at + moved
                found.setdefault((ask.buffer, at.constant, at.terms), replace(ask, at=at))
        return tuple(found.values())

    def told(self, node: Node) -> tuple[tuple[Stmt, ...], Scalar | None]:
        """(the sweeps, which also tell where a node is not zero behind the diagonal; None: it is zero)."""
        value = self.hidden(node)
        if isinstance(value, Const) and value.value == 0:
            return self.stmts, None
        (rows,) = self.stmts
        assert isinstance(rows, For), "the rows of a strip are one loop"
        zero = Const(value.dtype, 0.0)
        counts: Scalar = Call(BOOL, "ne", (value, zero))
        somewhere = Temp(BOOL, "somewhere")
        if self.together > 1:
            *before, last = rows.body
            assert isinstance(last, For), "a loop over rows for each sweep"
            inner = Fold(Temp(BOOL, "somewhere.r"), "or", False, counts)
            rows, counts = replace(rows, body=(*before, replace(last, folds=(inner,)))), inner.temp
        return (replace(rows, folds=(Fold(somewhere, "or", False, counts),)),), somewhere


def _rows_together(height: Dim, width: Dim) -> int:
    """Rows of a group, each sweep over which is done before the next begins: a divisor of the height, if that is known.

    A short row is over before its maximum or sum is there, for which the row's next sweep waits.
    """
    if not isinstance(height, int) or not isinstance(width, int):
        return 1
    near = (count for count in range(TOGETHER, 1, -1) if count * width <= NEAR)
    return next((count for count in near if height % count == 0), 1)


def _is_zero(index: Affine) -> bool:
    return index.constant == 0 and not index.terms


def _index(scalar: Scalar) -> Affine | None:
    """An integer as an index expression, if it is one."""
    if scalar.dtype not in (I32, I64):
        return None  # others wrap around or round sooner
    match scalar:
        case Position(_, index):
            return index
        case Const(_, value) if -SMALL < value < SMALL:
            return Affine(int(value))
        case Call(_, "add" | "sub" as op, (x, y)):
            a, b = _index(x), _index(y)
            if a is not None and b is not None:
                return a + b if op == "add" else a - b
    return None


__all__ = ["Strip", "StripRows", "strip_rows"]
