"""The Kernel IR: loop nests over scalar expressions, and structured contractions.

    kernel = (name, buffer* buffers, stmt* body)
    stmt   = For(var, stmt* body, vector?, fold* folds, start?, stop?)   -- a counted loop; its folds are read after it
           | Routine(kind, (buffer, affine)*, dim*)       -- what these loops have no words for, such as a sort
           | Store(buffer, affine at, scalar, add?)       -- `add` accumulates into memory (scatter)
           | Contract(a, b, axes, temp, stmt* epilogue)   -- temp[m, n] = sum over k of a * b, then the epilogue
    fold   = (temp, combine, scalar)                      -- temp = combine over the loop of scalar
    scalar = Load(buffer, affine at, guard?) | Const | Call(op, scalar*) | Cast(scalar) | Select(scalar, scalar, scalar)
           | Position(affine) | Temp                      -- a DAG: shared, never copied
    affine = dim + sum of (var or scalar) * dim           -- element offsets and positions

At most one loop on a path is a vector loop: it runs over neighbouring elements, the last vector masked.
Extents and strides are dimensions, so that one kernel serves every admissible size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphc.codegen.target import LARGE_BYTES
from graphc.ir.dims import Dim, product
from graphc.ir.types import DType


@dataclass(frozen=True, eq=False)
class Buffer:
    """Memory of a tensor: C-contiguous, `shape` elements; `role` is in, out or scratch."""

    name: str
    dtype: DType
    shape: tuple[Dim, ...]
    role: str = "in"

    @property
    def is_large(self) -> bool:
        """Whether it may not be in the cache."""
        elements = product(self.shape)
        return not isinstance(elements, int) or elements * self.dtype.size >= LARGE_BYTES

    def strides(self) -> tuple[Dim, ...]:
        """Elements between neighbours along each axis."""
        strides: list[Dim] = []
        step: Dim = 1
        for extent in reversed(self.shape):
            strides.insert(0, step)
            step = step * extent
        return tuple(strides)


@dataclass(frozen=True, eq=False)
class Var:
    """A loop variable: 0 <= var < extent."""

    name: str
    extent: Dim


@dataclass(frozen=True, eq=False)
class Scalar:
    """A value of one element; `dtype` is its type."""

    dtype: DType


@dataclass(frozen=True, eq=False)
class Affine:
    """constant + sum of term * coefficient, in elements or positions."""

    constant: Dim = 0
    terms: tuple[tuple[Var | Scalar, Dim], ...] = ()

    def __add__(self, other: Affine | Dim) -> Affine:
        if not isinstance(other, Affine):
            return Affine(self.constant + other, self.terms)
        if not self.terms or not other.terms:
            return Affine(self.constant + other.constant, self.terms or other.terms)
        coefficients: dict[Any, Dim] = dict(self.terms)
        for term, coefficient in other.terms:
            coefficients[term] = coefficients.get(term, 0) + coefficient
        return Affine(self.constant + other.constant, tuple((t, c) for t, c in coefficients.items() if c != 0))

    __radd__ = __add__

    def __mul__(self, factor: Dim) -> Affine:
        if factor == 0:
            return Affine()
        return Affine(self.constant * factor, tuple((term, c * factor) for term, c in self.terms))

    __rmul__ = __mul__

    def __neg__(self) -> Affine:
        return self * -1

    def __sub__(self, other: Affine | Dim) -> Affine:
        return self + -other

    def __rsub__(self, other: Dim) -> Affine:
        return -self + other

    def coefficient(self, term: Var | Scalar) -> Dim:
        return dict(self.terms).get(term, 0)

    def is_of_rows(self, row: Var, column: Var) -> bool:
        """Whether it is another place for every row, and neighbouring columns lie beside each other."""
        follows = self.coefficient(row) != 0 and self.coefficient(column) == 1
        return follows and all(isinstance(term, Var) for term, _ in self.terms)

    def __str__(self) -> str:
        from graphc.codegen.kernel_text import show_affine

        return show_affine(self)


def affine(value: Affine | Var | Scalar | Dim) -> Affine:
    """Anything that can be an index, as an Affine."""
    if isinstance(value, Affine):
        return value
    if isinstance(value, (Var, Scalar)):
        return Affine(0, ((value, 1),))
    return Affine(value)


@dataclass(frozen=True, eq=False)
class Const(Scalar):
    value: float | int | bool


def zero(dtype: DType) -> Const:
    """The zero of an element type."""
    return Const(dtype, False if dtype.kind == "b" else 0.0 if dtype.is_float else 0)


@dataclass(frozen=True, eq=False)
class Load(Scalar):
    """An element of a buffer; with a guard, memory is touched only where it holds, elsewhere `otherwise`."""

    buffer: Buffer
    at: Affine
    guard: Scalar | None = None
    otherwise: Scalar | None = None


@dataclass(frozen=True, eq=False)
class Call(Scalar):
    """An elementwise primitive of vecmath; `args` have one dtype."""

    op: str
    args: tuple[Scalar, ...]


@dataclass(frozen=True, eq=False)
class Cast(Scalar):
    value: Scalar


@dataclass(frozen=True, eq=False)
class Select(Scalar):
    condition: Scalar
    yes: Scalar
    no: Scalar


@dataclass(frozen=True, eq=False)
class Position(Scalar):
    """An index expression as a number."""

    index: Affine


@dataclass(frozen=True, eq=False)
class Temp(Scalar):
    """The result of a fold or of a contraction, readable after its loop."""

    name: str


@dataclass(frozen=True, eq=False)
class Fold:
    temp: Temp
    combine: str
    identity: float | int | bool
    value: Scalar


@dataclass(frozen=True, eq=False)
class For:
    """A loop over the whole extent of its variable, or over part of it: from `start`, or to before `stop`.

    Both are cut to the extent. A vector loop rounds them up to whole vectors, so that of two loops of a kernel one
    begins where the other ends.
    """

    var: Var
    body: tuple[Stmt, ...]
    vector: bool = False
    folds: tuple[Fold, ...] = ()
    start: Affine | None = None
    stop: Affine | None = None

    @property
    def bounds(self) -> tuple[Affine, ...]:
        return tuple(bound for bound in (self.start, self.stop) if bound is not None)


@dataclass(frozen=True, eq=False)
class Store:
    buffer: Buffer
    at: Affine
    value: Scalar
    add: bool = False


@dataclass(frozen=True, eq=False)
class KAxis:
    """One summed axis: its extent and the step of each operand along it.

    The outermost may have a `count`, which is the extent of this turn of the loops around: at most `extent`, or none.
    """

    extent: Dim
    a_stride: Dim
    b_stride: Dim
    count: Affine | None = None


@dataclass(frozen=True, eq=False)
class Ask:
    """An element that will be read, or written without being read."""

    buffer: Buffer
    at: Affine
    is_written: bool = False


@dataclass(frozen=True, eq=False)
class Fetch:
    """So many bytes for every row of a contraction: those of row r begin r * `row` bytes behind element `at`.

    Memory beyond the buffer's end may be asked for, and what lies before the end of a line of the cache is.
    """

    buffer: Buffer
    row: int
    at: Affine = Affine()


@dataclass(frozen=True, eq=False)
class Contract:
    """temp = sum over k of a[a_at + row*a_row_stride + ..] * b[b_at + column*b_column_stride + ..], then the epilogue.

    The epilogue's stores run once for every (row, column); `workspace` holds packed panels of b.  With `vectors` b lies
    in panels of so many vectors already: [panel][k][width].  With `others` a panel has a vector of columns of every
    part, and the sums of the further parts at the same column are those temps.  With `pairs` an element of a or b is a
    pair of bfloat16 numbers in an i32, and a product of elements is the sum of the products of their halves.

    Where the result is read, or `a` is not zero, only up to a diagonal: `seen` says that nobody reads row r from column
    r + seen on, `nonzero` that row r of `a` is zero from k = r + nonzero on, `zero` that it is before k = r + zero, and
    b finite there.

    `asks` are elements that later statements read or write at the same row and column: nothing happens to them here,
    but their memory is asked for amid the sums. Of `fetches` so is what belongs to a row of the tile.
    """

    a: Buffer
    b: Buffer
    a_at: Affine
    b_at: Affine
    row: Var
    column: Var
    k: tuple[KAxis, ...]
    a_row_stride: Dim
    b_column_stride: Dim
    temp: Temp
    epilogue: tuple[Store, ...]
    workspace: Buffer | None = None
    vectors: int | None = None
    others: tuple[Temp, ...] = ()
    pairs: bool = False
    seen: Affine | None = None
    nonzero: Affine | None = None
    zero: Affine | None = None
    asks: tuple[Ask, ...] = ()
    fetches: tuple[Fetch, ...] = ()

    @property
    def diagonals(self) -> tuple[Affine, ...]:
        return tuple(bound for bound in (self.seen, self.nonzero, self.zero) if bound is not None)


@dataclass(frozen=True, eq=False)
class Routine:
    """Code of its own, by the name `kind` (graphc.codegen.loop_code has the table): loops that depend on the data.

    It works on `buffers`, each from its place in `at` on; `sizes` and `options` are what the kind says they are.
    """

    kind: str
    buffers: tuple[Buffer, ...]
    at: tuple[Affine, ...]
    sizes: tuple[Dim, ...]
    options: tuple[bool | int, ...] = ()


Stmt = For | Store | Contract | Routine


@dataclass(frozen=True, eq=False)
class Kernel:
    """One native function over buffers; `comment` says in words what it computes."""

    name: str
    buffers: tuple[Buffer, ...]
    body: tuple[Stmt, ...]
    comment: str = ""
    notes: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        from graphc.codegen.kernel_text import print_kernel

        return "\n".join(print_kernel(self))


def operands(scalar: Scalar) -> tuple[Scalar, ...]:
    """The scalars that a scalar is computed from, those inside index expressions included."""
    if isinstance(scalar, Call):
        return scalar.args
    if isinstance(scalar, Load):
        if scalar.guard is None and scalar.otherwise is None:
            return _scalars(scalar.at)
        return tuple(x for x in (*_scalars(scalar.at), scalar.guard, scalar.otherwise) if x is not None)
    if isinstance(scalar, Select):
        return scalar.condition, scalar.yes, scalar.no
    if isinstance(scalar, Cast):
        return (scalar.value,)
    return _scalars(scalar.index) if isinstance(scalar, Position) else ()


def _scalars(index: Affine) -> tuple[Scalar, ...]:
    return tuple(term for term, _ in index.terms if isinstance(term, Scalar))


def indices(scalar: Scalar) -> tuple[Affine, ...]:
    """The index expressions that stand in one scalar itself."""
    if isinstance(scalar, Load):
        return (scalar.at,)
    return (scalar.index,) if isinstance(scalar, Position) else ()


def statements(stmts: Sequence[Stmt]) -> Iterator[Stmt]:
    """The statements, and those inside of loops and epilogues, in order."""
    for stmt in stmts:
        yield stmt
        if isinstance(stmt, For):
            yield from statements(stmt.body)
        elif isinstance(stmt, Contract):
            yield from statements(stmt.epilogue)


def stores_of(stmts: Sequence[Stmt]) -> Iterator[Store]:
    """The stores among `statements`."""
    return (stmt for stmt in statements(stmts) if isinstance(stmt, Store))


def scalars_of(stmts: tuple[Stmt, ...]) -> Iterator[Scalar]:
    """The scalars that stand in statements, nested ones included; not what they are computed from."""
    for stmt in stmts:
        match stmt:
            case For(_, body, _, folds):
                yield from (scalar for bound in stmt.bounds for scalar in _scalars(bound))
                yield from scalars_of(body)
                yield from (fold.value for fold in folds)
            case Store(_, at, value):
                yield from _scalars(at)
                yield value
            case Contract():
                yield from (scalar for bound in stmt.diagonals for scalar in _scalars(bound))
                yield from scalars_of(stmt.epilogue)


def closure(scalars: Iterator[Scalar] | tuple[Scalar, ...]) -> list[Scalar]:
    """Every scalar that the given ones depend on, operands first, each once; iterative."""
    order: list[Scalar] = []
    seen: dict[Scalar, None] = {}
    for root in scalars:
        if root in seen:
            continue
        seen[root] = None
        stack = [(root, iter(operands(root)))]
        while stack:
            scalar, rest = stack[-1]
            for x in rest:
                if x not in seen:
                    seen[x] = None
                    stack.append((x, iter(operands(x))))
                    break
            else:
                stack.pop()
                order.append(scalar)
    return order


# ---- verifier --------------------------------------------------------------------------------------------------------


class KernelError(Exception):
    """A kernel breaks an invariant: a bug of graphc."""


def verify_kernel(kernel: Kernel) -> None:
    """Every buffer is declared, every variable and temp is in scope, one vector loop a path, dtypes agree."""
    declared = dict.fromkeys(kernel.buffers)
    _verify_block(kernel.body, declared, {}, False)


def _verify_block(stmts: tuple[Stmt, ...], buffers: dict[Buffer, None], scope: dict[Any, None], vector: bool) -> None:
    def check(scalars: Iterator[Scalar] | tuple[Scalar, ...], at: tuple[Affine, ...], scope: dict[Any, None]) -> None:
        order = closure(scalars)
        for index in (*at, *(i for s in order for i in indices(s))):
            for var in (t for t, _ in index.terms if isinstance(t, Var)):
                _require(var in scope, f"variable {var.name} is out of scope")
        for s in order:
            if isinstance(s, Load):
                _require(s.buffer in buffers, f"buffer {s.buffer.name} is not declared")
            if isinstance(s, Temp):
                _require(s in scope, f"temp {s.name} is read before it is computed")

    scope = dict(scope)
    for stmt in stmts:
        match stmt:
            case For(var, body, is_vector, folds):
                _require(not (vector and is_vector), f"vector loop {var.name} inside a vector loop")
                check(tuple(s for bound in stmt.bounds for s in _scalars(bound)), stmt.bounds, scope)
                inner = {**scope, var: None}
                _verify_block(body, buffers, inner, vector or is_vector)
                inner.update({f.temp: None for s in body if isinstance(s, For) for f in s.folds})
                check(tuple(f.value for f in folds), (), inner)
                _require(all(f.temp.dtype == f.value.dtype for f in folds), "a fold changes the dtype")
                scope.update({fold.temp: None for fold in folds})
            case Store(buffer, at, value):
                _require(buffer in buffers, f"buffer {buffer.name} is not declared")
                _require(buffer.dtype == value.dtype, f"{value.dtype} stored into {buffer.name}: {buffer.dtype}")
                check((*_scalars(at), value), (at,), scope)
            case Contract():
                _require(stmt.a in buffers and stmt.b in buffers, "operands of the contraction are not declared")
                inner = {**scope, **dict.fromkeys((stmt.row, stmt.column, stmt.temp, *stmt.others))}
                check(tuple(s for bound in stmt.diagonals for s in _scalars(bound)), stmt.diagonals, scope)
                places = (stmt.a_at, stmt.b_at, *(k.count for k in stmt.k if k.count is not None))
                check(tuple(s for at in places for s in _scalars(at)), places, scope)
                asked = [*(ask.buffer for ask in stmt.asks), *(fetch.buffer for fetch in stmt.fetches)]
                _require(all(buffer in buffers for buffer in asked), "what is asked for is not declared")
                check((), (*(ask.at for ask in stmt.asks), *(fetch.at for fetch in stmt.fetches)), inner)
                _verify_block(stmt.epilogue, buffers, inner, True)
            case Routine():
                _require(all(b in buffers for b in stmt.buffers), f"operands of {stmt.kind} are not declared")
                _require(not vector, f"{stmt.kind} inside a vector loop")
                check((), stmt.at, scope)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise KernelError(message)
