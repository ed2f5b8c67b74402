"""Contractions joined by what is done to rows between them: one strip of rows after the other (attention).

For every index of the outer axes, and every strip of some rows:
    strip[r, s] = sum over k of a[r, k] * b[k, s]        -- the first contraction, if the group has one
    folds over s of each row, and what follows from them -- the last sweep may write the strip in place
    y[r, n] = sum over s of strip[r, s] * v[s, n]        -- the second contraction, if the group has one
and when the last strip is done, for tensors of the strips' shape that were read or computed,
    z[s, n] = sum over r of x[r, s] * w[r, n]            -- contractions across the rows
A concatenation of such results is stored part by part, each at its place.
The strip stays in the cache.  Operands that all strips of an outer index read are copied once, into the layout that
the skeleton wants, unless they lie like that already, or there are so few strips that the skeleton may pack in each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

from graphc.codegen.contraction_fit import operand_view
from graphc.codegen.epilogue import finished
from graphc.codegen.kernel import (
    Affine,
    Ask,
    Buffer,
    Call,
    Const,
    Contract,
    Fold,
    For,
    KAxis,
    Load,
    Position,
    Scalar,
    Select,
    Stmt,
    Store,
    Temp,
    Var,
    affine,
)
from graphc.codegen.loops import Space, inner_nodes
from graphc.codegen.strip_rows import Strip, StripRows, strip_rows
from graphc.ir.dims import Dim, floordiv, is_at_least, product
from graphc.ir.node import Node
from graphc.ir.types import BOOL, I64
from graphc.ops.contraction import parse
from graphc.ops.movement import placed_parts
from graphc.ops.op import Reduction
from graphc.ops.view import row_major

ROWS = 32  # of a strip at least
STRIP = 1 << 14  # elements of a strip that may have more
OUTER = 4  # strips that threads can share out, if there are no more than one for an outer index
FEW = 2  # strips for an outer index that each may pack an operand
FAR = 1 << 40  # behind every column
VECTOR = 16  # columns of a vector at most


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


@dataclass(frozen=True, eq=False)
class _Result:
    """Where a node of a contraction's shape is stored: from which place of a buffer on, and a stride for each axis."""

    node: Node
    buffer: Buffer
    strides: tuple[Dim, ...]
    start: Dim

    def place(self, at: tuple[Affine, ...]) -> Affine:
        return _total(index * stride for index, stride in zip(at, self.strides, strict=True)) + self.start


def _parts(concat: Node, buffer: Buffer) -> list[_Result]:
    """The parts of a concatenation."""
    parts = placed_parts(concat)
    assert parts is not None, "joined by the pass that makes strips"
    return [_Result(part.value, buffer, part.strides, part.start) for part in parts]


def _without(x: _Operand, outer: str) -> _Operand:
    """The operand's axes but the outer ones."""
    return replace(x, sizes={label: size for label, size in x.sizes.items() if label not in outer})


