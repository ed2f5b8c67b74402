"""How several threads share one kernel: phases, and in each the loop or the contractions whose turns are shared out.

A phase is a run of the kernel's statements that needs no meeting of the threads inside. Its split is either a loop,
of which every thread takes a run of turns, or the contractions in it, of which every thread takes some tiles. In both
every element of the result is computed by one thread from the same operands in the same order as on one thread alone,
so that the bits do not depend on the number of threads. A scratch buffer that each turn writes anew is private: every
thread has its own. What cannot be shared out is done by one thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from graphc.codegen.cost import cost_of
from graphc.codegen.kernel import (
    Affine,
    Buffer,
    Contract,
    For,
    Kernel,
    Load,
    Routine,
    Scalar,
    Stmt,
    Store,
    Var,
    closure,
    scalars_of,
    statements,
)
from graphc.codegen.target import Target
from graphc.ir.dims import Dim, is_at_least

ENOUGH = 8  # turns of a loop (vectors, for a vector loop) that every number of threads can share well
LANES = 16  # of a vector loop, to guess its turns


@dataclass(frozen=True)
class Rows:
    """Rows in tiles of at most `height`, as even as can be: each thread does those of a run of tiles."""

    count: int
    height: int

    @property
    def tiles(self) -> int:
        return -(-self.count // self.height)


@dataclass(frozen=True, eq=False)
class Split:
    """What is shared out: the turns of `loop`, or the tiles of all contractions.

    With `rows` each thread has these rows of the loop, or of the only contraction (graphc.codegen.row_parts).
    """

    loop: For | None
    rows: Rows | None = None


@dataclass(frozen=True, eq=False)
class Phase:
    """Statements of a kernel; without a split for one thread alone. `private`: scratch that every thread has.

    `owned`: buffers of which each row of the split has a block of so many bytes, and touches no other.
    """

    kernel: Kernel
    split: Split | None
    private: tuple[Buffer, ...]
    cost: Dim
    owned: Mapping[Buffer, Dim] = field(default_factory=dict)

    def rows_of(self, buffer: Buffer) -> tuple[Rows, Dim] | None:
        """Which rows threads have in a buffer, and the bytes of one; None if they come anywhere."""
        rows = self.split.rows if self.split is not None else None
        return None if rows is None or buffer not in self.owned else (rows, self.owned[buffer])

    def touched(self) -> tuple[list[Buffer], list[Buffer]]:
        """(the buffers that are read, those that are written)."""
        reads, writes = _reads(self.kernel.body), _writes(self.kernel.body)
        return [b for b in self.kernel.buffers if b in reads], [b for b in self.kernel.buffers if b in writes]


def phases(kernel: Kernel, target: Target) -> tuple[Phase, ...]:
    """The kernel's phases in order; one for one thread if nothing in it can be shared out."""
    found = [_split(stmt) for stmt in kernel.body]
    if any(isinstance(s, For) and s.folds for s in kernel.body) or not any(found):
        return (Phase(kernel, None, (), cost_of(kernel.body, target)),)
    owner = _owners(kernel, found)
    groups: list[tuple[list[Stmt], _Found | None]] = []
    for number, stmt in enumerate(kernel.body):
        if owner[number] not in (None, number):
            continue  # prepares private memory: every thread does, right before it is used
        chosen = found[number] if owner[number] == number else None
        before = [kernel.body[n] for n, of in enumerate(owner) if of == number and n != number]
        if chosen is None and groups and groups[-1][1] is None:
            groups[-1][0].append(stmt)
        else:
            groups.append(([*before, stmt], chosen))
    return tuple(_phase(kernel, stmts, chosen, target) for stmts, chosen in groups)


@dataclass(frozen=True, eq=False)
class _Found:
    split: Split
    private: dict[Buffer, None]


def _phase(kernel: Kernel, stmts: list[Stmt], chosen: _Found | None, target: Target) -> Phase:
    part = replace(kernel, body=tuple(stmts))
    cost = cost_of(stmts, target)
    return Phase(part, chosen.split, tuple(chosen.private), cost) if chosen else Phase(part, None, (), cost)


