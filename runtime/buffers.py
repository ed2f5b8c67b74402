"""Memory handed to native code: aligned buffers that graphc owns, and checked views of what users pass in.

`as_input` accepts NumPy arrays, anything with the buffer protocol, `__array_interface__`, `__array__` or DLPack, Python
numbers and nested lists of them. A C-contiguous, aligned array of the right dtype is used as it is; another layout or
byte order is copied; another dtype is refused (never reinterpreted). Numbers and lists have no dtype: they are
converted if that loses nothing but the rounding of a decimal.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import mmap
import os
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc.runtime.dimexpr import show_shape
from graphc.runtime.errors import InputShapeError, InputTypeError, LimitError, OutOfMemoryError
from graphc.runtime.signature import DTYPES, Leaf

ALIGNMENT = 64
READY = 0x0001 | 0x0100  # NumPy's flags C_CONTIGUOUS and ALIGNED
NUMPY: dict[str, np.dtype[Any]] = {name: np.dtype(spelling) for name, spelling in DTYPES.items()}


_MAPPED = 1 << 16  # bytes from which memory has pages of its own
_PAGE, _GAP = 1 << 12, 5 * ALIGNMENT  # what is a multiple of a page apart competes for the same lines of a cache
_HUGE = 1 << 22  # bytes from which huge pages are asked for, as NumPy does


def aligned_bytes(size: int) -> NDArray[np.uint8]:
    """`size` zeroed bytes (at least one line) whose address is a multiple of 64.

    Much memory comes straight from the system, to which it goes back when it is dropped; `malloc` may keep it.
    Raises OutOfMemoryError if there is not so much.
    """
    if size >= _MAPPED and hasattr(mmap, "MAP_ANONYMOUS"):
        try:
            pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except (OSError, OverflowError):
            raise OutOfMemoryError(f"no memory for {size:,} bytes") from None
        if size >= _HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
            with contextlib.suppress(OSError):  # a system without them
                pages.madvise(mmap.MADV_HUGEPAGE)
        return np.frombuffer(pages, np.uint8)
    raw = np.zeros(max(size, ALIGNMENT) + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + max(size, ALIGNMENT)]


def aligned_array(shape: Sequence[int], dtype: str) -> NDArray[Any]:
    """A zeroed array of a graphc dtype, aligned to 64 bytes."""
    kind = NUMPY[dtype]
    size = math.prod(shape) * kind.itemsize
    return aligned_bytes(size)[:size].view(kind).reshape(shape)


def physical_memory() -> int:
    """Bytes of memory of this machine: the default limit of what a model may use."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 1 << 34


