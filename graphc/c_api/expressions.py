"""Dimension expressions of a signature as LLVM IR, with the meaning of `graphc.runtime.dimexpr.evaluate`."""

from __future__ import annotations

from collections.abc import Mapping

from graphc.codegen.llvm import Function, Value, const
from graphc.runtime.dimexpr import Expr

_COMPARISONS = {"==": "eq", "!=": "ne", "<": "slt", "<=": "sle", ">": "sgt", ">=": "sge"}


def emit(f: Function, expr: Expr, sizes: Mapping[str, Value]) -> Value:
    """The i64 value of `expr`; modulo 2**64, see `emit_magnitude`. A division by zero is one by 1."""
    if isinstance(expr, int):
        return const("i64", expr)
    if isinstance(expr, str):
        return sizes[expr]
    op, values = expr[0], [emit(f, one, sizes) for one in expr[1:]]
    if op == "not":
        return f.zext(f.icmp("eq", values[0], 0), "i64")
    if op in ("//", "%"):
        quotient, rest = _divide(f, values[0], values[1])
        return quotient if op == "//" else rest
    if op in _COMPARISONS:
        return f.zext(f.icmp(_COMPARISONS[op], values[0], values[1]), "i64")
    total = values[0]
    for value in values[1:]:
        total = total if total is value else _combine(f, op, total, value)
    return total


def _combine(f: Function, op: str, a: Value, b: Value) -> Value:
    if op in ("max", "min"):
        return f.select(f.icmp("sgt" if op == "max" else "slt", a, b), a, b)
    if op in ("and", "or"):
        a, b = (f.zext(f.icmp("ne", x, 0), "i64") for x in (a, b))
    return {"+": f.add, "-": f.sub, "*": f.mul, "and": f.and_, "or": f.or_}[op](a, b)


def _divide(f: Function, a: Value, b: Value) -> tuple[Value, Value]:
    """Quotient and rest, rounded down as Python does: the rest has the divisor's sign."""
    divisor = f.select(f.icmp("eq", b, 0), const("i64", 1), b)
    rest = f.assign("i64", f"srem {a}, {divisor.text}")
    quotient = f.assign("i64", f"sdiv {a}, {divisor.text}")
    is_off = f.and_(f.icmp("ne", rest, 0), f.icmp("slt", f.xor(rest, divisor), 0))
    return f.sub(quotient, f.zext(is_off, "i64")), f.add(rest, f.select(is_off, divisor, const("i64", 0)))


def emit_magnitude(f: Function, expr: Expr, sizes: Mapping[str, Value]) -> Value:
    """An upper bound of all that is met in computing `expr` for positive sizes, as a double: no sum wraps in it."""
    if isinstance(expr, int):
        return const("double", float(abs(expr)))
    if isinstance(expr, str):
        return f.sitofp(sizes[expr], "double")
    op, values = expr[0], [emit_magnitude(f, one, sizes) for one in expr[1:]]
    total = values[0]
    for value in values[1:]:
        if op == "*":
            one = const("double", 1.0)  # a factor of 0 must not hide the others
            total = f.fmul(f.select(f.fcmp("olt", total, one), one, total), value)
        else:
            total = f.fadd(total, value)
    return total
