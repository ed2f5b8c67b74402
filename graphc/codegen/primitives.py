"""The elementwise primitives of the Kernel IR as instructions: arithmetic, comparison, logic; the rest is vecmath's.

Floats follow IEEE 754 without fast-math flags; comparisons with NaN are false but for `ne`.  Integers wrap around.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphc.codegen import bfloat, philox, vecmath
from graphc.codegen.llvm import Function, Value, const, element, lanes
from graphc.ir.types import BOOL, DType

LLVM_TYPES = {"f64": "double", "f32": "float", "i64": "i64", "i32": "i32", "i8": "i8", "u8": "i8", "bool": "i1"}
_FLOAT = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv"}
_COMPARE_FLOAT = {"eq": "oeq", "ne": "une", "lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge"}
_COMPARE_INTEGER = {"eq": "eq", "ne": "ne", "lt": "slt", "le": "sle", "gt": "sgt", "ge": "sge"}
_BFLOAT: dict[str, Callable[..., Value]] = {"bf16": bfloat.nearest, "bf16_pair": bfloat.pair}
_ORDERED = frozenset({"lt", "le", "gt", "ge", "min", "max", "add", "mul", "sub"})
_SINGLE = frozenset({"exp", "expm1", "log", "log1p", "tanh", "sigmoid", "erf", "sin", "cos", "pow", "floordiv", "mod"})


def llvm_type(dtype: DType) -> str:
    """The type of a value in registers; a bool is an i1 there and a byte in memory."""
    return LLVM_TYPES[dtype.name]


def call(f: Function, op: str, dtype: DType, args: Sequence[Value]) -> Value:
    """The primitive `op` of operands of one dtype, scalars or vectors of equally many lanes."""
    if dtype.kind == "u" or (dtype == BOOL and op in _ORDERED):  # where they are positive signed numbers
        wide = _call(f, op, False, [f.zext(x, "i32") for x in args])
        return f.trunc(wide, llvm_type(dtype)) if element(wide.type) == "i32" else wide
    if dtype.is_float and lanes(args[0].type) == 1 and op in _SINGLE:  # by vector code: the bits are those of a lane
        spread = [f.splat(x, 16 // dtype.size) for x in args]
        return f.extract(vecmath.call(f, op, *spread), 0)
    return _call(f, op, dtype.is_float, args)


def fold_lanes(f: Function, op: str, dtype: DType, value: Value) -> Value:
    """All lanes of a vector folded by the primitive `op` into a scalar, in a fixed order."""
    if dtype.kind == "u":  # as in `call`
        return f.trunc(f.reduce(op, f.zext(value, "i32")), llvm_type(dtype))
    return f.reduce(op, value)


def _call(f: Function, op: str, is_float: bool, args: Sequence[Value]) -> Value:
    if op in _COMPARE_INTEGER:
        if is_float:
            return f.fcmp(_COMPARE_FLOAT[op], *args)
        return f.icmp(_COMPARE_INTEGER[op], *args)
    if op in _FLOAT and is_float:
        return f.assign(args[0].type, f"{_FLOAT[op]} {args[0]}, {args[1].text}")
    if op in ("add", "sub", "mul", "and", "or"):
        return f.assign(args[0].type, f"{op} {args[0]}, {args[1].text}")
    if op == "fma":
        return f.fma(*args)
    if op == "not":
        return f.xor(args[0], const(args[0].type, 1))
    if op == "neg" and not is_float:
        return f.sub(const(args[0].type, 0), args[0])
    if op == "pow" and not is_float:
        return _integer_power(f, *args)
    if op in _BFLOAT:
        return _BFLOAT[op](f, *args)
    if op in philox.PRIMITIVES:
        return philox.PRIMITIVES[op](f, *args)
    return vecmath.call(f, op, *args)


def _integer_power(f: Function, base: Value, exponent: Value) -> Value:
    """base**exponent modulo 2^bits by squaring; a negative exponent gives 0, but 1 for 1 and +-1 for -1."""
    one, zero = const(base.type, 1), const(base.type, 0)
    negative = f.icmp("slt", exponent, zero)
    bits = int(element(base.type)[1:])
    with f.loop(0, bits - 1, carried=[one, base, exponent]) as loop:
        result, power, rest = loop.values
        odd = f.icmp("ne", f.and_(rest, one), zero)
        loop.next = [
            f.select(odd, f.mul(result, power), result), f.mul(power, power), f.lshr(rest, one)
        ]  # fmt: skip
    unit = f.select(f.icmp("ne", f.and_(exponent, one), zero), base, one)  # 1 or -1 for base -1
    is_unit = f.or_(f.icmp("eq", base, one), f.icmp("eq", base, const(base.type, -1)))
    inverse = f.select(is_unit, unit, zero)
    return f.select(negative, inverse, loop.results[0])
