"""A key under which two kernels are equal when they do the same to their buffers: code is written once for both.

Buffers, variables and scalars are known by the order in which they appear, so names and identities do not matter.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from graphc.codegen.kernel import (
    Affine,
    Buffer,
    Call,
    Cast,
    Const,
    Contract,
    For,
    Kernel,
    Load,
    Position,
    Routine,
    Scalar,
    Select,
    Stmt,
    Store,
    closure,
)
from graphc.ir.node import freeze


def key_of(kernel: Kernel) -> Hashable:
    """The kernel's structure as nested tuples."""
    return _Key(kernel).statements(kernel.body)


class _Key:
    def __init__(self, kernel: Kernel) -> None:
        self.buffers = {buffer: number for number, buffer in enumerate(kernel.buffers)}
        self.numbers: dict[Any, int] = {}
        self.scalars: dict[Scalar, Hashable] = {}
        self.shapes = tuple((b.dtype.name, b.shape, b.role) for b in kernel.buffers)

    def number(self, item: Any) -> int:
        return self.numbers.setdefault(item, len(self.numbers))

    def buffer(self, buffer: Buffer | None) -> int:
        return -1 if buffer is None else self.buffers[buffer]

    def affine(self, at: Affine) -> Hashable:
        return at.constant, tuple((self.number(term), coefficient) for term, coefficient in at.terms)

    def bound(self, at: Affine | None) -> Hashable:
        """An index expression and the scalars in it."""
        if at is None:
            return None
        return tuple(self.scalar(term) for term, _ in at.terms if isinstance(term, Scalar)), self.affine(at)

    def scalar(self, scalar: Scalar) -> Hashable:
        """The scalar and all it is computed from; what was described before is a number."""
        fresh = [s for s in closure((scalar,)) if s not in self.scalars]
        for s in fresh:
            self.scalars[s] = self._describe(s)
        return self.number(scalar), tuple(self.scalars[s] for s in fresh)

    def _describe(self, s: Scalar) -> Hashable:
        detail: tuple[Hashable, ...]
        match s:
            case Const(_, value):
                detail = (freeze(value),)
            case Load(_, buffer, at, guard, otherwise):
                others = tuple(-1 if x is None else self.number(x) for x in (guard, otherwise))
                detail = (self.buffer(buffer), self.affine(at), *others)
            case Call(_, op, args):
                detail = (op, *map(self.number, args))
            case Cast(_, value):
                detail = (self.number(value),)
            case Select(_, condition, yes, no):
                detail = tuple(map(self.number, (condition, yes, no)))
            case Position(_, index):
                detail = (self.affine(index),)
            case _:
                detail = ()
        return type(s).__name__, s.dtype.name, self.number(s), detail

    def statements(self, stmts: tuple[Stmt, ...]) -> Hashable:
        return self.shapes, tuple(self.statement(stmt) for stmt in stmts)

    def statement(self, stmt: Stmt) -> Hashable:
        match stmt:
            case For(var, body, vector, folds):
                bounds = self.bound(stmt.start), self.bound(stmt.stop)
                loop = (self.number(var), var.extent, vector, bounds, tuple(self.statement(one) for one in body))
                return loop, tuple(
                    (self.number(f.temp), f.temp.dtype.name, f.combine, freeze(f.identity), self.scalar(f.value))
                    for f in folds
                )
            case Store(buffer, at, value, add):
                indices = tuple(self.scalar(term) for term, _ in at.terms if isinstance(term, Scalar))
                return self.buffer(buffer), indices, self.affine(at), self.scalar(value), add
            case Routine():
                places = tuple((self.buffer(b), self.affine(at)) for b, at in zip(stmt.buffers, stmt.at, strict=True))
                return stmt.kind, places, stmt.sizes, freeze(stmt.options)
        return self._contract(stmt)

    def _contract(self, stmt: Contract) -> Hashable:
        operands = tuple(map(self.buffer, (stmt.a, stmt.b, stmt.workspace)))
        bounds = tuple(map(self.bound, (stmt.seen, stmt.nonzero, stmt.zero)))
        places = stmt.a_at, stmt.b_at, *(k.count for k in stmt.k if k.count is not None)
        indices = tuple(self.scalar(t) for at in places for t, _ in at.terms if isinstance(t, Scalar))
        starts = bounds, indices, tuple(map(self.affine, places))
        axes = tuple((k.extent, k.a_stride, k.b_stride) for k in stmt.k)
        tile = tuple((self.number(var), var.extent) for var in (stmt.row, stmt.column))
        strides = stmt.a_row_stride, stmt.b_column_stride, stmt.vectors, stmt.pairs
        temp = tuple((self.number(t), t.dtype.name) for t in (stmt.temp, *stmt.others))
        asks = tuple((self.buffer(ask.buffer), self.affine(ask.at), ask.is_written) for ask in stmt.asks)
        fetches = tuple((self.buffer(fetch.buffer), fetch.row, self.affine(fetch.at)) for fetch in stmt.fetches)
        epilogue = tuple(self.statement(one) for one in stmt.epilogue)
        return operands, starts, axes, tile, strides, temp, asks, fetches, epilogue
