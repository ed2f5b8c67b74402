"""A finished register tile that waits in memory, so that its epilogue runs amid the sums of the next tile.

A long epilogue divides and takes roots, for which there is a unit of its own, and reads memory that answers late:
behind the sums everything waits for both. Amid other sums it costs little more than its instructions: a row of the tile
that waits stands between two parts of them, and what it reads was asked for a whole tile before.

The room of a waiting tile is its sums, then its first row and column and the number of its rows (i64): 0 if none waits.
It lies on the stack of the function that walks over the tiles; all that wait there are of one kind of panel.
"""

from __future__ import annotations

from graphc.codegen.contraction_spec import Columns, Late, Tile
from graphc.codegen.llvm import Function, Value, const, vector
from graphc.codegen.tiling import Panel, Plan

PARAM = ".waiting"  # of a micro kernel: where the tile before waits, and where its own is left


def room(f: Function, plan: Plan) -> Value:
    """Room for a tile; none waits there yet."""
    sums, numbers = plan.height * plan.vectors, 2  # vectors, of which two hold three i64
    at = f.local(vector(plan.contraction.scalar, plan.lanes), sums + numbers)
    clear(f, plan, at)
    return at


def clear(f: Function, plan: Plan, at: Value) -> None:
    """No tile waits any more."""
    f.store(const("i64", 0), _number(f, plan, at, 2))


def leave(f: Function, plan: Plan, tile: Tile) -> None:
    """A micro kernel leaves its tile for the next one."""
    at = f[PARAM]
    for i, value in enumerate(value for row in tile.accumulators for value in row):
        f.store(value, f.offset(at, plan.contraction.scalar, i * plan.lanes))
    for i, value in enumerate((tile.rows[0], tile.columns[0][0], const("i64", len(tile.rows)))):
        f.store(value, _number(f, plan, at, i))


def row(f: Function, plan: Plan, panel: Panel, number: Value) -> None:
    """In a micro kernel: the epilogue of one row of the tile that waits, if it has so many."""
    at = f[PARAM]
    first, column, rows = _place(f, plan, at)
    with f.when(f.icmp("slt", number, rows)):
        sums = f.offset(at, plan.contraction.scalar, f.mul(number, panel.vectors * plan.lanes))
        columns = columns_of(f, plan, panel, column)
        _late(plan).row(f, _given(f, plan), sums, f.add(first, number), columns)


def finish(f: Function, plan: Plan, panel: Panel, at: Value) -> None:
    """The epilogue of the last tile, if one waits; none does afterwards."""
    place = _place(f, plan, at)
    with f.when(f.icmp("sgt", place[2], 0)):
        _late(plan).tile(f, _given(f, plan), at, place, columns_of(f, plan, panel, place[1]))
        clear(f, plan, at)


def columns_of(f: Function, plan: Plan, panel: Panel, first: Value) -> Columns:
    """Where the vectors of a tile of the panel begin, and their masks."""
    starts = [f.add(first, v * plan.lanes) for v in range(panel.vectors)]
    return list(zip(starts, [*[None] * (panel.vectors - 1), last_mask(f, plan, panel, first)], strict=True))


def last_mask(f: Function, plan: Plan, panel: Panel, first: Value) -> Value | None:
    """The lanes of the last vector that are columns of the result; None if all are."""
    if panel.valid is None or panel.valid == plan.lanes:
        return None
    if panel.valid >= 0:
        return f.tail_mask(panel.valid, plan.lanes)
    n = plan.contraction.n
    last = f.add(first, (panel.vectors - 1) * plan.lanes)
    return f.tail_mask(f.sub(f[n] if isinstance(n, str) else n, last), plan.lanes)


def _late(plan: Plan) -> Late:
    late = plan.contraction.late
    assert late is not None, "tiles wait for an epilogue that can be late"
    return late


def _given(f: Function, plan: Plan) -> dict[str, Value]:
    return {name: f[name] for _, name in plan.contraction.params}


def _place(f: Function, plan: Plan, at: Value) -> list[Value]:
    """First row, first column and number of rows of the tile that waits."""
    return [f.load(_number(f, plan, at, i), "i64") for i in range(3)]


def _number(f: Function, plan: Plan, at: Value, index: int) -> Value:
    behind = f.offset(at, plan.contraction.scalar, plan.height * plan.vectors * plan.lanes)
    return f.offset(behind, "i64", index)
