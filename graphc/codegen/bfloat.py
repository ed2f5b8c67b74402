"""Rounding to bfloat16, and sums of products of pairs of them; by the instructions of AVX512-BF16 where there are.

Without them the same bits come out: a pair is two fused multiply-adds in the order of the instruction, the upper half
first.  Only what is below 2^-126 differs: the instruction takes and gives zeros there, a multiply-add does not.
"""

from __future__ import annotations

from graphc.codegen.llvm import Function, Value, const, lanes, like, vector

FEATURE = "avx512bf16"
_ROUND, _QUIET, _UPPER = 0x7FFF, 0x400000, 0xFFFF0000
_LEAST, _INFINITY, _SIGN = 0x00800000, 0x7F800000, 0x80000000


def nearest(f: Function, x: Value) -> Value:
    """The nearest bfloat16 of every float, as a float."""
    return f.bitcast(_nearest_bits(f, x), x.type)


def pair(f: Function, low: Value, high: Value) -> Value:
    """Two numbers to each i32, both rounded."""
    count = lanes(low.type)
    if f.target.has(FEATURE) and count % 16 == 0:
        halves = [f.assign(vector("bfloat", count), f"fptrunc {x} to {vector('bfloat', count)}") for x in (low, high)]
        order = [lane // 2 + count * (lane % 2) for lane in range(2 * count)]
        return f.bitcast(f.shuffle(halves[0], halves[1], order), vector("i32", count))
    lower = f.lshr(_nearest_bits(f, low), const(like("i32", low.type), 16))
    return f.or_(lower, _nearest_bits(f, high))


def _nearest_bits(f: Function, x: Value) -> Value:
    """The bits of the nearest bfloat16 in the upper half of an i32, zeros below."""
    type = like("i32", x.type)

    def number(value: int) -> Value:
        return const(type, value)

    bits = f.bitcast(x, type)
    odd = f.and_(f.lshr(bits, number(16)), number(1))
    up = f.add(f.add(bits, number(_ROUND)), odd)
    size = f.and_(bits, number(_SIGN - 1))
    up = f.select(f.icmp("ugt", size, number(_INFINITY)), f.or_(bits, number(_QUIET)), up)
    up = f.select(f.icmp("ult", size, number(_LEAST)), f.and_(bits, number(_SIGN)), up)
    return f.and_(up, number(_UPPER))


def dot(f: Function, a: Value, b: Value, total: Value) -> Value:
    """total + the products of the pairs of a and b (vectors of float that hold pairs), by one instruction."""
    kind = vector("bfloat", 2 * lanes(total.type))
    x, y = f.bitcast(a, kind), f.bitcast(b, kind)
    return f.intrinsic("llvm.x86.avx512bf16.dpbf16ps.512", total.type, total, y, x)


def has_dot(f: Function, type: str) -> bool:
    """Whether `dot` exists for vectors of the type."""
    return f.target.has(FEATURE) and type == "<16 x float>"


def half(f: Function, pairs: Value, is_upper: bool) -> Value:
    """The lower or the upper numbers of pairs (floats that hold them), as floats."""
    bits = f.bitcast(pairs, like("i32", pairs.type))
    kept = f.and_(bits, const(bits.type, _UPPER)) if is_upper else f.shl(bits, const(bits.type, 16))
    return f.bitcast(kept, pairs.type)
