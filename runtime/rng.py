"""Random numbers as a function: bits = Philox4x32-10(key = seed, counter = (block, stream)).

Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011. There is no state: element i of a
stream is the same however many are drawn, in whatever order. A stream is named by a text (a parameter's path), of which
the first 8 bytes of the SHA-256 are taken; block i yields the 32-bit words 4i .. 4i+3.
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc.runtime.errors import OptionError, shown

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)
_CHUNK = 1 << 13  # blocks at a time: the temporaries stay in the cache


def check_seed(seed: Any) -> int:
    """`seed` as an int; `OptionError` unless it is an integer with 0 <= seed < 2**64."""
    try:
        value = operator.index(seed) if not isinstance(seed, bool) else -1
    except TypeError:
        value = -1
    if not 0 <= value < 1 << 64:
        raise OptionError(f"seed must be an integer from 0 to 2**64 - 1, not {shown(seed)}")
    return value


def stream_of(name: str) -> int:
    """The stream number of a text: 64 bits."""
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:8], "little")


def philox(counter: tuple[NDArray[np.uint64], ...], key: tuple[int, int]) -> tuple[NDArray[np.uint64], ...]:
    """Ten rounds of Philox4x32 on four arrays of 32-bit words (held in u64); `key` is two words."""
    c0, c1, c2, c3 = (np.array(word) for word in counter)
    low, high = np.empty_like(c0), np.empty_like(c0)
    k0, k1 = key
    for _ in range(10):  # in place: new arrays would cost more than the arithmetic
        np.multiply(c0, _MULTIPLIERS[0], out=low)
        np.multiply(c2, _MULTIPLIERS[1], out=high)
        for word, product, other, k in ((c0, high, c1, k0), (c2, low, c3, k1)):
            np.right_shift(product, _32, out=word)
            np.bitwise_xor(word, other, out=word)
            np.bitwise_xor(word, np.uint64(k), out=word)
            np.bitwise_and(product, _LOW, out=other)
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return c0, c1, c2, c3


def words(seed: int, name: str, count: int) -> NDArray[np.uint32]:
    """The first `count` 32-bit words of the stream `name`."""
    stream, blocks = stream_of(name), -(-count // 4)
    out = np.empty((blocks, 4), np.uint32)
    for start in range(0, blocks, _CHUNK):
        index = np.arange(start, min(start + _CHUNK, blocks), dtype=np.uint64)
        fixed = [np.full_like(index, half) for half in (stream & 0xFFFFFFFF, stream >> 32)]
        four = philox((index & _LOW, index >> _32, *fixed), (seed & 0xFFFFFFFF, seed >> 32))
        for column, word in enumerate(four):
            out[start : start + len(index), column] = word
    return out.reshape(-1)[:count]


def bits64(seed: int, name: str, count: int) -> NDArray[np.uint64]:
    """The first `count` 64-bit words: word 2i is the low half of number i."""
    return words(seed, name, 2 * count).astype("<u4", copy=False).view("<u8").astype(np.uint64, copy=False)


def uniform64(seed: int, name: str, count: int) -> NDArray[np.float64]:
    """f64 in [0, 1): the upper 53 of 64 bits times 2**-53, exact."""
    return (bits64(seed, name, count) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def normal64(
    seed: int, name: str, count: int, uniform: Callable[[int, str, int], NDArray[np.float64]] = uniform64
) -> NDArray[np.float64]:
    """Standard normal f64 by Box and Muller (1958): sqrt(-2 log(1 - u)) * (cos, sin)(2 pi v), u and v uniform.

    `uniform` is `uniform64`, or native code that gives the same numbers.
    `log`, `cos` and `sin` are NumPy's: the last bit may differ between CPUs of different vector units.
    """
    pairs = uniform(seed, name, count + count % 2).reshape(-1, 2)
    radius, angle = np.sqrt(-2.0 * np.log1p(-pairs[:, 0])), 2.0 * np.pi * pairs[:, 1]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)[:count]


def permutation(seed: int, name: str, count: int) -> NDArray[np.int64]:
    """A permutation of 0 .. count-1: the stable order of `count` 64-bit keys."""
    return stable_order(bits64(seed, name, count))


def stable_order(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """`argsort(keys, kind="stable")`; the default kind is several times faster, and the same unless two are equal."""
    order = np.argsort(keys)
    ordered = keys[order]
    if (ordered[1:] == ordered[:-1]).any():
        order = np.argsort(keys, kind="stable")
    return order.astype(np.int64, copy=False)
