"""Elementary functions of elementary functions, in two passes over a few vectors.

A processor looks some hundreds of instructions ahead.  Where a function is taken of what others gave, as tanh of a
recurrent cell's new state, a turn of the loop is so long that the next one is not in view while the last function of
this one waits for the first.  So a first pass computes what depends on no function of a function, and keeps what the
second needs of it: each has turns that are short and do not wait for each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphc.codegen.kernel import Call, Load, Scalar, Stmt, Store, Temp, Var, closure, indices, operands
from graphc.ops.op import instructions

STRIP = 8  # vectors of a pass
FUNCTION = 10  # instructions of an op that others wait for
LONG = 20  # instructions of all ops of a turn that is worth two
MOST_KEPT = 4


@dataclass(frozen=True)
class Passes:
    """The stores of the first pass, the scalars it keeps besides, and the stores of the second."""

    early: tuple[Store, ...]
    kept: tuple[Scalar, ...]
    late: tuple[Store, ...]


def in_two(stmts: Sequence[Stmt], var: Var, temps: Sequence[Temp] = (), most: int = MOST_KEPT) -> Passes | None:
    """Two passes of a loop over `var` for these statements; None if one is as good, or if more than `most` are kept.

    `temps` change with `var`. What is kept are the operands of the second pass that change with `var`, all of the
    results' type; loads too, as a store of the first pass may overwrite what they read.
    """
    stores = [stmt for stmt in stmts if isinstance(stmt, Store) and not stmt.add]
    every = closure(tuple(store.value for store in stores))
    known_temps = all(s in temps for s in every if isinstance(s, Temp))
    if len(stores) < len(stmts) or not known_temps or any(_is_gathered(s) for s in every):
        return None
    level: dict[Scalar, int] = {}  # functions on the way to a scalar
    changes: dict[Scalar, bool] = {}
    for s in every:
        changes[s] = s in temps or any(at.coefficient(var) != 0 for at in indices(s))
        changes[s] = changes[s] or any(changes[x] for x in operands(s))
        is_function = isinstance(s, Call) and instructions(s.op) >= FUNCTION
        level[s] = max((level[x] for x in operands(s)), default=0) + (is_function and changes[s])
    late = tuple(store for store in stores if level[store.value] > 1)
    work = sum(instructions(s.op) for s in every if isinstance(s, Call) and changes[s])
    if not late or work < LONG:
        return None
    needed = dict.fromkeys(x for s in every if level[s] > 1 for x in operands(s) if level[x] < 2 and changes[x])
    if len(needed) > most or any(s.dtype != late[0].value.dtype for s in needed):
        return None
    return Passes(tuple(store for store in stores if store not in late), tuple(needed), late)


def _is_gathered(scalar: Scalar) -> bool:
    return isinstance(scalar, Load) and any(isinstance(term, Scalar) for term, _ in scalar.at.terms)
