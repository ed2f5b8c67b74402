"""Element types and tensor types of the graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graphc.ir.dims import Dim, product, symbols

if TYPE_CHECKING:
    import numpy as np


class TypeMismatch(Exception):
    """An op was given operands it has no rule for; the frontend adds spans.

    `operands` names the positions (from 0) of the operands at fault, `hint` is one line of help.
    """

    def __init__(self, message: str, operands: tuple[int, ...] = (), hint: str | None = None) -> None:
        super().__init__(message)
        self.message, self.operands, self.hint = message, operands, hint


@dataclass(frozen=True)
class DType:
    """An element type; `kind` is f (float), i (signed), u (unsigned) or b (bool); `size` in bytes."""

    name: str
    kind: str
    size: int

    def __str__(self) -> str:
        return self.name

    __repr__ = __str__

    @property
    def is_float(self) -> bool:
        return self.kind == "f"

    @property
    def is_integer(self) -> bool:
        return self.kind in "iu"

    @property
    def numpy(self) -> np.dtype[Any]:
        import numpy as np

        return np.dtype({"b": "?"}.get(self.kind, f"{self.kind}{self.size}"))

    def range(self) -> tuple[int, int]:
        """(least, greatest) integer; for bool (0, 1)."""
        bits = 8 * self.size
        if self.kind == "i":
            return -(1 << bits - 1), (1 << bits - 1) - 1
        return 0, 1 if self.kind == "b" else (1 << bits) - 1


F64, F32 = DType("f64", "f", 8), DType("f32", "f", 4)
I64, I32, I8, U8 = DType("i64", "i", 8), DType("i32", "i", 4), DType("i8", "i", 1), DType("u8", "u", 1)
BOOL = DType("bool", "b", 1)
DTYPES = {t.name: t for t in (F64, F32, I64, I32, I8, U8, BOOL)}


@dataclass(frozen=True)
class TensorType:
    """dtype and shape of a value; `f32[B, 10]`, a scalar is `f32`."""

    dtype: DType
    shape: tuple[Dim, ...] = ()

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]" if self.shape else str(self.dtype)

    __repr__ = __str__

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def elements(self) -> Dim:
        return product(self.shape)

    @property
    def is_static(self) -> bool:
        return all(not symbols(d) for d in self.shape)

    def with_shape(self, shape: tuple[Dim, ...]) -> TensorType:
        return TensorType(self.dtype, shape)

    def with_dtype(self, dtype: DType) -> TensorType:
        return TensorType(dtype, self.shape)


@dataclass(frozen=True)
class TupleType:
    """The type of a fused group with several results; read through `item`."""

    items: tuple[TensorType, ...]

    def __str__(self) -> str:
        return f"({', '.join(map(str, self.items))})"

    __repr__ = __str__