def slab_places(leaves: Sequence[Leaf]) -> tuple[list[int], list[int]]:
    """The bytes of each variable, and where each begins in a block of all; the last place is the end of the block."""
    sizes = [NUMPY[leaf.dtype].itemsize * math.prod(leaf.sizes) for leaf in leaves]
    starts = [0]
    for size in sizes:
        gap = _GAP if size >= _PAGE else 0
        starts.append(starts[-1] + -(-max(size, 1) // ALIGNMENT) * ALIGNMENT + gap)
    return sizes, starts


class Slab:
    """All variables of a model in one block, each on a 64-byte boundary: a range test tells whether memory is ours."""

    def __init__(self, leaves: Sequence[Leaf]) -> None:
        sizes, starts = slab_places(leaves)
        if starts[-1] > physical_memory():
            raise LimitError(f"the variables need {starts[-1]:,} bytes, this machine has {physical_memory():,}")
        self.memory = aligned_bytes(starts[-1])
        self.low = self.memory.ctypes.data
        self.high = self.low + self.memory.size
        self.arrays: dict[str, NDArray[Any]] = {}
        for leaf, size, start in zip(leaves, sizes, starts, strict=False):
            flat = self.memory[start : start + size].view(NUMPY[leaf.dtype])
            self.arrays[leaf.name] = flat.reshape(leaf.sizes)


def _slow_address(array: NDArray[Any]) -> int:
    return int(array.ctypes.data)


def _fast_address(array: NDArray[Any]) -> int:
    """The data pointer read out of the array object, ten times faster than `array.ctypes`."""
    return _pointer_at(id(array) + 16).value or 0


_pointer_at = ctypes.c_void_p.from_address


def _layout_is_known() -> bool:
    """Whether the data pointer lies where `_fast_address` looks, tried on arrays of several kinds."""
    if sys.implementation.name != "cpython":
        return False
    base = np.arange(24, dtype=np.float32)
    probes = (base, base[3:], base.reshape(2, 3, 4), np.array(1.0), base.view(np.uint8)[::2])
    return all(_fast_address(probe) == _slow_address(probe) for probe in probes)


address = _fast_address if _layout_is_known() else _slow_address


def as_input(value: Any, leaf: Leaf) -> NDArray[Any]:
    """`value` as an array of the leaf's dtype, C-contiguous and aligned; the shape is not looked at.

    `InputTypeError`, `OutOfMemoryError` or, for a ragged list, `InputShapeError`; they name the input. May share memory
    with `value`.
    """
    kind = NUMPY[leaf.dtype]
    if isinstance(value, bool | int | float | list | tuple) and not isinstance(value, np.generic):
        array = _from_numbers(value, leaf)
    else:
        array = _from_object(value, leaf)
        if array.dtype.newbyteorder("=") != kind:
            help = f': .astype("{kind}") converts it' if array.dtype.kind in "fiub" else ""
            raise InputTypeError(f"{_subject(leaf)} has dtype {array.dtype}; it should be {kind}{help}")
    try:
        return np.require(array.astype(kind, copy=False), requirements=["C", "A"])
    except MemoryError:  # a small array seen as a large one, by strides of zero
        raise OutOfMemoryError(
            f"{_subject(leaf)} needs a copy of {array.nbytes:,} bytes, and there is no memory"
        ) from None


def _from_object(value: Any, leaf: Leaf) -> NDArray[Any]:
    """An array over the memory of an object that offers it."""
    if value is None or isinstance(value, str | dict | set | frozenset | complex):
        raise InputTypeError(f"{_subject(leaf)} is {_kind(value)}; it should be an array of {NUMPY[leaf.dtype]}")
    if isinstance(value, np.ma.MaskedArray):
        raise InputTypeError(f"{_subject(leaf)} is a masked array, whose mask would be lost; pass `.filled(value)`")
    try:
        if isinstance(value, np.ndarray | np.generic):
            return np.asarray(value)
        if isinstance(value, bytes | bytearray | memoryview):
            return np.asarray(memoryview(value))
        if hasattr(value, "__array_interface__") or hasattr(value, "__array__"):
            return np.asarray(value)
        if hasattr(value, "__dlpack__"):
            return np.from_dlpack(value)
        return np.asarray(memoryview(value))
    except Exception as error:  # whatever the object's own hooks raise
        raise InputTypeError(
            f"{_subject(leaf)} is {_kind(value)}; it cannot be read as an array of {NUMPY[leaf.dtype]} ({error})"
        ) from None


def _from_numbers(value: Any, leaf: Leaf) -> NDArray[Any]:
    """Python numbers: whole ones that fit, decimals to floats, truth values to bool; nothing is cut or wrapped."""
    kind = NUMPY[leaf.dtype]
    try:
        found = np.asarray(value)
    except (ValueError, OverflowError, RecursionError, TypeError) as error:
        raise InputShapeError(f"{_subject(leaf)} is a list that is not a regular array ({error})") from None
    if found.size == 0 and found.dtype == np.float64:
        return found.astype(kind)
    if found.dtype.kind not in "biuf" or (found.dtype.kind == "b") != (kind.kind == "b"):
        raise InputTypeError(f"{_subject(leaf)} holds {found.dtype} values; it should hold {kind}")
    if found.dtype.kind == "f" and kind.kind != "f":
        raise InputTypeError(f"{_subject(leaf)} holds decimals; it should hold {kind}")
    with np.errstate(over="ignore"):
        array = found.astype(kind)
    if found.dtype.kind == "f":
        lost = np.isinf(array) & ~np.isinf(found)
    else:
        exact = array.astype(object) == found.astype(object)
        lost = ~np.asarray(exact, np.bool_)
    if lost.any():
        raise InputTypeError(f"{_subject(leaf)} holds {found[lost].flat[0]}, which {kind} cannot represent")
    return array


def _subject(leaf: Leaf) -> str:
    return f"{leaf.role if leaf.role != 'gradient' else 'the'} `{leaf.name}`"


def _kind(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def describe(leaf: Leaf) -> str:
    """`f32[B, 784]`."""
    return leaf.dtype + (show_shape(leaf.shape) if leaf.shape else "")