@dataclass(frozen=True)
class _Product:
    """A contraction of which a strip takes some rows: its labels for rows and columns, and those summed over."""

    rows: _Operand
    columns: _Operand
    row: str
    column: str
    summed: tuple[str, ...]

    def contract(
        self, start: Affine, height: Dim, stores: Callable[[Affine, Affine, Temp], tuple[Store, ...]]
    ) -> Contract:
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
        self.space = Space(folds[0].inputs[0].shape, tuple(folds[0].attr("axes")))
        self.first = next((node for node in contracts if any(_depends(fold, [node]) for fold in folds)), None)
        self.across = [node for node in contracts if node is not self.first and self._turned(node) is not None]
        self.second = next((node for node in contracts if node is not self.first and node not in self.across), None)
        last = [node for node in contracts if node is not self.first]
        results = [_Result(n, out, out.strides(), 0) for n, out in outputs.items() if n.op != "concat"]
        results += [result for n, out in outputs.items() if n.op == "concat" for result in _parts(n, out)]
        self.tails = {c: [result for result in results if _depends(result.node, [c])] for c in last}
        behind = [result for tail in self.tails.values() for result in tail]
        self.head = {result.node: result.buffer for result in results if result not in behind}
        self.multiplied = None if self.second is None else next(x for x in self.second.inputs if _depends(x, folds))
        *outer, self.rows, self.width = self.space.shape
        self.outer = [Var(f"i{axis}", extent) for axis, extent in enumerate(outer)]
        self.height: Dim = self._height()
        self.strip = Buffer("strip", contracts[0].dtype, (self.height, self.width), "scratch")
        self.scratch = [self.strip]
        self.copies: list[Stmt] = []
        self.finite = Temp(contracts[0].dtype, "finite")  # 0 if the second contraction's other operand is, else NaN
        self.kept = {} if self.multiplied is None or self.multiplied in self.head else {self.multiplied: self.strip}
        for x in dict.fromkeys(x for node in self.across if (x := self._turned(node)) is not None):
            in_strip = x is self.multiplied and self.height == self.rows
            if x not in self.head and x not in inputs and not in_strip:
                self.kept[x] = Buffer(f"whole{len(self.kept)}", x.dtype, (self.rows, self.width), "scratch")
                self.scratch.append(self.kept[x])

    def _turned(self, contract: Node) -> Node | None:
        """The operand of the strips' shape whose rows a contraction sums up; None if it does not."""
        for x in contract.inputs:
            own, _, result = self._labels(contract, x)
            if x.shape == self.space.shape and own[-1] in result and own[-2] not in result:
                return x
        return None

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
        body += [stmt for node in self.across for stmt in self._sum_across(node)]
        for var in reversed(self.outer):
            body = [For(var, tuple(body))]
        return tuple(body), self.scratch

    def _strip(self, before: _Product | None, behind: _Product | None, start: Affine, height: Dim) -> list[Stmt]:
        """One strip: `height` rows from row `start` on."""
        stmts: list[Stmt] = []
        rows = self._rows(start, height)
        self.scratch += rows.scratch
        if before is not None:
            first = before.contract(start, height, self._kept)
            stmts.append(replace(first, seen=rows.diagonal, asks=rows.asks(first.row, first.column)))
        if behind is None:
            return [*stmts, *rows.stmts]
        inside = Affine() if behind.rows.buffer is self.strip else start
        assert self.second is not None and self.multiplied is not None
        stores = partial(self._finished, self.second, self.multiplied, -2)
        second = behind.contract(inside, height, lambda row, n, acc: stores(start + row, n, acc))
        second = replace(second, asks=self._next(start, second))
        if rows.diagonal is None:
            return [*stmts, *rows.stmts, second]
        return [*stmts, *self._up_to(rows, second)]

    def _next(self, start: Affine, second: Contract) -> tuple[Ask, ...]:
        """What the contractions read for the next index of the outer axes, if rows and columns are as many."""
        found: dict[tuple[object, ...], Ask] = {}
        var = self.outer[-1]
        for x in self._read():
            across = [label for label in x.sizes if x.strides[label] == 1 and x.sizes[label] == second.column.extent]
            along = [label for label in x.sizes if label not in across and x.sizes[label] == self.rows]
            step = x.start.coefficient(var)
            if across and along and step != 0 and x.buffer.is_large:
                at = x.start + step + (start + affine(second.row)) * x.strides[along[-1]] + affine(second.column)
                found.setdefault((x.buffer, at.constant, at.terms), Ask(x.buffer, at))
        return tuple(found.values())

    def _read(self) -> Iterator[_Operand]:
        """The operands of all contractions that are not of the strips' shape, for one index of the outer axes."""
        if self.first is not None:
            result = parse(self.first.attr("spec"))[2]
            for x in self.first.inputs:
                labels = self._labels(self.first, x)[0]
                yield _without(self._operand(x, labels, self._outer_index(result)), result[:-2])
        for contract in (self.second, *self.across):
            if contract is not None:
                operand = self.multiplied if contract is self.second else self._turned(contract)
                assert operand is not None
                own, other, _ = self._labels(contract, operand)
                yield _without(self._operand(self._other(contract, operand), other, self._outer_index(own)), own[:-2])

    def _rows(self, start: Affine, height: Dim) -> StripRows:
        """What is done to the rows of a strip."""
        inputs, outputs = dict(self.inputs), {**self.head, **self.kept}
        if self.first is not None:
            inputs[self.first] = self.strip
        return strip_rows(Strip(self.strip, self.space, tuple(self.outer), start, height, self.first), outputs, inputs)

    def _up_to(self, rows: StripRows, second: Contract) -> list[Stmt]:
        """The rows and the second contraction, whose sums end at the diagonal if nothing behind it counts.

        That is so if the rows are zero there, and the other operand has no infinity or NaN: 0 * inf would be NaN.
        """
        assert self.multiplied is not None and rows.diagonal is not None
        stmts, somewhere = rows.told(self.multiplied)
        far = Select(I64, _counts(self.finite, somewhere), Const(I64, FAR), Const(I64, 0))
        return [*stmts, replace(second, nonzero=rows.diagonal + affine(far))]

    def _kept(self, row: Affine, column: Affine, acc: Temp) -> tuple[Store, ...]:
        """The store of the first contraction: its result stays in the strip."""
        return (Store(self.strip, row * self.width + column, acc),)

    def _finished(
        self, contract: Node, operand: Node, axis: int, row: Affine, column: Affine, acc: Temp
    ) -> tuple[Store, ...]:
        """The stores of what follows from a contraction, at one row, which is an axis of the operand, and column."""
        own, _, result = self._labels(contract, operand)
        index = {**self._outer_index(own), own[axis]: row, result[-1]: column}
        inputs = {**self.inputs, operand: self.strip}
        at, tail = tuple(index[x] for x in result), self.tails[contract]
        values = finished(contract, [one.node for one in tail], inputs, at, acc)
        return tuple(Store(one.buffer, one.place(at), value) for one, value in zip(tail, values, strict=True))

    def _sum_across(self, contract: Node) -> list[Stmt]:
        """A contraction that sums over the rows of all strips, from the diagonal on if nothing before it counts."""
        operand = self._turned(contract)
        assert operand is not None
        own, other, _ = self._labels(contract, operand)
        columns = self._operand(self._other(contract, operand), other, self._outer_index(own))
        new = next(x for x in other if x not in own)
        rows = self._whole(operand, own)
        product = _Product(rows, columns, own[-1], new, (own[-2],))
        stmt = product.contract(Affine(), self.width, partial(self._finished, contract, operand, -1))
        diagonal = self._rows(Affine(), self.height).diagonal
        if diagonal is None:
            return [stmt]
        number = self.across.index(contract)
        finite = Temp(columns.buffer.dtype, f"finite{number}")
        somewhere = Temp(BOOL, f"somewhere{number}")
        loops = {label: Var(f"{label}_", columns.sizes[label]) for label in (own[-2], new)}
        at = columns.start + _total(affine(var) * columns.strides[label] for label, var in loops.items())
        tells = _telling(loops, (own[-2], new), (), Load(finite.dtype, columns.buffer, at), finite)
        far = Select(I64, _counts(finite, somewhere), Const(I64, FAR), Const(I64, 0))
        return [tells, self._hidden(rows, own, diagonal, somewhere), replace(stmt, zero=1 - diagonal - affine(far))]

    def _hidden(self, x: _Operand, labels: str, diagonal: Affine, somewhere: Temp) -> Stmt:
        """Loops that find whether a tensor of the strips' shape is not zero somewhere behind the diagonal.

        By vectors of columns, each down to some rows below the last that has hidden ones.
        """
        row, column = Var("r", self.rows), Var("s", self.width)
        place = affine(row) + diagonal
        at = x.start + affine(row) * x.strides[labels[-2]] + affine(column) * x.strides[labels[-1]]
        zero = Const(x.buffer.dtype, 0.0)
        is_hidden = Call(BOOL, "ge", (Position(I64, affine(column)), Position(I64, place)))
        value = Select(x.buffer.dtype, is_hidden, Load(x.buffer.dtype, x.buffer, at), zero)
        inner = Fold(Temp(BOOL, f"{somewhere.name}.s"), "or", False, Call(BOOL, "ne", (value, zero)))
        rows = For(row, (), folds=(inner,), stop=affine(column) - diagonal + VECTOR)
        return For(column, (rows,), vector=True, folds=(Fold(somewhere, "or", False, inner.temp),))

    def _whole(self, x: Node, labels: str) -> _Operand:
        """A tensor of the strips' shape, for one index of the outer axes: in memory or kept."""
        index = self._outer_index(labels)
        if x in self.kept:
            return _Operand(self.kept[x], Affine(), {labels[-2]: self.width, labels[-1]: 1}, {})
        if x not in self.head:
            return self._operand(x, labels, index)
        stored = self.head[x]
        strides = dict(zip(labels, stored.strides(), strict=True))
        return _Operand(stored, _total(index[label] * strides[label] for label in labels[:-2]), strides, {})

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
        columns = self._operand(self._other(self.second, self.multiplied), other, index)
        is_masked = self._rows(Affine(), self.height).diagonal is not None
        columns = self._packed(columns, (own[-1], result[-1]), self.finite if is_masked else None)
        return _Product(self._whole(self.multiplied, own), columns, own[-2], result[-1], (own[-1],))

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

    def _packed(self, x: _Operand, labels: tuple[str, ...], finite: Temp | None = None) -> _Operand:
        """The operand with these axes without gaps, in this order: as it lies, or copied for every outer index.

        `finite` is then 0 if all its elements are finite, else NaN.
        """
        shape = tuple(x.sizes[label] for label in labels)
        strides = dict(zip(labels, row_major(shape), strict=True))
        lies = all(x.strides[label] == strides[label] for label in labels)
        if lies and finite is None:
            return x
        loops = {label: Var(f"{label}_", x.sizes[label]) for label in labels}
        at = x.start + _total(affine(var) * x.strides[label] for label, var in loops.items())
        element = Load(x.buffer.dtype, x.buffer, at)
        stores: tuple[Stmt, ...] = ()
        if not lies:
            copy = Buffer(f"copy{len(self.copies)}", x.buffer.dtype, shape, "scratch")
            self.scratch.append(copy)
            to = _total(affine(var) * strides[label] for label, var in loops.items())
            stores = (Store(copy, to, element),)
            x = _Operand(copy, Affine(), strides, x.sizes)
        if finite is not None:
            self.copies.append(_telling(loops, labels, stores, element, finite))
            return x
        for label in reversed(labels):
            stores = (For(loops[label], stores, vector=label == labels[-1]),)
        self.copies += stores
        return x


def _counts(finite: Temp, somewhere: Scalar | None) -> Scalar:
    """Whether what lies behind the diagonal counts: it is not zero, or is multiplied by what is not finite."""
    counts: Scalar = Call(BOOL, "ne", (finite, Const(finite.dtype, 0.0)))
    return counts if somewhere is None else Call(BOOL, "or", (somewhere, counts))


def _telling(
    loops: Mapping[str, Var], labels: tuple[str, ...], stores: tuple[Stmt, ...], element: Scalar, finite: Temp
) -> Stmt:
    """Loops around stores that also sum up 0 times the element; vectors outside, as their lanes are folded once."""
    value: Scalar = Call(finite.dtype, "mul", (element, Const(finite.dtype, 0.0)))
    for label in (*labels[-2::-1], labels[-1]):
        temp = finite if label == labels[-1] else Temp(finite.dtype, f"finite.{label}")
        stores = (For(loops[label], stores, label == labels[-1], (Fold(temp, "add", 0.0, value),)),)
        value = temp
    return stores[0]


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
