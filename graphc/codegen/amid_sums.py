"""Which epilogues of a contraction can run amid the sums of the tile that is computed next (graphc.codegen.waiting)."""

from __future__ import annotations

from graphc.codegen.kernel import (
    Call,
    Const,
    Contract,
    Load,
    Scalar,
    Select,
    Temp,
    Var,
    closure,
    indices,
    operands,
    scalars_of,
)
from graphc.ir.dims import product
from graphc.ir.types import BOOL, DType
from graphc.ops.op import instructions

DEEP = 64  # sums that take longer than the epilogue's memory
DEAR = 10  # instructions of an epilogue that is worth it
SINGLE = 6  # instructions of an op that is one, or two: a division, a root, its inverse
SPARE = 2  # registers beside what lives: for an operand that is spread over one, and while values change places


def length_of(stmt: Contract) -> int:
    """Instructions of the epilogue, roughly."""
    calls = [s for s in closure(tuple(scalars_of(stmt.epilogue))) if isinstance(s, Call)]
    return sum(instructions(s.op) for s in calls)


def registers_amid_sums(stmt: Contract) -> int | None:
    """Vectors that a row's epilogue needs at a time amid the sums of another tile; None if it is not for there.

    It is if it is not short, of instructions of the processor: functions of many instructions need registers for
    constants, and have work enough of their own to hide what waits. Beside short sums the memory is what counts.
    """
    depth = product(axis.extent for axis in stmt.k)
    if isinstance(depth, int) and depth < DEEP:
        return None
    every = closure(tuple(scalars_of(stmt.epilogue)))
    if stmt.others or length_of(stmt) < DEAR or not all(s.at.is_of_rows(stmt.row, stmt.column) for s in stmt.epilogue):
        return None
    varies: dict[Scalar, bool] = {}  # from column to column
    for s in every:
        at_columns = any(at.coefficient(stmt.column) != 0 for at in indices(s))
        varies[s] = s is stmt.temp or at_columns or any(varies[x] for x in operands(s))
        if not _is_plain(s, stmt.temp.dtype) or (isinstance(s, Call) and not varies[s] and instructions(s.op) > 1):
            return None  # what is the same for all columns is computed for every vector
    last = {x: s for s in every for x in operands(s)}
    last.update({store.value: every[-1] for store in stmt.epilogue})
    live: dict[Scalar, None] = {}
    most = 0
    for s in every:
        if varies[s]:
            live[s] = None
            most = max(most, len(live))
        for x in operands(s):
            if last[x] is s and x in live:
                del live[x]
    return most + SPARE


def _is_plain(s: Scalar, dtype: DType) -> bool:
    """Whether it is an instruction for a vector of the sums' type, or of truth values."""
    if s.dtype not in (dtype, BOOL):
        return False
    if isinstance(s, Load):
        return s.guard is None and all(isinstance(term, Var) for term, _ in s.at.terms)
    return isinstance(s, Const | Temp | Select) or (isinstance(s, Call) and instructions(s.op) <= SINGLE)
