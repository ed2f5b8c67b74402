"""The shapes of elementwise ops: one, two or three operands of equal shape, the result of that shape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from graphc.ir.types import BOOL, F64, I8, I32, I64, U8, DType, TensorType
from graphc.ops.op import Elementwise, Sample
from graphc.ops.rules import check_kind, check_same


class Unary(Elementwise):
    """One operand; `accepts` lists the kinds of its elements, `result` the dtype of the outcome if it is another."""

    accepts: ClassVar[str] = "f"
    result: ClassVar[DType | None] = None
    domain: ClassVar[tuple[float, float]] = (-2.0, 2.0)
    away_from: ClassVar[tuple[float, ...]] = ()

    def infer(self, x: TensorType) -> TensorType:
        check_kind(self.name, x, self.accepts)
        return x.with_dtype(self.result or x.dtype)

    def samples(self, size: int) -> Iterator[Sample]:
        for dtype in _dtypes(self.accepts):
            low = 0 if dtype.kind == "u" else -100
            for shape in ((size,), (2, size)) if dtype == F64 else ((size,),):
                yield Sample((TensorType(dtype, shape),), {}, self.domain, self.away_from, integers=(low, 100))


class Binary(Elementwise):
    """Two operands of one type; `result` as in Unary.  `distinct` says that equal operands are a kink."""

    accepts: ClassVar[str] = "fiu"
    result: ClassVar[DType | None] = None
    domain: ClassVar[tuple[float, float]] = (-2.0, 2.0)
    away_from: ClassVar[tuple[float, ...]] = ()
    distinct: ClassVar[bool] = False

    def infer(self, a: TensorType, b: TensorType) -> TensorType:
        check_kind(self.name, a, self.accepts, 0)
        check_kind(self.name, b, self.accepts, 1)
        check_same(self.name, a, b)
        return a.with_dtype(self.result or a.dtype)

    def samples(self, size: int) -> Iterator[Sample]:
        for dtype in _dtypes(self.accepts):
            low = 0 if dtype.kind == "u" else -20
            shapes = ((size,), (size, 3), ()) if dtype == F64 else ((size,),)
            for shape in shapes:
                types = (TensorType(dtype, shape),) * 2
                yield Sample(types, {}, self.domain, self.away_from, integers=(low, 20), distinct=self.distinct)


def _dtypes(kinds: str) -> tuple[DType, ...]:
    """One or two dtypes of each kind, floats as f64: the contract test derives the f32 samples."""
    candidates = (F64, I32, I64, I8, U8, BOOL)
    return tuple(t for t in candidates if t.kind in kinds)
