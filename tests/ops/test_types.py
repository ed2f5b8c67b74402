"""Type rules: what each op refuses, and which operands it blames."""

from __future__ import annotations

import re
from typing import Any

import pytest

import graphc.ops  # noqa: F401
from graphc.ir.dims import SymDim, symbol
from graphc.ir.node import OPS
from graphc.ir.types import BOOL, F32, F64, I32, TensorType, TupleType, TypeMismatch

B, T = symbol("B"), symbol("T")
X, Y = TensorType(F32, (B, 4)), TensorType(F32, (B, 5))
N, C = TensorType(I32, (B, 4)), TensorType(BOOL, (B, 4))
ROWS = TensorType(I32, (B,))
CROSS = {"axis": 1, "smoothing": 0.0, "ignore": None}
WINDOW = {"start": (0, 0), "stop": (B, 4), "step": (1, 1)}
PAD = {"low": (0, 0), "high": (0, 1), "interior": (0, 0), "value": 0.0}

REFUSED: list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[int, ...], str]] = [
    ("add", (X, Y), {}, (0, 1), "equal shapes"),
    ("add", (X, X.with_dtype(F64)), {}, (0, 1), "one element type"),
    ("add", (C, C), {}, (0,), "float or integer"),
    ("div", (N, N), {}, (0,), "float"),
    ("pow", (C, C), {}, (0,), "float"),
    ("exp", (N,), {}, (0,), "float"),
    ("and", (C, X), {}, (1,), "bool"),
    ("not", (X,), {}, (0,), "bool"),
    ("where", (X, X, X), {}, (0,), "bool"),
    ("where", (C, X, Y), {}, (1, 2), "equal shapes"),
    ("where", (C.with_shape((4, B)), X, X), {}, (0, 1), "equal shapes"),
    ("cast", (X,), {"dtype": "f64"}, (), "element type"),
    ("reduce_sum", (X,), {"axes": (2,)}, (0,), "axis 2"),
    ("reduce_sum", (X,), {"axes": (-1,)}, (0,), "axis -1"),
    ("reduce_sum", (X,), {"axes": (1, 0)}, (0,), "ascending"),
    ("reduce_sum", (X,), {"axes": (1, 1)}, (0,), "distinct"),
    ("reduce_and", (X,), {"axes": (1,)}, (0,), "bool"),
    ("argmax", (X,), {"axis": 5}, (0,), "axis 5"),
    ("argmax", (X.with_shape((B, 0)),), {"axis": 1}, (0,), "no element"),
    ("reshape", (X,), {"shape": (B, 5)}, (0,), "4*B elements"),
    ("reshape", (X,), {"shape": (-4, B)}, (), "-4"),
    ("transpose", (X,), {"perm": (0, 0)}, (0,), "permutation"),
    ("broadcast", (X,), {"shape": (3, B, 4), "axes": (0, 1)}, (0,), "B"),
    ("broadcast", (X,), {"shape": (B, 4), "axes": (1, 0)}, (0,), "ascending"),
    ("broadcast", (X.with_shape((1,)),), {"shape": (4,), "axes": (0,)}, (0,), "1"),
    ("concat", (X, Y), {"axis": 0}, (0, 1), "does not continue"),
    ("concat", (X, N), {"axis": 0}, (0, 1), "does not continue"),
    ("concat", (), {"axis": 0}, (), "operand"),
    ("reverse", (X,), {"axes": (2,)}, (0,), "axis 2"),
    ("slice", (X,), {**WINDOW, "stop": (B, 5)}, (0,), "0:5"),
    ("slice", (X,), {**WINDOW, "start": (0, 5)}, (0,), "5:4"),
    ("slice", (X,), {**WINDOW, "start": (0, -1)}, (0,), "-1:4"),
    ("slice", (X,), {**WINDOW, "step": (1, 0)}, (0,), "step 0"),
    ("slice", (X,), {**WINDOW, "step": (1,)}, (0,), "each axis"),
    ("pad", (X,), {**PAD, "low": (0, -1)}, (0,), "-1"),
    ("pad", (X,), {**PAD, "interior": (0, -1)}, (0,), "negative"),
    ("pad", (X,), {**PAD, "value": 0}, (0,), "not a value of f32"),
    ("gather", (X, X), {"axis": 0}, (1,), "integer"),
    ("gather", (X, ROWS), {"axis": 2}, (0,), "axis 2"),
    ("scatter_add", (ROWS, X.with_shape((T, 4))), {"axis": 0, "size": 9}, (0, 1), "does not hold"),
    ("scatter_add", (X, X), {"axis": 0, "size": 9}, (0,), "integer"),
    ("contract", (X, Y), {"spec": "bi,bi->b"}, (0, 1), "'i' of 'bi,bi->b' is 4"),
    ("contract", (X, X), {"spec": "bi,bj->b"}, (0,), "sum it first"),
    ("contract", (X, X), {"spec": "bi,bi->bk"}, (), "no operand"),
    ("contract", (X, X), {"spec": "bb,bb->b"}, (), "twice"),
    ("contract", (X, X), {"spec": "bi,bi"}, (), "form"),
    ("contract", (X, X), {"spec": "b,bi->bi"}, (0,), "does not label"),
    ("contract", (N, N), {"spec": "bi,bi->b"}, (0,), "float"),
    ("softmax", (N,), {"axis": 1}, (0,), "float"),
    ("cross_entropy", (X, N), CROSS, (0, 1), "class numbers are i32[B]"),
    ("cross_entropy", (X, X.with_dtype(F64)), CROSS, (0, 1), "one element type"),
    ("cross_entropy", (X, ROWS), {**CROSS, "smoothing": 1.0}, (), "smoothing"),
    ("cross_entropy", (X, X), {**CROSS, "ignore": 1}, (1,), "integer labels"),
    ("binary_cross_entropy", (X, N), {}, (1,), "float"),
    ("const", (), {"value": 1, "dtype": F32, "shape": ()}, (), "not a value of f32"),
    ("const", (), {"value": 2**31, "dtype": I32, "shape": ()}, (), "outside of i32"),
    ("iota", (), {"dtype": I32, "shape": (3,), "axis": 1}, (0,), "axis 1"),
    ("leaf", (), {"role": "hyperparameter", "name": "x", "dtype": F32, "shape": ()}, (), "is not one of"),
    ("item", (X,), {"index": 0}, (0,), "not a group"),
    ("item", (TupleType((X,)),), {"index": 1}, (0,), "no result 1"),
]