def _owners(kernel: Kernel, found: list[_Found | None]) -> list[int | None]:
    """For every statement the number of the split one that it belongs to; None: it is for one thread.

    Where private memory is touched by others than those that only prepare it, its statement is not split.
    """
    body = kernel.body
    owner: list[int | None] = [None] * len(body)
    written = _writes(body)
    needy = [number for number, chosen in enumerate(found) if chosen is not None and chosen.private]
    for number in dict.fromkeys([*needy, *range(len(body))]):  # those first whose memory others may only prepare
        chosen = found[number]
        if chosen is None or owner[number] is not None:
            continue
        others = [n for n in range(len(body)) if n != number and _touches((body[n],), chosen.private)]
        prepares = all(
            n < number
            and owner[n] is None
            and all(b in chosen.private for b in _writes((body[n],)))
            and not any(b in written for b in _reads((body[n],)))
            for n in others
        )
        if prepares:
            owner[number] = number
            for n in others:
                owner[n] = number
    return owner


def _split(stmt: Stmt) -> _Found | None:
    """The best split of one statement: an outer loop with turns enough, or contractions, or a loop with few turns."""
    chain = [*_chain(stmt)]
    loops = [
        (loop, private)
        for depth, loop in enumerate(chain)
        if (private := _private_of_loop(loop, [outer.var for outer in chain[:depth]])) is not None
    ]
    for loop, private in loops:
        if _turns(loop) >= ENOUGH:
            return _Found(Split(loop), private)
    inner = _private_of_contractions(stmt)
    if inner is not None:
        return _Found(Split(None), inner)
    best = max(loops, key=lambda one: _turns(one[0]), default=None)
    return None if best is None or _turns(best[0]) < 2 else _Found(Split(best[0]), best[1])


def _chain(stmt: Stmt) -> Iterator[For]:
    """The loops from the outermost inwards, as long as each holds nothing but the next."""
    while isinstance(stmt, For) and not stmt.folds:
        yield stmt
        if len(stmt.body) != 1:
            return
        stmt = stmt.body[0]


