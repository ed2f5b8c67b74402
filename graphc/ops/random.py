"""Random numbers as a function of what they are for: seed, step, site and index; no state, no order.

A site is one place of the model file in one instance.  The bits are those of Philox4x32-10 (Salmon, Moraes, Dror and
Shaw 2011) with the key (seed) and the counter (index low, index high, step, site), so they are the same for any number
of threads and any way of computing them.  The step counts modulo 2^32.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from graphc.ir.dims import Dim
from graphc.ir.types import F32, F64, I64, DType, TensorType
from graphc.ops.op import Array, Index, Lowering, Pointwise, Sample, Scalar, expect, register
from graphc.ops.rules import check_dtype, check_shape

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
LOW = 0xFFFFFFFF
MAX_SITE = 1 << 31


@register
class RandomUniform(Pointwise):
    """random_uniform(seed, step, site, half, shape, dtype): numbers in [0, 1) with all the bits a float of [½, 1) has.

    f32 numbers are multiples of 2^-24, f64 ones of 2^-53.  The same seed, step, site, half and index give the same
    number.  A block of Philox has four words; half 0 takes the first two, half 1 the others, so that two numbers for
    one index (a normal one needs two) cost one block.
    """

    name = "random_uniform"
    cost = 60
    differentiable = False

    def infer(
        self, seed: TensorType, step: TensorType, *, site: int, half: int, shape: tuple[Dim, ...], dtype: DType
    ) -> TensorType:
        check_dtype("random_uniform", dtype)
        check_shape("random_uniform", shape)
        for position, x in enumerate((seed, step)):
            expect(x == TensorType(I64), f"random_uniform: seed and step are i64 scalars, not {x}", position)
        expect(dtype.is_float, f"random_uniform gives floats, not {dtype}")
        expect(type(site) is int and 0 <= site < MAX_SITE, f"random_uniform: {site!r} is no number of a site")
        expect(type(half) is int and half in (0, 1), f"random_uniform: half is 0 or 1, not {half!r}")
        return TensorType(dtype, shape)

    def evaluate(
        self, seed: Array, step: Array, *, site: int, half: int, shape: tuple[int, ...], dtype: DType
    ) -> Array:
        index = np.arange(int(np.prod(shape, dtype=object)), dtype=np.int64)
        names, scale = _BITS[dtype]
        numbers = PRIMITIVES[names[half]](index, seed, step, site).astype(dtype.numpy) * dtype.numpy.type(scale)
        return numbers.astype(dtype.numpy).reshape(shape)

    def lower(self, b: Lowering, node: Any, at: tuple[Index, ...]) -> Scalar:
        flat: Any = None
        for index, extent in zip(at, node.shape, strict=True):
            flat = index if flat is None else flat * extent + index
        place = b.position(0 if flat is None else flat, I64)
        seed, step = (b.read(x, ()) for x in node.inputs)
        names, scale = _BITS[node.dtype]
        bits = b.call(names[node.attr("half")], place, seed, step, b.constant(node.attr("site"), I64))
        return b.call("mul", b.cast(bits, node.dtype), b.constant(scale, node.dtype))

    def samples(self, size: int) -> Iterator[Sample]:
        scalars = (TensorType(I64), TensorType(I64))
        yield Sample(scalars, {"site": 3, "half": 0, "shape": (size,), "dtype": F64}, integers=(0, 1 << 40))
        yield Sample(scalars, {"site": 0, "half": 1, "shape": (2, size), "dtype": F32}, integers=(0, 1 << 40))
        yield Sample(scalars, {"site": MAX_SITE - 1, "half": 1, "shape": (), "dtype": F64}, integers=(-5, 5))


def _philox(index: Array, seed: Array, step: Array, site: Array, half: int) -> tuple[Array, Array]:
    """The first or the last two 32-bit words (in u64) of the block of every index; the i64 operands broadcast."""
    low, shift = np.uint64(LOW), np.uint64(32)
    place, key, time, where = (np.asarray(x, np.int64).astype(np.uint64) for x in (index, seed, step, site))
    c0, c1, c2, c3 = place & low, place >> shift, time & low, where
    k0, k1 = key & low, key >> shift
    for _ in range(ROUNDS):
        p0, p1 = c0 * np.uint64(MULTIPLIERS[0]), c2 * np.uint64(MULTIPLIERS[1])
        c0, c1 = (p1 >> shift) ^ c1 ^ k0, p1 & low
        c2, c3 = (p0 >> shift) ^ c3 ^ k1, p0 & low
        k0, k1 = (k0 + np.uint64(WEYL[0])) & low, (k1 + np.uint64(WEYL[1])) & low
    return (c0, c1) if half == 0 else (c2, c3)


def random_24_bits(index: Array, seed: Array, step: Array, site: Array, half: int) -> Array:
    """The upper 24 bits of the first word of a half block."""
    first, _ = _philox(index, seed, step, site, half)
    return (first >> np.uint64(8)).astype(np.int64)


def random_53_bits(index: Array, seed: Array, step: Array, site: Array, half: int) -> Array:
    """The upper 53 bits of the two words of a half block, the first being the lower ones."""
    first, second = _philox(index, seed, step, site, half)
    return ((first | second << np.uint64(32)) >> np.uint64(11)).astype(np.int64)


PRIMITIVES = {
    "random_24_bits": partial(random_24_bits, half=0),
    "random_24_bits_more": partial(random_24_bits, half=1),
    "random_53_bits": partial(random_53_bits, half=0),
    "random_53_bits_more": partial(random_53_bits, half=1),
}
"""The primitives of the Kernel IR that this family adds, as NumPy functions of i64 arrays."""
_BITS = {
    F32: (("random_24_bits", "random_24_bits_more"), 2.0**-24),
    F64: (("random_53_bits", "random_53_bits_more"), 2.0**-53),
}
