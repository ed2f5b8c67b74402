"""The turn of a loop shared out by rows: each thread has the same rows in every phase, and need not meet the others.

The rows of a batch have nothing to do with each other in a recurrent cell but for the weights, which no turn changes.
Where every phase of a turn can be split along the same rows, a thread reads what it has written itself: of the places
that a row has a block of its own in (`Phase.owned`), graphc.codegen.meetings knows that no two threads touch the same
bytes.  Tiles of rows are no higher then than the products of the turn have them on their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from graphc.codegen.kernel import Affine, Buffer, Contract, For, Load, Stmt, Store, Var, affine, closure, scalars_of
from graphc.codegen.kernel import statements as every
from graphc.codegen.loop_code import shared_tile_height
from graphc.codegen.parallel import Phase, Rows, Split, block_of, operands_of
from graphc.codegen.target import Target
from graphc.ir.dims import Dim

FEWEST_TILES = 4  # fewer cannot be shared by several threads evenly
FEW_TILES = 12  # of which one more or less shows: their number is even
LARGEST_VECTOR = 64  # elements that a vector loop takes at a time: rows must not share one
Access = tuple[Affine, Sequence[tuple[Dim, Dim]]]  # a place, and (extent, step) of what is reached from there


def by_rows(turn: Sequence[Sequence[Phase]], target: Target) -> list[list[Phase]] | None:
    """The phases of the turn's tasks, each split along the same rows; None if one cannot be, or rows are too few."""
    rows = _rows([phase for phases in turn for phase in phases], target)
    if rows is None:
        return None
    found = [[_along(phase, rows) for phase in phases] for phases in turn]
    if any(phase is None for phases in found for phase in phases):
        return None
    return [[phase for phase in phases if phase is not None] for phases in found]


def _rows(phases: Sequence[Phase], target: Target) -> Rows | None:
    """The rows of the turn's products, in tiles that suit the one with the lowest."""
    products = [one for phase in phases if (one := _product(phase)) is not None]
    heights = [shared_tile_height(one, target) for one in products]
    count = products[0].row.extent if products else 0
    if not isinstance(count, int) or count == 0 or any(one.row.extent != count for one in products):
        return None
    lowest = min(height or 0 for height in heights)
    if lowest == 0:
        return None
    rows = Rows(count, -(-count // _even_tiles(count, -(-count // lowest))))
    return rows if rows.tiles >= FEWEST_TILES else None


def _even_tiles(count: int, least: int) -> int:
    """How many tiles rows are cut into: of one height if half as many more do for that, or an even number of few."""
    if least >= FEW_TILES:
        return least
    same = (tiles for tiles in range(least, least + least // 2 + 1) if tiles % 2 == 0 and count % tiles == 0)
    return next(same, least + least % 2)


def _product(phase: Phase) -> Contract | None:
    """The contraction of a phase whose tiles are shared out, if it is the only one and in no loop."""
    if phase.split is None or phase.split.loop is not None:
        return None
    found = [stmt for stmt in every(phase.kernel.body) if isinstance(stmt, Contract)]
    return found[0] if len(found) == 1 and any(stmt is found[0] for stmt in phase.kernel.body) else None


def _along(phase: Phase, rows: Rows) -> Phase | None:
    """The phase split along the rows, if that is possible."""
    loop = phase.split.loop if phase.split is not None else None
    inside: Stmt | None = loop if loop is not None else _product(phase)
    if inside is None or not any(stmt is inside for stmt in phase.kernel.body):
        return None
    if isinstance(inside, Contract):
        var, turns = inside.row, 1
    else:
        assert isinstance(inside, For), "a loop or a contraction"
        var, extent = inside.var, inside.var.extent
        if not isinstance(extent, int) or extent % rows.count:
            return None
        turns = extent // rows.count
        if inside.vector and turns % LARGEST_VECTOR:
            return None
    if isinstance(inside, Contract) and var.extent != rows.count:
        return None
    owned = _owned(phase, inside, var, turns)
    return replace(phase, split=Split(loop, rows), owned=owned)


def _owned(phase: Phase, inside: Stmt, var: Var, turns: int) -> dict[Buffer, Dim]:
    """Buffers of which each row, so many turns of `var`, has a block for itself -> its bytes."""
    others = tuple(stmt for stmt in phase.kernel.body if stmt is not inside)
    elsewhere = {one.buffer for one in _elements(others)}
    if not all(isinstance(stmt, For | Store) for stmt in every(others)):
        return {}
    accesses: dict[Buffer, list[Access]] = {}
    for element in _elements((inside,)):
        accesses.setdefault(element.buffer, []).append((element.at, ()))
    for stmt in every((inside,)):
        if isinstance(stmt, Contract):
            (a, at, (row, *summed)), (b, b_at, b_steps) = operands_of(stmt)
            one = (at + affine(var) * row[1], summed) if stmt is inside else (at, [row, *summed])
            accesses.setdefault(a, []).append(one)
            accesses.setdefault(b, []).append((b_at, b_steps))
    found: dict[Buffer, Dim] = {}
    for buffer, places in accesses.items():
        blocks = [block_of(at, [var], steps) for at, steps in places]
        if buffer not in elsewhere and blocks[0] is not None and all(block == blocks[0] for block in blocks):
            found[buffer] = blocks[0][0] * turns * buffer.dtype.size
    return found


def _elements(stmts: tuple[Stmt, ...]) -> list[Load | Store]:
    """All that reads or writes one element."""
    loads = [s for s in closure(tuple(scalars_of(stmts))) if isinstance(s, Load)]
    return [*loads, *(s for s in every(stmts) if isinstance(s, Store))]
