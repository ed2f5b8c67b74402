"""Contractions joined by what is done to rows between them: one strip of rows after the other (attention).

For every index of the outer axes, and every strip of some rows:
    strip[r, s] = sum over k of a[r, k] * b[k, s]        -- the first contraction, if the group has one
    folds over s of each row, and what follows from them -- the last sweep may write the strip in place
    y[r, n] = sum over s of strip[r, s] * v[s, n]        -- the second contraction, if the group has one
The strip stays in the cache.  Operands that all strips of an outer index read are copied once, into the layout that
the skeleton wants, unless they lie like that already, or there are so few strips that the skeleton may pack in each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from graphc.codegen.contraction_fit import operand_view
from graphc.codegen.epilogue import epilogue
from graphc.codegen.kernel import Affine, Buffer, Contract, For, KAxis, Load, Stmt, Store, Temp, Var, affine
from graphc.codegen.loops import Nest, Space, inner_nodes
from graphc.codegen.scalars import Pull
from graphc.ir.dims import Dim, floordiv, is_at_least, product
from graphc.ir.node import Node
from graphc.ops.contraction import parse
from graphc.ops.op import Reduction
from graphc.ops.view import row_major

ROWS = 32  # of a strip at least
STRIP = 1 << 14  # elements of a strip that may have more
OUTER = 4  # strips that threads can share out, if there are no more than one for an outer index
FEW = 2  # strips for an outer index that each may pack an operand


def is_strip(nodes: list[Node]) -> bool:
    """Whether a group folds rows of a contraction's result, or multiplies them further."""
    contracts = any(node.op == "contract" for node in nodes)
    return contracts and any(isinstance(node.definition, Reduction) for node in nodes)


def build(outputs: Mapping[Node, Buffer], inputs: Mapping[Node, Buffer]) -> tuple[tuple[Stmt, ...], list[Buffer]]:
    """(statements, scratch buffers) of a group for which `is_strip` holds."""
    return _Strips(outputs, inputs).build()


@dataclass(frozen=True)
class _Operand:
    """An operand of a contraction in memory: where it begins for an outer index, and a stride for each label."""

    buffer: Buffer
    start: Affine
    strides: Mapping[str, Dim]
    sizes: Mapping[str, Dim]


@dataclass(frozen=True)
class _Product:
    """A contraction of which a strip takes some rows: its labels for rows and columns, and those summed over."""

    rows: _Operand
    columns: _Operand
    row: str
    column: str
    summed: tuple[str, ...]

    def contract(self, start: Affine, height: Dim, stores: Callable[[Affine, Affine, Temp], tuple[Store, ...]]) -> Stmt:
        """`height` rows from row `start` of the first operand on; the stores get the row within them."""
        a, b = self.rows, self.columns
        row, column = Var(self.row, height), Var(self.column, b.sizes[self.column])
        temp = Temp(a.buffer.dtype, "acc")
        axes = tuple(KAxis(b.sizes[x], a.strides[x], b.strides[x]) for x in self.summed)
        step, width = a.strides[self.row], b.strides[self.column]
        epilogue = stores(affine(row), affine(column), temp)
        return Contract(
            a.buffer, b.buffer, a.start + start * step, b.start, row, column, axes, step, width, temp, epilogue
        )