@pytest.mark.parametrize(
    ("op", "types", "attrs", "operands", "text"), REFUSED, ids=lambda v: v if isinstance(v, str) else ""
)
def test_refused(op: str, types: Any, attrs: Any, operands: tuple[int, ...], text: str) -> None:
    with pytest.raises(TypeMismatch, match=re.escape(text)) as caught:
        OPS[op].infer(*types, **attrs)
    assert caught.value.operands == operands


def test_hints_say_what_helps() -> None:
    hints = {}
    for op, operands in (
        ("exp", (N,)),
        ("add", (C, C)),
        ("not", (X,)),
        ("add", (X, X.with_dtype(F64))),
        ("div", (N, N)),
    ):
        with pytest.raises(TypeMismatch) as caught:
            OPS[op].infer(*operands)
        hints[op, operands] = caught.value.hint
    assert [hint is not None and "cast" in hint for hint in hints.values()] == [True, True, False, True, True]


ACCEPTED: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    ("reshape", (X,), {"shape": (2, 2 * B)}, "f32[2, 2*B]"),
    ("slice", (X,), {**WINDOW, "stop": (B, 3), "step": (2, 2)}, "f32[((B + 1) // 2), 2]"),
    ("concat", (X, Y), {"axis": 1}, "f32[B, 9]"),
    ("concat", (X, X), {"axis": 0}, "f32[2*B, 4]"),
    ("pad", (X,), {**PAD, "interior": (1, 0)}, "f32[2*B - 1, 5]"),
    ("contract", (X, Y), {"spec": "bi,bj->ij"}, "f32[4, 5]"),
    ("gather", (X, TensorType(I32, (T, 2))), {"axis": 0}, "f32[T, 2, 4]"),
    ("scatter_add", (ROWS, X), {"axis": 0, "size": T}, "f32[T, 4]"),
    ("logsumexp", (X,), {"axis": 0}, "f32[4]"),
    ("cross_entropy", (X, ROWS), CROSS, "f32[B]"),
    ("lt", (X, X), {}, "bool[B, 4]"),
    ("reduce_max", (X,), {"axes": ()}, "f32[B, 4]"),
]


@pytest.mark.parametrize(("op", "types", "attrs", "result"), ACCEPTED, ids=lambda v: v if isinstance(v, str) else "")
def test_accepted_with_run_time_dimensions(op: str, types: Any, attrs: Any, result: str) -> None:
    assert str(OPS[op].infer(*types, **attrs)) == result


WRONG: tuple[Any, ...] = (
    None,
    True,
    -1,
    2**70,
    0.5,
    "x",
    "",
    F32,
    (),
    (-1,),
    ("x",),
    (0.5,),
    (0, 0, 0),
    ((0,),),
    symbol("Q"),
)


@pytest.mark.parametrize("op", sorted(OPS))
def test_attributes_of_another_kind_are_a_mismatch_or_make_a_type(op: str) -> None:
    """As a graph file may hold anything: infer never fails in another way."""
    for sample in OPS[op].samples(3):
        for name in sample.attrs:
            for wrong in WRONG:
                try:
                    result = OPS[op].infer(*sample.types, **{**sample.attrs, name: wrong})
                except TypeMismatch:
                    continue
                assert isinstance(result, TensorType | TupleType)
                assert all(isinstance(d, int | SymDim) for d in getattr(result, "shape", ()))
