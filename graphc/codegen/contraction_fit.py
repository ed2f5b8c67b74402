"""How the labels of a contraction fit the skeleton: rows of one operand, vector columns of the other, loops outside.

Operands may be views of what lies in memory: strides need not follow from a shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from graphc.codegen.epilogue import epilogue
from graphc.codegen.kernel import (
    Affine,
    Buffer,
    Contract,
    For,
    KAxis,
    Stmt,
    Store,
    Temp,
    Var,
    affine,
    closure,
    indices,
)
from graphc.codegen.scalars import merges
from graphc.ir.dims import Dim, product
from graphc.ir.node import Node
from graphc.ops.bfloat import elements_of
from graphc.ops.contraction import parse
from graphc.ops.view import View, view_of

LARGE_BYTES = 1 << 21  # of a transposed operand, more than which is better not copied for few rows of the other
FEW, MANY = 32, 128  # rows for which that pays
PAGE = 4096  # bytes: scattered stores so far apart compete for the same lines of the cache


@dataclass
class _Axes:
    """A row or column axis of the skeleton: the labels merged into it, outermost first."""

    labels: list[str]
    var: Var


class ContractionFit:
    """Fits the labels of a contraction to the skeleton: rows from a, vector columns from b, all else outside."""

    def __init__(self, node: Node, outputs: Mapping[Node, Buffer], inputs: Mapping[Node, Buffer]) -> None:
        self.node, self.outputs, self.inputs = node, outputs, inputs
        self.a, self.b = node.inputs
        self.la, self.lb, self.lr = parse(node.attr("spec"))
        if self.lr and self.lr[-1] in self.la and self.lr[-1] not in self.lb:
            self.a, self.b, self.la, self.lb = self.b, self.a, self.lb, self.la
        self.sizes: dict[str, Dim] = dict(zip(self.la + self.lb, (*self.a.shape, *self.b.shape), strict=True))
        self.view_a, self.view_b = operand_view(self.a, inputs), operand_view(self.b, inputs)
        self.is_turned = False
        self.stride_a = dict(zip(self.la, self.view_a.strides, strict=True))
        self.stride_b = dict(zip(self.lb, self.view_b.strides, strict=True))

    def _turn(self) -> None:
        """Exchanges rows and columns of a plain product by a large transposed matrix, if that pays.

        The matrix, which would have to be packed for a few rows, is then read as it lies; the few rows are packed as
        columns, and the result is scattered.
        """
        summed = [x for x in self.la if x in self.lb]
        if (len(self.la), len(self.lb), len(summed)) != (2, 2, 1) or list(self.outputs) != [self.node]:
            return
        if elements_of(self.node) is not None:
            return
        k, (m, n), size = summed[0], [*self.lr], self.node.dtype.size
        rows, columns, depth = self.sizes[m], self.sizes[n], self.sizes[k]
        if not isinstance(rows, int) or not isinstance(columns, int) or not isinstance(depth, int):
            return
        most = FEW if columns * size % PAGE == 0 else MANY
        is_transposed = self.stride_b[k] == 1 and self.stride_b[n] != 1
        if is_transposed and columns * depth * size > LARGE_BYTES and FEW <= rows <= most:
            self.a, self.b, self.la, self.lb = self.b, self.a, self.lb, self.la
            self.view_a, self.view_b = self.view_b, self.view_a
            self.stride_a, self.stride_b = self.stride_b, self.stride_a
            self.is_turned = True

    def build(self) -> tuple[Stmt, ...] | None:
        """The statements, or None when the contraction does not fit."""
        summed = [x for x in self.la if x in self.lb and x not in self.lr]
        if not self.lr or not summed or self.lr[-1] in self.la or not self.node.dtype.is_float:
            return None
        self._turn()
        if any(self.sizes[x] == 0 for x in self.lr):  # nothing to cut into tiles
            return None
        rows = [x for x in self.lr if x in self.la and x not in self.lb]
        columns = [x for x in self.lr if x in self.lb and x not in self.la]
        if not self.is_turned and columns[-1] != self.lr[-1]:
            return None
        single = {x: Var(f"{x}", self.sizes[x]) for x in self.lr}
        draft = self._epilogue({x: affine(v) for x, v in single.items()}, Temp(self.node.dtype, "acc"))
        at = [i for s in closure(tuple(s.value for s in draft)) for i in indices(s)] + [s.at for s in draft]
        row = self._merge(rows, self.stride_a, single, at)
        column = self._merge(columns, self.stride_b, single, at)
        return self._statements(row, column, summed)

    def _merge(self, labels: list[str], strides: dict[str, Dim], single: dict[str, Var], at: list[Affine]) -> _Axes:
        """The last label, with those before it that every access steps through together with it."""
        if not labels:
            return _Axes([], Var("row", 1))
        run = [labels[-1]]
        for label in reversed(labels[:-1]):
            adjacent = self.lr.index(label) + 1 == self.lr.index(run[0])
            linear_step = strides[label] == strides[run[0]] * self.sizes[run[0]]
            if not (adjacent and linear_step and merges(at, single[label], single[run[0]])):
                break
            run.insert(0, label)
        return _Axes(run, Var("".join(run), product(self.sizes[x] for x in run)))

    def _statements(self, row: _Axes, column: _Axes, summed: list[str]) -> tuple[Stmt, ...]:
        outer = {x: Var(x, self.sizes[x]) for x in self.lr if x not in row.labels + column.labels}
        index = {x: affine(v) for x, v in outer.items()}
        for axes in (row, column):
            index.update({x: Affine() for x in axes.labels[:-1]})
            if axes.labels:
                index[axes.labels[-1]] = affine(axes.var)
        temp = Temp(self.node.dtype, "acc")
        contract = Contract(
            self.inputs[self.view_a.base],
            self.inputs[self.view_b.base],
            self._start(self.stride_a, outer) + self.view_a.offset,
            self._start(self.stride_b, outer) + self.view_b.offset,
            row.var,
            column.var,
            self._k_axes(summed),
            self.stride_a[row.labels[-1]] if row.labels else 0,
            self.stride_b[column.labels[-1]],
            temp,
            self._epilogue(index, temp),
            pairs=elements_of(self.node) == "bf16_pairs",
        )
        body: tuple[Stmt, ...] = (contract,)
        for var in reversed(outer.values()):
            body = (For(var, body),)
        return body

    def _start(self, strides: dict[str, Dim], outer: dict[str, Var]) -> Affine:
        total = Affine()
        for label, var in outer.items():
            total = total + affine(var) * strides.get(label, 0)
        return total

    def _k_axes(self, summed: list[str]) -> tuple[KAxis, ...]:
        """The summed axes in the order of a, neighbours merged where both operands step through them as one."""
        axes: list[KAxis] = []
        for label in summed:
            axis = KAxis(self.sizes[label], self.stride_a[label], self.stride_b[label])
            if axes and all(
                before == now * axis.extent
                for before, now in ((axes[-1].a_stride, axis.a_stride), (axes[-1].b_stride, axis.b_stride))
            ):
                axis = KAxis(axes.pop().extent * axis.extent, axis.a_stride, axis.b_stride)
            axes.append(axis)
        return tuple(axes)

    def _epilogue(self, index: dict[str, Affine], temp: Temp) -> tuple[Store, ...]:
        """The stores of the group with the finished sum as `temp`."""
        return epilogue(self.node, self.outputs, self.inputs, tuple(index[x] for x in self.lr), temp)


def operand_view(x: Node, inputs: Mapping[Node, Buffer]) -> View:
    """The operand as it lies in the memory of one of `inputs`."""
    view = View(x, 0, inputs[x].strides()) if x in inputs else view_of(x)
    assert view is not None and view.base in inputs, "an operand of a contraction lies in memory"
    return view
