"""All variables of a model as one block of bytes, for programs in C: what `PREFIX_load` of the C library reads.

    offset  bytes  field
         0      8  magic  'G' 'C' 'F' 'L' 'A' 'T' 0 1
         8      8  N: length of the values, u64
        16      8  checksum: the sum of word i times 2 i + 1, modulo 2**64, over the 64-bit words of the values
        24      8  zero
        32     32  fingerprint: SHA-256 of the variables' names, roles, dtypes and shapes
        64      N  values: each variable on the next multiple of 64 bytes, in the order of the signature

Numbers are little-endian. Optimiser slots, hyper-parameters, seed and step are in it: training goes on from there.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from graphc.runtime.artifact import canonical
from graphc.runtime.errors import WeightsError
from graphc.runtime.signature import Leaf

MAGIC = b"GCFLAT\0\1"
HEADER = struct.Struct("<8sQQQ32s")


def fingerprint(leaves: Sequence[Leaf]) -> bytes:
    """What must be equal for values of one model to fit another: 32 bytes."""
    return hashlib.sha256(canonical([[leaf.name, leaf.role, leaf.dtype, leaf.sizes] for leaf in leaves])).digest()


def checksum(values: NDArray[np.uint8]) -> int:
    """The weighted sum of the words; one wrong word always changes it, for its weight is odd."""
    words = values.view("<u8")
    weights = 2 * np.arange(len(words), dtype=np.uint64) + np.uint64(1)
    return int((words * weights).sum(dtype=np.uint64))


def pack(leaves: Sequence[Leaf], values: NDArray[np.uint8]) -> list[bytes]:
    """The file in two pieces, for the memory of a `Slab` of these leaves."""
    return [HEADER.pack(MAGIC, len(values), checksum(values), 0, fingerprint(leaves)), values.tobytes()]


def unpack(leaves: Sequence[Leaf], size: int, data: bytes, name: str) -> NDArray[np.uint8]:
    """The `size` bytes of values in a file; `WeightsError` naming the field that is wrong."""
    if len(data) < HEADER.size or data[:8] != MAGIC:
        raise WeightsError(f"{name}: magic: not a flat file of graphc")
    _, length, total, zero, print_of = HEADER.unpack_from(data)
    if print_of != fingerprint(leaves):
        raise WeightsError(f"{name}: fingerprint: the values are those of another model")
    if length != size or len(data) != HEADER.size + size or zero:
        raise WeightsError(f"{name}: length: {length} of {len(data)} bytes are values, {size} are needed")
    values = np.frombuffer(data, np.uint8, offset=HEADER.size)
    if checksum(values) != total:
        raise WeightsError(f"{name}: checksum: the file is damaged")
    return values
