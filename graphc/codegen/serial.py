"""Ops whose order of work is part of their meaning: scatters, running sums, sorts, updates of rows, last places.

A node becomes statements.  A scatter runs in the order of its index.  A running sum is one loop along its axis, by
vector over the axes inside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from graphc.codegen.kernel import Affine, Buffer, Const, For, Load, Routine, Stmt, Store, Var, affine
from graphc.codegen.row_update import workspace_elements
from graphc.codegen.scalars import Pull, linear
from graphc.ir.dims import Dim, bounds, floordiv, product
from graphc.ir.node import Node
from graphc.ir.types import I32, I64

Built = tuple[tuple[Stmt, ...], list[Buffer]]
LETTERS = "ijklmnpq"


def _scatter(node: Node, out: Buffer, inputs: Mapping[Node, Buffer]) -> Built:
    """Zeros everywhere, then every slice of the updates added in the order of the index."""
    pull = Pull(inputs)
    index, updates = node.inputs
    axis, size = node.attr("axis"), node.attr("size")
    fill = Var("z", product(out.shape))
    zero = Const(node.dtype, 0.0 if node.dtype.is_float else 0)
    clear = For(fill, (Store(out, affine(fill), zero),), vector=True)
    end = axis + len(index.shape)
    variables = [Var(LETTERS[k % 8] + str(k), extent) for k, extent in enumerate(updates.shape)]
    at = tuple(affine(v) for v in variables)
    row = pull.index_of(pull.read(index, at[axis:end]), size)
    place = linear(out, (*at[:axis], row, *at[end:]))
    body: Stmt = Store(out, place, pull.read(updates, at), add=True)
    for k, var in reversed(list(enumerate(variables))):
        last = k == len(variables) - 1
        body = For(var, (body,), vector=last and k >= end)
    if bounds(size)[0] < 1:  # where there is no place to clamp to, nothing is added: 2 * n // (n + 1) is min(n, 1)
        body = For(Var("any", floordiv(2 * size, size + 1)), (body,))
    return (clear, body), []


def _cumsum(node: Node, out: Buffer, inputs: Mapping[Node, Buffer]) -> Built:
    """Each element from the one before it in `out`; the first has none."""
    pull = Pull(inputs)
    (x,), axis = node.inputs, node.attr("axis")
    variables = [Var(LETTERS[k], extent) for k, extent in enumerate(node.shape)]
    at = [affine(v) for v in variables]
    step, last = at[axis], node.shape[axis] - 1
    has_before = pull.call("ge", pull.position(step, I64), pull.constant(1, I64))
    here, before = list(at), list(at)
    here[axis] = last - step if node.attr("reverse") else step
    before[axis] = here[axis] + 1 if node.attr("reverse") else here[axis] - 1
    zero = pull.constant(0.0 if node.dtype.is_float else 0, node.dtype)
    total = Load(node.dtype, out, linear(out, tuple(before)), has_before, zero)
    if node.attr("exclusive"):
        added = pull.read_if(has_before, x, tuple(before), zero)
        value = pull.call("add", total, added)
    else:
        added = pull.read(x, tuple(here))
        value = pull.select(has_before, pull.call("add", total, added), added)
    body: Stmt = Store(out, linear(out, tuple(here)), value)
    for k, var in reversed(list(enumerate(variables))):
        body = For(var, (body,), vector=k == len(variables) - 1 and k != axis)
    return (body,), []


def _argsort(node: Node, out: Buffer, inputs: Mapping[Node, Buffer]) -> Built:
    """Every line along the axis by a sort of its own (graphc.codegen.merge_sort)."""
    (x,), axis = node.inputs, node.attr("axis")
    keys, size = inputs[x], node.shape[axis]
    work = Buffer("work", I32, (2, size), "scratch")
    outer = {k: Var(LETTERS[k], extent) for k, extent in enumerate(node.shape) if k != axis}
    line = tuple(affine(outer[k]) if k in outer else Affine() for k in range(len(node.shape)))
    sizes = (size, keys.strides()[axis], out.strides()[axis])
    places = (linear(keys, line), linear(out, line), Affine())
    body: Stmt = Routine("sort", (keys, out, work), places, sizes, (bool(node.attr("descending")),))
    for var in reversed(outer.values()):
        body = For(var, (body,))
    return (body,), [work]


def _subtract_rows(node: Node, out: Buffer, inputs: Mapping[Node, Buffer]) -> Built:
    """The table copied, then the rows that the index names changed in the copy (graphc.codegen.row_update).

    Where the result takes the table's place, the schedule leaves out the copy.
    """
    table, index, updates, rate = (inputs[x] for x in node.inputs)
    every = Var("z", product(out.shape))
    copy = For(every, (Store(out, affine(every), Load(out.dtype, table, affine(every))),), vector=True)
    sizes = (product(index.shape), node.shape[0], product(node.shape[1:]))
    work = Buffer("work", I32, (workspace_elements(sizes[0], sizes[1]),), "scratch")
    buffers = (out, index, updates, rate, work)
    return (copy, Routine("rows", buffers, (Affine(),) * len(buffers), sizes)), [work]


def _last_places(node: Node, out: Buffer, inputs: Mapping[Node, Buffer]) -> Built:
    """Zeros, then the number of every place stored in the row that it names: that of the last one stays."""
    pull, (index,), size = Pull(inputs), node.inputs, node.attr("size")
    fill = Var("z", size)
    clear = For(fill, (Store(out, affine(fill), Const(I32, 0)),), vector=True)
    variables = [Var(LETTERS[k % 8] + str(k), extent) for k, extent in enumerate(index.shape)]
    number = Affine(1)
    step: Dim = 1
    for var in reversed(variables):
        number, step = number + affine(var) * step, step * var.extent
    row = pull.index_of(pull.read(index, tuple(affine(v) for v in variables)), size)
    body: Stmt = Store(out, row, pull.position(number, I32))
    for var in reversed(variables):
        body = For(var, (body,))
    return (clear, body), []


SERIAL: dict[str, Callable[[Node, Buffer, Mapping[Node, Buffer]], Built]] = {
    "scatter": _scatter,
    "cumulative": _cumsum,
    "sort": _argsort,
    "rows": _subtract_rows,
    "places": _last_places,
}
"""The kernels of structured ops, by the op's `kernel`: (statements, scratch buffers) of one node."""
