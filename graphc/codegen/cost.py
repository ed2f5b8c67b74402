"""What a kernel takes on one thread, as a polynomial in the run-time dimensions: only to decide how many should do it.

In picoseconds, for vectors of 64 bytes of f32 (narrower ones take longer in proportion). The figures are coarse; an
error of two moves the size from which a task is shared out by as much.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.codegen.kernel import Call, Contract, For, Load, Routine, Scalar, Stmt, Store, closure, scalars_of
from graphc.codegen.target import Target
from graphc.ir.dims import Dim, product
from graphc.ops.op import instructions

FULL_WIDTH = 64  # bytes of a vector register for which the figures hold
PRODUCT = 8  # a product and its addition in a contraction
PLAIN = 15  # an operation or an access in a vector loop
SCALAR = 300  # the same outside of vector loops
ACCESS_BY_INDEX = 300  # an element whose place is computed, or guarded


def cost_of(stmts: Sequence[Stmt], target: Target, vector: bool = False) -> Dim:
    """Picoseconds of statements; `vector` says whether they are in a vector loop."""
    total: Dim = 0
    for stmt in stmts:
        match stmt:
            case For(var, body, is_vector, folds):
                inside = vector or is_vector
                turn = cost_of(body, target, inside) + _scalars([fold.value for fold in folds], target, inside)
                total = total + var.extent * turn
            case Store(_, _, value):
                total = total + _scalars([value], target, vector)
            case Contract():
                total = total + _contract(stmt, target)
            case Routine():
                total = total + product(stmt.sizes) * SCALAR
    return total


def _contract(stmt: Contract, target: Target) -> Dim:
    size = stmt.temp.dtype.size // 4
    products = product(axis.extent for axis in stmt.k) * (PRODUCT * size * (FULL_WIDTH // target.vector_bytes))
    products = products * (1 + len(stmt.others))
    return stmt.row.extent * stmt.column.extent * (products + _scalars([*scalars_of(stmt.epilogue)], target, True))


def _scalars(values: Sequence[Scalar], target: Target, vector: bool) -> int:
    """One element of some values; what they share counts once."""
    total = PLAIN  # the store or the fold
    for scalar in closure(tuple(values)):
        if isinstance(scalar, Call):
            total += PLAIN * instructions(scalar.op)
        elif isinstance(scalar, Load):
            computed = scalar.guard is not None or any(isinstance(term, Scalar) for term, _ in scalar.at.terms)
            total += ACCESS_BY_INDEX if computed else PLAIN
    return total * (FULL_WIDTH // target.vector_bytes) if vector else total * SCALAR // PLAIN