def _turns(loop: For) -> int:
    extent = loop.var.extent
    if not isinstance(extent, int):
        return ENOUGH
    return -(-extent // LANES) if loop.vector else extent


def _private_of_loop(loop: For, outer: Sequence[Var]) -> dict[Buffer, None] | None:
    """The scratch that each turn writes anew; None if turns depend on each other otherwise.

    `outer` are the loops around it, the outermost first: all threads run them, each at its own speed.
    """
    private: dict[Buffer, None] = {}
    shared: dict[Buffer, Affine] = {}
    for stmt in statements((loop,)):
        if isinstance(stmt, Contract) and stmt.workspace is not None:
            private[stmt.workspace] = None
        if isinstance(stmt, Routine):
            return None
        if not isinstance(stmt, Store):
            continue
        if stmt.at.coefficient(loop.var) != 0:
            if _key(shared.setdefault(stmt.buffer, stmt.at)) != _key(stmt.at) and _loads((loop,), stmt.buffer):
                return None
        elif stmt.buffer.role == "scratch" and not stmt.add:
            private[stmt.buffer] = None
        else:
            return None
    if any(buffer in private for buffer in shared):
        return None
    own = [*outer, loop.var]
    return None if any(_is_read_elsewhere((loop,), buffer, at, own) for buffer, at in shared.items()) else private


def _private_of_contractions(stmt: Stmt) -> dict[Buffer, None] | None:
    """The scratch around contractions whose tiles are shared out; None if there is more than that around them."""
    private: dict[Buffer, None] = {}
    stored: dict[Buffer, None] = {}
    contractions = [s for s in statements((stmt,)) if isinstance(s, Contract)]
    inside = {id(store) for c in contractions for store in c.epilogue}
    for one in statements((stmt,)):
        if isinstance(one, Routine) or (isinstance(one, For) and one.folds):
            return None
        if isinstance(one, Contract):
            if one.workspace is not None:
                private[one.workspace] = None
            if not all(_tells_apart(store, one.row) and _tells_apart(store, one.column) for store in one.epilogue):
                return None
            stored.update({store.buffer: None for store in one.epilogue})
        elif isinstance(one, Store) and id(one) not in inside:
            if one.buffer.role != "scratch" or one.add:
                return None
            private[one.buffer] = None
    if not contractions or any(b in private for b in stored):
        return None
    return None if any(b in _reads((stmt,)) for b in stored) else private


def _tells_apart(store: Store, var: Var) -> bool:
    return var.extent == 1 or store.at.coefficient(var) != 0


def _is_read_elsewhere(stmts: Sequence[Stmt], buffer: Buffer, at: Affine, own: Sequence[Var]) -> bool:
    """Whether a buffer that is written at `at` is read at another place, which may be another thread's.

    A contraction may read anything in the block of memory that is of one turn of the loops `own` alone.
    """
    if any(_key(load.at) != _key(at) for load in _loads(stmts, buffer)):
        return True
    operands = [one for s in statements(stmts) if isinstance(s, Contract) for one in operands_of(s) if one[0] is buffer]
    if not operands:
        return False
    blocks = [block_of(at, own, [])] + [block_of(place, own, steps) for _, place, steps in operands]
    return blocks[0] is None or any(block != blocks[0] for block in blocks)


def operands_of(contract: Contract) -> tuple[tuple[Buffer, Affine, list[tuple[Dim, Dim]]], ...]:
    """The buffers that it reads, from where on, and the (extent, step) of each axis along which it does."""
    a = [(contract.row.extent, contract.a_row_stride), *((axis.extent, axis.a_stride) for axis in contract.k)]
    b = [(contract.column.extent, contract.b_column_stride), *((axis.extent, axis.b_stride) for axis in contract.k)]
    return (contract.a, contract.a_at, a), (contract.b, contract.b_at, b)


def block_of(at: Affine, own: Sequence[Var], steps: Sequence[tuple[Dim, Dim]]) -> tuple[Dim, ...] | None:
    """The steps of the loops `own` (the outermost first) if each turn of the innermost has a block of its own.

    That is so if what a loop's turn reaches, by all that is inside of it, is less than the loop's own step.
    """
    inside = [*steps, *((term.extent, step) for term, step in at.terms if isinstance(term, Var) and term not in own)]
    if any(not isinstance(term, Var) for term, _ in at.terms) or not is_at_least(at.constant, 0):
        return None
    if not all(is_at_least(step, 0) for _, step in inside):
        return None
    reach = at.constant
    for extent, step in inside:
        reach = reach + (extent - 1) * step
    for var in reversed(own):
        step = at.coefficient(var)
        if not is_at_least(step, reach + 1):
            return None
        reach = reach + (var.extent - 1) * step
    return tuple(at.coefficient(var) for var in own)


def _loads(stmts: Sequence[Stmt], buffer: Buffer) -> list[Load]:
    every = closure(tuple(scalars_of(tuple(stmts))))
    return [s for s in every if isinstance(s, Load) and s.buffer is buffer]


def _key(at: Affine) -> Any:
    return at.constant, dict(at.terms)


def _reads(stmts: Sequence[Stmt]) -> dict[Buffer, None]:
    found = {s.buffer: None for s in closure(tuple(scalars_of(tuple(stmts)))) if isinstance(s, Load)}
    for stmt in statements(stmts):
        if isinstance(stmt, Contract):
            found.update({stmt.a: None, stmt.b: None})
            places = [term for at in (stmt.a_at, stmt.b_at) for term, _ in at.terms if isinstance(term, Scalar)]
            found.update({s.buffer: None for s in closure(tuple(places)) if isinstance(s, Load)})
        elif isinstance(stmt, Routine):
            found.update(dict.fromkeys(stmt.buffers))
    return found


def _writes(stmts: Sequence[Stmt]) -> dict[Buffer, None]:
    found: dict[Buffer, None] = {}
    for stmt in statements(stmts):
        if isinstance(stmt, Store):
            found[stmt.buffer] = None
        elif isinstance(stmt, Contract) and stmt.workspace is not None:
            found[stmt.workspace] = None
        elif isinstance(stmt, Routine):
            found.update(dict.fromkeys(stmt.buffers))
    return found


def _touches(stmts: Sequence[Stmt], buffers: dict[Buffer, None]) -> bool:
    return any(b in buffers for b in (*_reads(stmts), *_writes(stmts)))
