"""Kernel IR scalars to SSA values: each once, in the outermost loop in which it does not change.

Scalars that depend on the vector loop's variable become vectors of `lanes`; all others stay scalar and are spread
where a vector meets them.  Values are remembered by the loop depth at which they were computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from graphc.codegen import primitives
from graphc.codegen.kernel import (
    Affine,
    Buffer,
    Call,
    Cast,
    Const,
    Load,
    Position,
    Scalar,
    Select,
    Store,
    Temp,
    Var,
    indices,
    operands,
)
from graphc.codegen.llvm import Function, Value, const, lanes, vector
from graphc.codegen.primitives import llvm_type
from graphc.ir.dims import Dim, Symbol
from graphc.ir.types import BOOL, I8, I32, I64, DType


class ScalarCode:
    """Emits scalars into a function.

    `pointers` are the buffers' addresses, `sizes` the values of the run-time symbols by name, `width` the number of
    lanes of the vector loop.
    """

    def __init__(self, f: Function, pointers: Mapping[Buffer, Value], sizes: Mapping[str, Value], width: int) -> None:
        self.f, self.pointers, self.sizes, self.width = f, pointers, sizes, width
        self.memory: list[dict[Any, Value | int]] = [{}]
        self.places: dict[Var | Temp, tuple[Value, int, bool]] = {}  # value, depth, is a vector
        self.mask: Value | None = None
        self._facts: dict[Scalar, tuple[int, bool]] = {}

    # ---- scopes ------------------------------------------------------------------------------------------------------

    @property
    def depth(self) -> int:
        return len(self.memory) - 1

    @contextmanager
    def scope(self, var: Var, index: Value, is_vector: bool) -> Iterator[None]:
        """Inside, `var` has the value `index` (of the first lane, for a vector loop)."""
        self.memory.append({})
        self.places[var] = (index, self.depth, is_vector)
        yield
        depth = self.depth
        for gone in [name for name, place in self.places.items() if place[1] == depth]:
            del self.places[gone]
        self.memory.pop()

    def define(self, temp: Temp, value: Value) -> None:
        """The result of a fold; a vector if the fold ran inside a vector loop."""
        self.places[temp] = (value, self.depth, lanes(value.type) > 1)
        self.remember(temp, value)

    def remember(self, key: Any, value: Value | int) -> None:
        self.memory[-1][key] = value

    def recall(self, key: Any) -> Value | int | None:
        """What was computed for the key in this scope or an outer one."""
        for memory in reversed(self.memory):
            found: Value | int | None = memory.get(key)
            if found is not None:
                return found
        return None

    def facts(self, scalar: Scalar) -> tuple[int, bool]:
        """(depth of the loop that changes it, whether it differs between lanes)."""
        known_facts = self._facts.get(scalar)
        if known_facts is None:
            for s in self._pending([scalar], self._facts.__contains__):
                parts = [self._facts[x] for x in operands(s)]
                if isinstance(s, Temp):
                    parts.append(self.places[s][1:])
                parts += [self.places[t][1:] for i in indices(s) for t, _ in i.terms if isinstance(t, Var)]
                self._facts[s] = (max((p[0] for p in parts), default=0), any(p[1] for p in parts))
            known_facts = self._facts[scalar]
        return known_facts

    def _pending(self, roots: Sequence[Scalar], is_done: Any) -> list[Scalar]:
        """What the roots depend on and is not done, operands first; iterative."""
        order: list[Scalar] = []
        placed: dict[Scalar, None] = {}
        stack = [s for s in reversed(roots) if not is_done(s)]
        while stack:
            scalar = stack[-1]
            waiting = [x for x in operands(scalar) if x not in placed and not is_done(x)]
            if scalar in placed or not waiting:
                stack.pop()
                if scalar not in placed:
                    placed[scalar] = None
                    order.append(scalar)
            else:
                stack.extend(reversed(waiting))
        return order

    # ---- dimensions and offsets --------------------------------------------------------------------------------------

    def dim(self, dim: Dim) -> Value | int:
        """A dimension's value; computed at most once in a scope."""
        if isinstance(dim, int):
            return dim
        found = self.recall(dim)
        if found is None:
            found = 0
            for monomial, coefficient in dim.terms:
                part: Value | int = coefficient
                for atom in monomial:
                    part = self.f.mul(part, self._atom(atom))
                found = self.f.add(found, part)
            self.remember(dim, found)
        return found

    def _atom(self, atom: Any) -> Value | int:
        if isinstance(atom, Symbol):
            return self.sizes[atom.name]
        divisor, numerator = self.dim(atom.denominator), self.dim(atom.numerator)
        remainder = self.f.srem(numerator, divisor)  # floor: sdiv truncates towards zero
        quotient = self.f.sdiv(numerator, divisor)
        below = self.f.icmp("slt", self.f.add(remainder, self.f.const("i64", 0)), 0)
        return self.f.sub(quotient, self.f.zext(below, "i64"))

    def offset(self, at: Affine, below: int | None = None) -> tuple[Value | int, Any]:
        """(the part of an index that is equal in all lanes, its key); terms of outer loops are added first.

        With `below`, only what does not change inside that depth: to be remembered before a loop is entered.
        """
        terms = sorted(
            ((self._term_facts(t), n, t, c) for n, (t, c) in enumerate(at.terms)), key=lambda x: (x[0][0], x[1])
        )
        total: Value | int = 0
        key: Any = ("sum",)
        for (depth, is_vector), _, term, coefficient in terms:
            if (is_vector and not isinstance(term, Var)) or (below is not None and depth > below):
                continue
            key = (*key, term, coefficient)
            found = self.recall(key)
            if found is None:
                value = self.places[term][0] if isinstance(term, Var) else self.value(term)
                found = self.f.add(total, self.f.mul(value, self.dim(coefficient)))
                self.remember(key, found)
            total = found
        return total, key

    def _term_facts(self, term: Var | Scalar) -> tuple[int, bool]:
        return self.places[term][1:] if isinstance(term, Var) else self.facts(term)

    def address(self, buffer: Buffer, at: Affine) -> Value:
        """The address of the first lane's element."""
        total, _ = self.offset(at)
        return self._at(buffer, self.f.add(total, self.dim(at.constant)))

    def _at(self, buffer: Buffer, index: Value | int) -> Value:
        return self.f.offset(self.pointers[buffer], memory_type(buffer.dtype), index)

    def lane_step(self, at: Affine) -> Dim | None:
        """How far neighbouring lanes lie apart; None when the index itself is computed lane by lane."""
        step: Dim = 0
        for term, coefficient in at.terms:
            if isinstance(term, Var):
                step = step + (coefficient if self.places[term][2] else 0)
            elif self.facts(term)[1]:
                return None
        return step

    def lane_indices(self, at: Affine, scalar: str = "i64") -> Value:
        """The index in every lane, as a vector."""
        total, _ = self.offset(at)
        base = self.f.add(total, self.dim(at.constant))
        start = const("i64", base) if isinstance(base, int) else base
        value = self.f.splat(self.f.cast("trunc", start, scalar), self.width)
        ids = self.f.lane_ids(self.width, scalar)
        for term, coefficient in at.terms:
            if isinstance(term, Var) and self.places[term][2]:
                value = self._plus(value, ids, coefficient, scalar)
            elif isinstance(term, Scalar) and self.facts(term)[1]:
                lane = self.convert(self.value(term), term.dtype, I64 if scalar == "i64" else I32)
                value = self._plus(value, lane, coefficient, scalar)
        return value

    def _plus(self, total: Value, lane_values: Value, coefficient: Dim, scalar: str) -> Value:
        factor = self.dim(coefficient)
        if factor != 1:
            start = const("i64", factor) if isinstance(factor, int) else factor
            lane_values = self.f.mul(lane_values, self.f.splat(self.f.cast("trunc", start, scalar), self.width))
        return self.f.add(total, lane_values)

    # ---- values ------------------------------------------------------------------------------------------------------

    def hoist(self, scalars: Sequence[Scalar], stores: Sequence[Affine]) -> None:
        """Computes, here and now, what the scalars of a loop about to be entered need and does not change inside."""
        every = self._pending(list(scalars), lambda s: self.recall(s) is not None)
        deeper: dict[Scalar, bool] = {}
        for s in every:
            deeper[s] = self._changes_inside(s, deeper)
            if not deeper[s] and not isinstance(s, Const):
                self.value(s)
        for at in (*(i for s in every for i in indices(s)), *stores):
            self._prefix(at)

    def _changes_inside(self, scalar: Scalar, deeper: Mapping[Scalar, bool]) -> bool:
        """Whether a scalar depends on something of a loop that is not entered yet."""
        if any(deeper.get(x, False) for x in operands(scalar)):
            return True
        names: list[Var | Temp] = [t for i in indices(scalar) for t, _ in i.terms if isinstance(t, Var)]
        if isinstance(scalar, Temp):
            names.append(scalar)
        return any(n not in self.places for n in names)

    def _prefix(self, at: Affine) -> None:
        self.dim(at.constant)
        for _, coefficient in at.terms:
            self.dim(coefficient)
        if all(isinstance(t, Var) for t, _ in at.terms):
            known_terms = tuple((t, c) for t, c in at.terms if t in self.places and self.places[t][1] <= self.depth)
            self.offset(Affine(0, known_terms), self.depth)

    def value(self, scalar: Scalar) -> Value:
        """The SSA value, computed where it is missing."""
        found = self.recall(scalar)
        if found is None:
            for s in self._pending([scalar], lambda s: self.recall(s) is not None):
                self.remember(s, self._emit(s))
            found = self.recall(scalar)
        assert isinstance(found, Value)
        return found

    def wide(self, scalar: Scalar) -> Value:
        """The value in all lanes of the vector loop."""
        value = self.value(scalar)
        if lanes(value.type) == self.width:
            return value
        if isinstance(scalar, Const):
            return const(vector(value.type, self.width), scalar.value)
        found = self.recall(("wide", scalar))
        if not isinstance(found, Value):
            found = self.f.splat(value, self.width)
            self.remember(("wide", scalar), found)
        return found

    def _emit(self, s: Scalar) -> Value:
        is_vector = self.facts(s)[1]
        get = self.wide if is_vector else self.value
        match s:
            case Const(dtype, value):
                return const(llvm_type(dtype), value)
            case Load():
                return self._load(s, is_vector)
            case Call(_, op, args):
                return primitives.call(self.f, op, args[0].dtype, [get(x) for x in args])
            case Cast(dtype, value):
                return self.convert(self.value(value), value.dtype, dtype)
            case Select(_, condition, yes, no):
                return self.f.select(self.value(condition), get(yes), get(no))
            case Position(dtype, index):
                return self._position(index, dtype, is_vector)
        raise KeyError(f"{type(s).__name__} has no value yet")

    def _position(self, index: Affine, dtype: DType, is_vector: bool) -> Value:
        if is_vector:
            narrow = "i32" if dtype.name in ("i32", "u8", "i8") else "i64"
            value = self.lane_indices(index, narrow)
            return self.convert(value, DType(narrow, "i", int(narrow[1:]) // 8), dtype)
        total, _ = self.offset(index)
        number = self.f.add(total, self.dim(index.constant))
        value = const("i64", number) if isinstance(number, int) else number
        return self.convert(value, I64, dtype)

    def _load(self, s: Load, is_vector: bool) -> Value:
        if not is_vector:
            if s.guard is None:
                return self._from_memory(self.f.load(self.address(s.buffer, s.at), memory_type(s.dtype)), s.dtype)
            assert s.otherwise is not None
            otherwise = self.value(s.otherwise)
            address = self.address(s.buffer, s.at)
            with self.f.when(self.value(s.guard), [otherwise]) as branch:
                loaded = self.f.load(address, memory_type(s.dtype))
                branch.next = [self._from_memory(loaded, s.dtype)]
            return branch.results[0]
        mask = self.mask
        if s.guard is not None:
            guard = self.wide(s.guard)
            mask = guard if mask is None else self.f.and_(mask, guard)
        value = self._load_lanes(s, mask)
        if s.guard is not None and s.otherwise is not None:
            return self.f.select(self.wide(s.guard), value, self.wide(s.otherwise))
        return value

    def _load_lanes(self, s: Load, mask: Value | None) -> Value:
        kind = memory_type(s.dtype)
        step = self.lane_step(s.at)
        if step == 1:
            address, type = self.address(s.buffer, s.at), vector(kind, self.width)
            raw = self.f.load(address, type) if mask is None else self.f.masked_load(address, type, mask)
        elif step == 2 and self.width > 2:
            raw = self._every_second(self.address(s.buffer, s.at), kind, mask)
        else:
            addresses = self.f.offsets(self.pointers[s.buffer], kind, self.lane_indices(s.at))
            raw = self.f.gather(addresses, kind, mask)
        return self._from_memory(raw, s.dtype)

    def _every_second(self, address: Value, kind: str, mask: Value | None) -> Value:
        """Elements 0, 2, 4 .. of memory: two vectors that meet in the middle, and end with the last of them."""
        f, width = self.f, self.width
        parts = []
        for first in (0, width - 1):
            at = f.offset(address, kind, first)
            if mask is None:
                parts.append(f.load(at, vector(kind, width)))
                continue
            lanes_of = [(first + i) // 2 if (first + i) % 2 == 0 else width for i in range(width)]
            wanted = f.shuffle(mask, const(mask.type, 0), lanes_of)
            parts.append(f.masked_load(at, vector(kind, width), wanted))
        order = [2 * i if 2 * i < width else 2 * i + 1 for i in range(width)]
        return f.shuffle(parts[0], parts[1], order)

    def _from_memory(self, raw: Value, dtype: DType) -> Value:
        return self.f.icmp("ne", raw, 0) if dtype == BOOL else raw

    def store_all(self, stores: Sequence[Store]) -> None:
        """Computes every value before the first is written: a store may overwrite what another one reads."""
        for one in stores:
            self.value(one.value)
        for one in stores:
            self.store(one.buffer, one.at, one.value, one.add)

    def store(self, buffer: Buffer, at: Affine, scalar: Scalar, add: bool = False) -> None:
        """Writes the scalar; in a vector loop, the lanes of the mask."""
        step = self.lane_step(at)
        if step == 0:
            address, value = self.address(buffer, at), self.value(scalar)
            if lanes(value.type) > 1:
                raise KeyError(f"a vector is stored into one element of {buffer.name}")
            if add:
                old = self._from_memory(self.f.load(address, memory_type(buffer.dtype)), buffer.dtype)
                value = primitives.call(self.f, "add", buffer.dtype, [old, value])
            self.f.store(self._to_memory(value, buffer.dtype), address)
            return
        value = self._to_memory(self.wide(scalar), buffer.dtype)
        if step == 1:
            address = self.address(buffer, at)
            if add:
                old = (
                    self.f.load(address, value.type)
                    if self.mask is None
                    else self.f.masked_load(address, value.type, self.mask)
                )
                value = primitives.call(self.f, "add", buffer.dtype, [old, value])
            if self.mask is None:
                self.f.store(value, address)
            else:
                self.f.masked_store(value, address, self.mask)
            return
        kind = memory_type(buffer.dtype)
        self.f.scatter(value, self.f.offsets(self.pointers[buffer], kind, self.lane_indices(at)), self.mask)

    def _to_memory(self, value: Value, dtype: DType) -> Value:
        return self.f.zext(value, "i8") if dtype == BOOL else value

    def convert(self, value: Value, source: DType, target: DType) -> Value:
        """A dtype conversion as NumPy's astype; floats out of an integer's range saturate, NaN becomes 0."""
        f, kind = self.f, llvm_type(target)
        if source == target:
            return value
        if target == BOOL:
            return f.fcmp("une", value, 0.0) if source.is_float else f.icmp("ne", value, 0)
        if source.is_float:
            if target.is_float:
                return f.fpext(value, kind) if target.size > source.size else f.fptrunc(value, kind)
            name = "llvm.fptoui.sat" if target.kind == "u" else "llvm.fptosi.sat"
            return f.intrinsic(name, vector(kind, lanes(value.type)), value)
        unsigned = source.kind in "ub"
        if target.is_float:
            return f.uitofp(value, kind) if unsigned else f.sitofp(value, kind)
        if source == BOOL or target.size > source.size:
            return f.zext(value, kind) if unsigned else f.sext(value, kind)
        return f.trunc(value, kind) if target.size < source.size else value


def memory_type(dtype: DType) -> str:
    """The LLVM type of an element in memory."""
    return llvm_type(I8 if dtype == BOOL else dtype)
