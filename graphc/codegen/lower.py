"""One graph node or fused group to one Kernel: which kind it is, and the structured kinds themselves.

Pointwise and reduction groups become loop nests (graphc.codegen.loops).  A contraction becomes a `Contract` whose
epilogue is the rest of its group; where its axes do not fit the skeleton, a loop nest.  What runs in a given order,
such as a scatter, is in graphc.codegen.serial.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from graphc.codegen import convolution, convolution_window, loops
from graphc.codegen.convolution_window import is_depthwise
from graphc.codegen.epilogue import epilogue
from graphc.codegen.kernel import (
    Affine,
    Buffer,
    Contract,
    For,
    KAxis,
    Kernel,
    Stmt,
    Store,
    Temp,
    Var,
    affine,
    closure,
    indices,
    verify_kernel,
)
from graphc.codegen.loop_code import workspace_elements
from graphc.codegen.scalars import merges
from graphc.codegen.serial import SERIAL
from graphc.codegen.target import Target
from graphc.ir.dims import Dim, product
from graphc.ir.graph import rebuild
from graphc.ir.node import Node, make
from graphc.ops.contraction import parse
from graphc.ops.op import Structured


def lower(name: str, outputs: Mapping[Node, Buffer], inputs: Mapping[Node, Buffer], target: Target) -> Kernel:
    """The kernel that computes `outputs` from `inputs`; every node between them becomes part of it."""
    structured = [n for n in loops.inner_nodes(list(outputs), inputs) if isinstance(n.definition, Structured)]
    scratch: list[Buffer] = []
    if structured and structured[0].definition.kernel in SERIAL:
        body, scratch = SERIAL[structured[0].definition.kernel](structured[0], outputs[structured[0]], inputs)
    elif structured and structured[0].op == "contract":
        found = _Contraction(structured[0], outputs, inputs).build()
        if found is None:
            body, scratch = loops.build(_as_product(structured[0], outputs), inputs)
        else:
            body = found
            scratch = _add_workspace(body, target)
    elif structured and structured[0].definition.kernel == "convolution" and not is_depthwise(structured[0]):
        body, scratch = convolution.build(structured[0], outputs, inputs, target)
    elif structured and structured[0].definition.kernel in ("convolution", "window"):
        body, scratch = convolution_window.build(structured[0], outputs, inputs)
    else:
        body, scratch = loops.build(outputs, inputs)
    buffers = tuple(dict.fromkeys([*outputs.values(), *inputs.values(), *scratch]))
    kernel = Kernel(name, buffers, body, _words(outputs, inputs))
    verify_kernel(kernel)
    return kernel


def _add_workspace(body: tuple[Stmt, ...], target: Target) -> list[Buffer]:
    """Gives the contraction the scratch memory it packs an operand into, if it does."""
    while isinstance(body[0], For):
        body = body[0].body
    contract = body[0]
    assert isinstance(contract, Contract), "the loops of a contraction end in it"
    elements = workspace_elements(contract, target)
    if elements == 0:
        return []
    workspace = Buffer("workspace", contract.temp.dtype, (elements,), "scratch")
    object.__setattr__(contract, "workspace", workspace)
    return [workspace]


def _words(outputs: Mapping[Node, Buffer], inputs: Mapping[Node, Buffer]) -> str:
    ops = [n.op for n in loops.inner_nodes(list(outputs), inputs) if n.op != "const"]
    return " ".join(ops[:12]) + (f" .. ({len(ops)} ops)" if len(ops) > 12 else "")


def _as_product(node: Node, outputs: Mapping[Node, Buffer]) -> dict[Node, Buffer]:
    """The outputs with a contraction said as a product that is summed: for shapes the skeleton is not made for."""
    (a, b), (la, lb, lr) = node.inputs, parse(node.attr("spec"))
    summed = [x for x in dict.fromkeys(la + lb) if x not in lr]
    every = [*lr, *summed]
    sizes = dict(zip(la + lb, (*a.shape, *b.shape), strict=True))
    shape = tuple(sizes[x] for x in every)
    wide = []
    for x, labels in ((a, la), (b, lb)):
        order = sorted(range(len(labels)), key=lambda i, labels=labels: every.index(labels[i]))  # type: ignore[misc]
        moved = x if order == sorted(order) else make("transpose", x, perm=tuple(order))
        axes = tuple(sorted(every.index(label) for label in labels))
        wide.append(moved if moved.shape == shape else make("broadcast", moved, shape=shape, axes=axes))
    result = wide[0] * wide[1]
    if summed:
        result = make("reduce_sum", result, axes=tuple(range(len(lr), len(every))))
    roots = rebuild(outputs, lambda n, _: result if n is node else None)
    return dict(zip(roots, outputs.values(), strict=True))


@dataclass
class _Axes:
    """A row or column axis of the skeleton: the labels merged into it, outermost first."""

    labels: list[str]
    var: Var


class _Contraction:
    """Fits the labels of a contraction to the skeleton: rows from a, vector columns from b, all else outside."""

    def __init__(self, node: Node, outputs: Mapping[Node, Buffer], inputs: Mapping[Node, Buffer]) -> None:
        self.node, self.outputs, self.inputs = node, outputs, inputs
        self.a, self.b = node.inputs
        self.la, self.lb, self.lr = parse(node.attr("spec"))
        if self.lr and self.lr[-1] in self.la and self.lr[-1] not in self.lb:
            self.a, self.b, self.la, self.lb = self.b, self.a, self.lb, self.la
        self.sizes: dict[str, Dim] = dict(zip(self.la + self.lb, (*self.a.shape, *self.b.shape), strict=True))
        self.stride_a = dict(zip(self.la, inputs[self.a].strides(), strict=True))
        self.stride_b = dict(zip(self.lb, inputs[self.b].strides(), strict=True))

    def build(self) -> tuple[Stmt, ...] | None:
        """The statements, or None when the contraction does not fit."""
        summed = [x for x in self.la if x in self.lb and x not in self.lr]
        if not self.lr or not summed or self.lr[-1] in self.la or not self.node.dtype.is_float:
            return None
        if any(self.sizes[x] == 0 for x in self.lr):  # nothing to cut into tiles
            return None
        rows = [x for x in self.lr if x in self.la and x not in self.lb]
        columns = [x for x in self.lr if x in self.lb and x not in self.la]
        if columns[-1] != self.lr[-1]:
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
            self.inputs[self.a],
            self.inputs[self.b],
            self._start(self.stride_a, outer),
            self._start(self.stride_b, outer),
            row.var,
            column.var,
            self._k_axes(summed),
            self.stride_a[row.labels[-1]] if row.labels else 0,
            self.stride_b[column.labels[-1]],
            temp,
            self._epilogue(index, temp),
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