class _Strips:
    def __init__(self, outputs: Mapping[Node, Buffer], inputs: Mapping[Node, Buffer]) -> None:
        self.inputs = inputs
        nodes = inner_nodes(list(outputs), inputs)
        contracts = [node for node in nodes if node.op == "contract"]
        folds = [node for node in nodes if isinstance(node.definition, Reduction)]
        self.second = next((node for node in contracts if _depends(node, folds)), None)
        self.first = next((node for node in contracts if node is not self.second), None)
        self.tail = {n: out for n, out in outputs.items() if self.second is not None and _depends(n, [self.second])}
        self.head = {n: out for n, out in outputs.items() if n not in self.tail}
        self.multiplied = None if self.second is None else next(x for x in self.second.inputs if _depends(x, folds))
        self.space = Space(folds[0].inputs[0].shape, tuple(folds[0].attr("axes")))
        *outer, self.rows, self.width = self.space.shape
        self.outer = [Var(f"i{axis}", extent) for axis, extent in enumerate(outer)]
        self.height: Dim = self._height()
        self.strip = Buffer("strip", contracts[0].dtype, (self.height, self.width), "scratch")
        self.scratch = [self.strip]
        self.copies: list[Stmt] = []

    def _height(self) -> int:
        """Rows of a strip: many save calls and packing, as long as the strip stays in the cache."""
        if not isinstance(self.rows, int):
            return ROWS
        many = not is_at_least(OUTER - 1, product(var.extent for var in self.outer))
        most = STRIP // self.width // 8 * 8 if isinstance(self.width, int) and many else ROWS
        return min(self.rows, max(ROWS, most))

    def build(self) -> tuple[tuple[Stmt, ...], list[Buffer]]:
        before = self._before() if self.first is not None else None
        behind = self._behind() if self.second is not None else None
        whole = floordiv(self.rows, self.height)
        rest = self.rows - whole * self.height
        body = list(self.copies)
        if whole == 1:
            body += self._strip(before, behind, Affine(), self.height)
        elif whole != 0:
            number = Var("strip", whole)
            body.append(For(number, tuple(self._strip(before, behind, affine(number) * self.height, self.height))))
        if rest != 0:
            body += self._strip(before, behind, affine(whole * self.height), rest)
        for var in reversed(self.outer):
            body = [For(var, tuple(body))]
        return tuple(body), self.scratch

    def _strip(self, before: _Product | None, behind: _Product | None, start: Affine, height: Dim) -> list[Stmt]:
        """One strip: `height` rows from row `start` on."""
        stmts: list[Stmt] = []
        if before is not None:
            stmts.append(
                before.contract(start, height, lambda row, s, acc: (Store(self.strip, row * self.width + s, acc),))
            )
        nest = _Rows(self, start, height)
        self.scratch += nest.scratch
        stmts += nest.stmts
        if behind is not None:
            inside = Affine() if behind.rows.buffer is self.strip else start
            stmts.append(behind.contract(inside, height, lambda row, n, acc: self._finished(start + row, n, acc)))
        return stmts

    def _kept(self, row: Affine, column: Affine, acc: Temp) -> tuple[Store, ...]:
        """The store of the first contraction: its result stays in the strip."""
        return (Store(self.strip, row * self.width + column, acc),)

    def _finished(self, row: Affine, column: Affine, acc: Temp) -> tuple[Store, ...]:
        """The stores of what follows from the second contraction, at one row and column."""
        assert self.second is not None and self.multiplied is not None
        own, _, result = self._labels(self.second, self.multiplied)
        index = {**self._outer_index(own), own[-2]: row, result[-1]: column}
        inputs = {**self.inputs, self.multiplied: self.strip}
        return epilogue(self.second, self.tail, inputs, tuple(index[x] for x in result), acc)

    def _before(self) -> _Product:
        """The first contraction: rows of one operand times all columns of the other."""
        assert self.first is not None
        result = parse(self.first.attr("spec"))[2]
        a = next(x for x in self.first.inputs if result[-2] in self._labels(self.first, x)[0])
        own, other, _ = self._labels(self.first, a)
        summed = tuple(x for x in own if x in other and x not in result)
        index = self._outer_index(result)
        columns = self._operand(self._other(self.first, a), other, index)
        few = isinstance(self.rows, int) and isinstance(self.height, int) and self.rows <= FEW * self.height
        if not few or columns.strides[summed[-1]] != 1:
            columns = self._packed(columns, (*summed, result[-1]))
        return _Product(self._operand(a, own, index), columns, result[-2], result[-1], summed)

    def _behind(self) -> _Product:
        """The second contraction: the strip, or its rows in memory if they are stored, times the other operand."""
        assert self.second is not None and self.multiplied is not None
        own, other, result = self._labels(self.second, self.multiplied)
        index = self._outer_index(own)
        columns = self._packed(
            self._operand(self._other(self.second, self.multiplied), other, index), (own[-1], result[-1])
        )
        rows = _Operand(self.strip, Affine(), {own[-2]: self.width, own[-1]: 1}, {})
        if self.multiplied in self.head:
            stored = self.head[self.multiplied]
            strides = dict(zip(own, stored.strides(), strict=True))
            rows = _Operand(stored, _total(index[x] * strides[x] for x in own[:-2]), strides, {})
        return _Product(rows, columns, own[-2], result[-1], (own[-1],))

    def _labels(self, contract: Node, operand: Node) -> tuple[str, str, str]:
        """The labels of an operand, of the other one, and of the result."""
        la, lb, result = parse(contract.attr("spec"))
        return (la, lb, result) if contract.inputs[0] is operand else (lb, la, result)

    def _other(self, contract: Node, operand: Node) -> Node:
        a, b = contract.inputs
        return b if a is operand else a

    def _outer_index(self, labels: str) -> dict[str, Affine]:
        """The outer loops by the labels of axes that follow the space's."""
        return {label: affine(var) for label, var in zip(labels[:-2], self.outer, strict=True)}

    def _operand(self, x: Node, labels: str, index: Mapping[str, Affine]) -> _Operand:
        view = operand_view(x, self.inputs)
        strides = dict(zip(labels, view.strides, strict=True))
        start = _total(index[label] * strides[label] for label in labels if label in index) + view.offset
        return _Operand(self.inputs[view.base], start, strides, dict(zip(labels, x.shape, strict=True)))

    def _packed(self, x: _Operand, labels: tuple[str, ...]) -> _Operand:
        """The operand with these axes without gaps, in this order: as it lies, or copied for every outer index."""
        shape = tuple(x.sizes[label] for label in labels)
        strides = dict(zip(labels, row_major(shape), strict=True))
        if all(x.strides[label] == strides[label] for label in labels):
            return x
        copy = Buffer(f"copy{len(self.copies)}", x.buffer.dtype, shape, "scratch")
        self.scratch.append(copy)
        loops = {label: Var(f"{label}_", x.sizes[label]) for label in labels}
        at = x.start + _total(affine(var) * x.strides[label] for label, var in loops.items())
        to = _total(affine(var) * strides[label] for label, var in loops.items())
        body: Stmt = Store(copy, to, Load(x.buffer.dtype, x.buffer, at))
        for label in reversed(labels):
            body = For(loops[label], (body,), vector=label == labels[-1])
        self.copies.append(body)
        return _Operand(copy, Affine(), strides, x.sizes)


