"""A finished register tile that waits in memory, so that its epilogue runs amid the sums of the next tile.

A long epilogue divides and takes roots, for which there is a unit of its own, and reads memory that answers late:
behind the sums everything waits for both. Amid other sums it costs little more than its instructions: a vector of the
tile that waits stands between two parts of them, and what it reads was asked for a whole tile before.

The room of a waiting tile is its sums, then its first row and column and the number of its rows (i64): 0 if none waits.
It lies on the stack of the function that walks over the tiles; all that wait there are of one kind of panel.
"""

from __future__ import annotations

from graphc.codegen.contraction_spec import Columns, Late, Tile
from graphc.codegen.llvm import Function, Index, Value, const, vector
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


def part_of(f: Function, plan: Plan, panel: Panel, row: Index, vectors: list[Index]) -> None:
    """In a micro kernel: the epilogue of vectors in a row of the tile that waits, if it has so many rows."""
    at = f[PARAM]
    first, start, rows = _place(f, plan, at)
    with f.when(f.icmp("sgt", rows, row)):
        for number in vectors:
            sums = f.offset(at, plan.contraction.scalar, f.mul(f.add(f.mul(row, panel.vectors), number), plan.lanes))
            column = f.add(start, f.mul(number, plan.lanes))
            may_be_last = not isinstance(number, int) or number == panel.vectors - 1
            is_masked = may_be_last and panel.valid not in (None, plan.lanes)
            mask = f.tail_mask(_left(f, plan, column), plan.lanes) if is_masked else None
            _late(plan).vector(f, _given(f, plan), sums, f.add(first, row), column, mask)


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
    return f.tail_mask(_left(f, plan, f.add(first, (panel.vectors - 1) * plan.lanes)), plan.lanes)


def _left(f: Function, plan: Plan, column: Value) -> Index:
    """How many columns there are from this one on."""
    n = plan.contraction.n
    return f.sub(f[n] if isinstance(n, str) else n, column)


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
