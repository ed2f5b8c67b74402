"""Weights that every step of a loop multiplies by are packed once, before the loop.

A contraction that copies its second operand into panels does so in every call; where the operand is the same at every
step, its panels are: a kernel of their own makes them first, and the step's contraction reads them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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
    Store,
    Var,
    affine,
    closure,
    scalars_of,
)
from graphc.codegen.loop_code import panel_vectors
from graphc.codegen.target import Target
from graphc.ir.types import BOOL, I64


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
    if not isinstance(contract, Contract) or contract.workspace is None or len(contract.k) != 1:
        return None
    (k,), n, column_stride = contract.k, contract.column.extent, contract.b_column_stride
    whole = contract.b_at.constant == 0 and not contract.b_at.terms
    if not (whole and all(isinstance(d, int) for d in (n, k.extent, k.b_stride, column_stride))):
        return None
    assert isinstance(n, int), "checked above"
    vectors = panel_vectors(contract, target)
    width = vectors * target.lanes(contract.temp.dtype.size)
    count = -(-n // width)
    shape = (count, k.extent, width)
    panels = Buffer("panels", contract.temp.dtype, shape)
    reading = replace(
        contract, b=panels, b_column_stride=1, k=(replace(k, b_stride=width),), workspace=None, vectors=vectors
    )
    buffers = (*_kept(kernel, contract, contract.b), panels)
    source, to = replace(contract.b, name="x0", role="in"), Buffer("y0", contract.temp.dtype, shape, "out")
    pack = Kernel("pack", (to, source), _packing(contract, source, to, n, width), "pack")
    return Prepacked(replace(kernel, buffers=buffers, body=(reading,)), pack, contract.b, panels)


def _packed_already(kernel: Kernel) -> Prepacked | None:
    """A kernel that packs the operand itself before the contraction, in two."""
    packing, contract = kernel.body
    if not (isinstance(packing, For) and isinstance(contract, Contract) and contract.vectors is not None):
        return None
    loads = [s for s in closure(tuple(scalars_of((packing,)))) if isinstance(s, Load)]
    (source,) = dict.fromkeys(s.buffer for s in loads)
    panels = contract.b
    kept = _kept(kernel, contract, source)
    pack = Kernel("pack", (panels, source), (packing,), "pack")
    return Prepacked(replace(kernel, buffers=(*kept, panels), body=(contract,)), pack, source, panels)


def _kept(kernel: Kernel, contract: Contract, source: Buffer) -> list[Buffer]:
    """The kernel's buffers without those that the panels replace."""
    loads = closure(tuple(store.value for store in contract.epilogue))
    is_read = contract.a is source or any(isinstance(s, Load) and s.buffer is source for s in loads)
    gone = [contract.b, contract.workspace, *([] if is_read else [source])]
    return [b for b in kernel.buffers if b not in gone]


def _packing(contract: Contract, source: Buffer, to: Buffer, n: int, width: int) -> tuple[For, ...]:
    """panels[p, k, j] = b[k, p * width + j], zero behind the last column."""
    k = contract.k[0]
    panel, depth, lane = Var("p", to.shape[0]), Var("k", k.extent), Var("j", width)
    column = affine(panel) * width + affine(lane)
    guard: Scalar | None = None
    if n % width:
        guard = Call(BOOL, "lt", (Position(I64, column), Const(I64, n)))
    at = affine(depth) * k.b_stride + column * contract.b_column_stride
    value = Load(source.dtype, source, at, guard, Const(source.dtype, 0.0) if guard is not None else None)
    place = affine(panel) * (k.extent * width) + affine(depth) * width + affine(lane)
    return (For(panel, (For(depth, (For(lane, (Store(to, place, value),), vector=True),)),)),)
