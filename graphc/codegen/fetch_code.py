"""The code that asks for the fetches of a contraction: a row's lines, shared out between the tiles of the row.

The lines are in groups of a few. Where the first group of row 0 lies, and how far rows lie apart, is a table in memory
that is written before the contraction: so the kernels of all register tiles get by with one pointer and little code.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.codegen.kernel import Contract
from graphc.codegen.llvm import Function, Value, const
from graphc.codegen.scalar_code import ScalarCode
from graphc.codegen.target import LINE

PARAM = "fetches"  # where the table is: a parameter of the functions that ask
GROUP = 8  # lines of the cache that are asked for together
WORD = 8


def table(stmt: Contract, code: ScalarCode) -> Value:
    """Writes the table, on the stack: for every group its address in row 0, and the bytes from row to row."""
    f, group, entries = code.f, _group(stmt), []
    for one in stmt.fetches:
        start = code.address(one.buffer, one.at)
        entries += [(f.offset(start, "i8", place), one.row) for place in range(0, one.row, group)]
    at = f.local("i64", 2 * len(entries))
    for number, (address, row) in enumerate(entries):
        f.store(address, f.offset(at, "i64", 2 * number), WORD)
        f.store(const("i64", row), f.offset(at, "i64", 2 * number + 1))
    return at


def ask(f: Function, stmt: Contract, at: Value, lanes: int, row: Value, columns: Sequence[Value]) -> None:
    """Asks for what these vectors of columns, of so many lanes, have to ask for in a row; `at` is the table."""
    group = _group(stmt)
    groups, vectors = sum(-(-one.row // group) for one in stmt.fetches), _vectors(stmt, lanes)
    first = f.sdiv(columns[0], lanes)
    low, high = (f.sdiv(f.mul(f.add(first, v), groups), vectors) for v in (0, len(columns)))
    with f.loop(low, high, may_be_empty=True) as loop:
        entry = f.offset(at, "i64", f.mul(loop.index, 2))
        start, step = f.load(entry, "ptr", WORD), f.load(f.offset(entry, "i64", 1), "i64")
        place = f.offset(start, "i8", f.mul(row, step))
        for line in range(0, group, LINE):
            f.prefetch(f.offset(place, "i8", line), locality=2)


def _group(stmt: Contract) -> int:
    """Bytes of a group."""
    return LINE * min(GROUP, *(-(-one.row // LINE) for one in stmt.fetches))


def _vectors(stmt: Contract, lanes: int) -> int:
    """How many vectors of columns a row has."""
    columns = stmt.b.shape[0] * stmt.k[0].b_stride if stmt.others else stmt.column.extent
    assert isinstance(columns, int), "fetches are for results of known width"
    return -(-columns // lanes)
