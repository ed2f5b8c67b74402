"""Weights that every turn of a loop multiplies by are packed once, before the loop.

A contraction that copies its second operand into panels does so in every call; where the operand is the same in every
turn, its panels are.  For a recurrence a kernel of their own makes them first, and the step's contraction reads them;
for a loop around a contraction in one kernel they are made at the kernel's beginning.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import gcd

from graphc.codegen.kernel import (
    Buffer,
    Call,
    Const,
    Contract,
    For,
    Kernel,
    Load,
    Position,
    Scalar,
    Stmt,
    Store,
    Var,
    affine,
    closure,
    scalars_of,
    zero,
)
from graphc.codegen.loop_code import panel_vectors, workspace_elements
from graphc.codegen.target import Target
from graphc.ir.types import BOOL, I64

RUN = 16  # neighbours that are read at a time: a line of a cache


@dataclass(frozen=True)
class Prepacked:
    """A kernel whose contraction reads `panels`, and the kernel `pack` that makes them out of `source`."""

    kernel: Kernel
    pack: Kernel
    source: Buffer  # the kernel's buffer of the operand, of the same shape as that of `pack`
    panels: Buffer


def prepack(kernel: Kernel, target: Target) -> Prepacked | None:
    """The kernel with its operand packed beforehand; None if it does not pack one, or its sizes are not all known."""
    if len(kernel.body) == 2:
        return _packed_already(kernel)
    contract = kernel.body[0] if len(kernel.body) == 1 else None
    if not isinstance(contract, Contract):
        return None
    panels = _panels(contract, target)
    if panels is None:
        return None
    reading = _reading(contract, panels, target)
    buffers = [*_kept(kernel, contract, contract.b), panels, *([reading.workspace] if reading.workspace else [])]
    source, to = replace(contract.b, name="x0", role="in"), replace(panels, name="y0", role="out")
    pack = Kernel("pack", (to, source), (_packing(contract, source, to),), "pack")
    return Prepacked(replace(kernel, buffers=tuple(buffers), body=(reading,)), pack, contract.b, panels)


def packed_before(body: tuple[Stmt, ...], target: Target) -> tuple[tuple[Stmt, ...], list[Buffer]]:
    """A body that is a loop around a contraction of a transposed operand with what packs it first, and its scratch."""
    loops, inner = [], body
    while len(inner) == 1 and isinstance(inner[0], For) and not inner[0].folds:
        loops.append(inner[0])
        inner = inner[0].body
    contract = inner[0] if len(inner) == 1 else None
    if not loops or not isinstance(contract, Contract) or contract.b_column_stride == 1:
        return body, []
    panels = _panels(contract, target)
    if panels is None:
        return body, []
    reading = _reading(contract, panels, target)
    result: Stmt = reading
    for loop in reversed(loops):
        result = replace(loop, body=(result,))
    return (_packing(contract, contract.b, panels), result), [
        panels,
        *([reading.workspace] if reading.workspace else []),
    ]


def _panels(contract: Contract, target: Target) -> Buffer | None:
    """[panel][k][width] of the second operand; None if it is not packed as a whole, or its sizes are not all known."""
    if contract.workspace is None or contract.vectors is not None or len(contract.k) != 1:
        return None
    (k,), n = contract.k, contract.column.extent
    whole = contract.b_at.constant == 0 and not contract.b_at.terms
    if not (whole and isinstance(n, int) and isinstance(k.extent, int) and isinstance(k.b_stride, int)):
        return None
    if not isinstance(contract.b_column_stride, int):
        return None
    width = panel_vectors(contract, target) * target.lanes(contract.temp.dtype.size)
    return Buffer("panels", contract.b.dtype, (-(-n // width), k.extent, width), "scratch")


def _reading(contract: Contract, panels: Buffer, target: Target) -> Contract:
    """The contraction that reads the panels; sums that are cut into blocks still need a workspace."""
    width = panels.shape[2]
    k = (replace(contract.k[0], b_stride=width),)
    vectors = panel_vectors(contract, target)
    reading = replace(contract, b=panels, b_column_stride=1, k=k, workspace=None, vectors=vectors)
    elements = workspace_elements(reading, target)
    if elements == 0:
        return reading
    return replace(reading, workspace=Buffer("workspace", contract.temp.dtype, (elements,), "scratch"))


def _packed_already(kernel: Kernel) -> Prepacked | None:
    """A kernel that packs the operand itself before the contraction, in two."""
    packing, contract = kernel.body
    if not (isinstance(packing, For) and isinstance(contract, Contract) and contract.vectors is not None):
        return None
    loads = [s for s in closure(tuple(scalars_of((packing,)))) if isinstance(s, Load)]
    (source,) = dict.fromkeys(s.buffer for s in loads)
    panels = contract.b
    kept = [*_kept(kernel, contract, source), *([contract.workspace] if contract.workspace else [])]
    pack = Kernel("pack", (panels, source), (packing,), "pack")
    return Prepacked(replace(kernel, buffers=(*kept, panels), body=(contract,)), pack, source, panels)


def _kept(kernel: Kernel, contract: Contract, source: Buffer) -> list[Buffer]:
    """The kernel's buffers without those that the panels replace."""
    loads = closure(tuple(store.value for store in contract.epilogue))
    is_read = contract.a is source or any(isinstance(s, Load) and s.buffer is source for s in loads)
    gone = [contract.b, contract.workspace, *([] if is_read else [source])]
    return [b for b in kernel.buffers if b not in gone]


def _packing(contract: Contract, source: Buffer, to: Buffer) -> For:
    """panels[p, k, j] = b[k, p * width + j], zero behind the last column.

    Where neighbouring k are neighbours in memory, a few are read at a time: what is written is in the cache then.
    """
    k, n, width = contract.k[0], contract.column.extent, to.shape[2]
    assert isinstance(n, int) and isinstance(width, int), "panels are of known sizes"
    assert isinstance(k.extent, int), "the same"
    few = gcd(k.extent, RUN) if k.b_stride == 1 else 1
    panel, depth, lane, run = Var("p", to.shape[0]), Var("d", k.extent // few), Var("j", width), Var("i", few)
    column = affine(panel) * width + affine(lane)
    guard: Scalar | None = None
    if n % width:
        guard = Call(BOOL, "lt", (Position(I64, column), Const(I64, n)))
    row = affine(depth) * few + affine(run)
    at = row * k.b_stride + column * contract.b_column_stride
    value = Load(source.dtype, source, at, guard, zero(source.dtype) if guard is not None else None)
    place = affine(panel) * (k.extent * width) + row * width + affine(lane)
    store = Store(to, place, value)
    if few > 1:
        return For(panel, (For(depth, (For(lane, (For(run, (store,)),)),)),))
    return For(panel, (For(depth, (For(run, (For(lane, (store,), vector=True),)),)),))
