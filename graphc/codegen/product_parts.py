"""Products that are read by their parts: the same columns of all parts in one register tile (the gates of a cell).

The second operand is packed so that a panel holds some columns of every part side by side, [panel][k][part][lane].  The
epilogue then has, for every row and column, the sums of all parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphc.codegen.contraction_fit import operand_view
from graphc.codegen.epilogue import epilogue
from graphc.codegen.kernel import (
    Affine,
    Buffer,
    Call,
    Const,
    Contract,
    For,
    KAxis,
    Load,
    Position,
    Scalar,
    Stmt,
    Store,
    Temp,
    Var,
    affine,
    zero,
)
from graphc.codegen.scalars import linear
from graphc.codegen.target import Target
from graphc.ir.dims import Dim
from graphc.ir.node import Node
from graphc.ir.types import BOOL, I64
from graphc.ops.bfloat import elements_of
from graphc.ops.contraction import may_split, parse, part_of


def parts_read(product: Node, inner: Sequence[Node]) -> dict[Node, int]:
    """The parts of the product among the nodes of its kernel, by number; none if it is read as a whole."""
    return {x: number for x in inner if may_split(product) and (number := part_of(x, product)) is not None}


def build(
    product: Node,
    parts: Mapping[Node, int],
    outputs: Mapping[Node, Buffer],
    inputs: Mapping[Node, Buffer],
    target: Target,
) -> tuple[tuple[Stmt, ...], list[Buffer]]:
    """(statements, scratch buffers): the packing of the second operand, then the contraction."""
    rows, units = next(iter(parts)).shape
    (a, b), (la, lb, _) = product.inputs, parse(product.attr("spec"))
    view_a, view_b = operand_view(a, inputs), operand_view(b, inputs)
    summed = next(x for x in la if x in lb)
    k, n = lb.index(summed), 1 - lb.index(summed)
    k_a = la.index(summed)
    depth, columns = b.shape[k], b.shape[n]
    assert isinstance(units, int) and isinstance(columns, int) and isinstance(depth, int), "asked by may_split"
    count, lanes = columns // units, target.lanes(product.dtype.size)
    width = count * lanes
    panels = Buffer("panels", b.dtype, (-(-units // lanes), depth, width), "scratch")
    source = inputs[view_b.base]
    start = affine(view_b.offset)
    pack = _packing(source, start, panels, (view_b.strides[k], view_b.strides[n]), units, lanes)
    row, column = Var("a", rows), Var("y", units)
    temps = [Temp(product.dtype, f"acc{i}") for i in range(count)]
    given: dict[Node, Scalar] = {x: temps[number] for x, number in parts.items()}
    others = {x: buffer for x, buffer in outputs.items() if x is not product}
    stores = epilogue(product, others, inputs, (affine(row), affine(column)), temps[0], given)
    if product in outputs:  # kernels elsewhere read some of its parts
        whole = outputs[product]
        stores += tuple(
            Store(whole, linear(whole, (affine(row), affine(column) + i * units)), temp) for i, temp in enumerate(temps)
        )
    contract = Contract(
        inputs[view_a.base],
        panels,
        affine(view_a.offset),
        affine(0),
        row,
        column,
        (KAxis(depth, view_a.strides[k_a], width),),
        view_a.strides[1 - k_a],
        1,
        temps[0],
        stores,
        vectors=count,
        others=tuple(temps[1:]),
        pairs=elements_of(product) == "bf16_pairs",
    )
    return (pack, contract), [panels]


def _packing(source: Buffer, start: Affine, to: Buffer, strides: tuple[Dim, Dim], units: int, lanes: int) -> For:
    """panels[p, k, part, lane] = b[k, part * units + p * lanes + lane], zero behind the last column."""
    count, depth, width = to.shape
    assert isinstance(width, int) and isinstance(depth, int), "panels are of known sizes"
    by_k, by_column = strides
    panel, k, part, lane = Var("p", count), Var("k", depth), Var("q", width // lanes), Var("j", lanes)
    unit = affine(panel) * lanes + affine(lane)
    guard: Scalar | None = None
    if units % lanes:
        guard = Call(BOOL, "lt", (Position(I64, unit), Const(I64, units)))
    at = start + affine(k) * by_k + (affine(part) * units + unit) * by_column
    value = Load(source.dtype, source, at, guard, zero(source.dtype) if guard is not None else None)
    place = affine(panel) * (depth * width) + affine(k) * width + affine(part) * lanes + affine(lane)
    inner = For(lane, (Store(to, place, value),), vector=True)
    return For(panel, (For(k, (For(part, (inner,)),)),))
