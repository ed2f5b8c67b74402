"""Philox4x32-10 as vector code, one block an index; see graphc.ops.random for what the words mean.

32-bit words are held in i64 lanes, so that their products are one instruction each.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from graphc.codegen.llvm import Function, Value, const
from graphc.ops.random import LOW, MULTIPLIERS, ROUNDS, WEYL


def random_24_bits(f: Function, index: Value, seed: Value, step: Value, site: Value, half: int) -> Value:
    """The upper 24 bits of the first word of a half of the index's block, as i64 lanes."""
    first, _ = _words(f, index, seed, step, site, half)
    return f.lshr(first, 8)


def random_53_bits(f: Function, index: Value, seed: Value, step: Value, site: Value, half: int) -> Value:
    """The upper 53 bits of the two words of a half (the first is the lower one), as i64 lanes."""
    return _upper_53_bits(f, *_words(f, index, seed, step, site, half))


def both_53_bits(f: Function, index: Value, seed: Value, step: Value, site: Value) -> tuple[Value, Value]:
    """The 53 bits of both halves."""
    c0, c1, c2, c3 = _block(f, index, seed, step, site)
    return _upper_53_bits(f, c0, c1), _upper_53_bits(f, c2, c3)


def _upper_53_bits(f: Function, first: Value, second: Value) -> Value:
    return f.lshr(f.or_(first, f.shl(second, 32)), 11)


def _words(f: Function, index: Value, seed: Value, step: Value, site: Value, half: int) -> tuple[Value, Value]:
    """The first or the last two words. Where a kernel wants both halves, LLVM computes the rounds they share once."""
    c0, c1, c2, c3 = _block(f, index, seed, step, site)
    return (c0, c1) if half == 0 else (c2, c3)


def _block(f: Function, index: Value, seed: Value, step: Value, site: Value) -> tuple[Value, Value, Value, Value]:
    """The four words."""
    low = const(index.type, LOW)
    c0, c1, c2, c3 = f.and_(index, low), f.lshr(index, 32), f.and_(step, low), site
    k0, k1 = f.and_(seed, low), f.lshr(seed, 32)
    for turn in range(ROUNDS):
        p0 = f.mul(c0, const(index.type, MULTIPLIERS[0]))
        p1 = f.mul(c2, const(index.type, MULTIPLIERS[1]))
        c0, c1 = f.xor(f.xor(f.lshr(p1, 32), c1), k0), f.and_(p1, low)
        c2, c3 = f.xor(f.xor(f.lshr(p0, 32), c3), k1), f.and_(p0, low)
        if turn < ROUNDS - 1:
            k0 = f.and_(f.add(k0, const(index.type, WEYL[0])), low)
            k1 = f.and_(f.add(k1, const(index.type, WEYL[1])), low)
    return c0, c1, c2, c3


PRIMITIVES: dict[str, Callable[..., Value]] = {
    "random_24_bits": partial(random_24_bits, half=0),
    "random_24_bits_more": partial(random_24_bits, half=1),
    "random_53_bits": partial(random_53_bits, half=0),
    "random_53_bits_more": partial(random_53_bits, half=1),
}