class _Rows(Nest):
    """The sweeps over the rows of a strip; what is not stored in memory stays in the strip."""

    def __init__(self, strips: _Strips, start: Affine, height: Dim) -> None:
        self.strip, self.space = strips.strip, strips.space
        self.outputs = dict(strips.head)
        if strips.multiplied is not None:
            self.outputs.setdefault(strips.multiplied, self.strip)
        inputs = dict(strips.inputs)
        if strips.first is not None:
            inputs[strips.first] = self.strip
        self.pull, self.inner, self.scratch = Pull(inputs), inner_nodes(list(self.outputs), inputs), []
        row, column = Var("r", height), Var("s", strips.width)
        self.vars = [(row, False), (column, True)]
        self.inside = affine(row) * strips.width + affine(column)
        self.row = (*(affine(var) for var in strips.outer), start + affine(row))
        self.full = (*self.row, affine(column))
        if strips.first is not None:
            self.pull.give(strips.first, self.full, Load(self.strip.dtype, self.strip, self.inside))
        self.stmts = self._nest()

    def place(self, output: Buffer) -> Affine:
        return self.inside if output is self.strip else super().place(output)


def _depends(node: Node, on: list[Node]) -> bool:
    """Whether a node is, or is computed from, one of the others."""
    wanted, seen = dict.fromkeys(on), dict.fromkeys([node])
    stack = [node]
    while stack:
        x = stack.pop()
        if x in wanted:
            return True
        fresh = [y for y in x.inputs if y not in seen]
        seen.update(dict.fromkeys(fresh))
        stack += fresh
    return False


def _total(parts: Iterable[Affine]) -> Affine:
    return sum(parts, start=Affine())
