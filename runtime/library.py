"""Loading linked code into the process, with nothing but the standard library.

An image is an ELF shared object as `graphc.linking` writes it. It could be given to the system's loader, but that wants
a file, trusts every number in it, and keeps traces after unloading; here each is checked, the code is copied to pages
of its own, and these are given back when the `Library` dies. No page is ever writable and executable at once.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterable
from typing import Any

from graphc.runtime import elf
from graphc.runtime.cpu import machine
from graphc.runtime.errors import ArtifactError
from graphc.runtime.pages import Pages


class Library:
    """Code in executable memory; it stays as long as this object lives."""

    def __init__(self, image: bytes, symbols: Iterable[str]) -> None:
        """Load `image` and look up `symbols`; `ArtifactError` if it is no image of ours or lacks one of them.

        Symbols it needs itself (memcpy, those of libm) are taken from the process.
        """
        try:
            self._pages, exports = _load(image)
            self._addresses = {name: self._pages.address + exports[name] for name in symbols}
        except ArtifactError as error:
            raise ArtifactError(f"the code cannot be loaded: {error}") from None
        except KeyError as missing:
            raise ArtifactError(f"the code cannot be loaded: it lacks the symbol {missing}") from None

    def address(self, symbol: str) -> int:
        """The address of a symbol given at loading."""
        return self._addresses[symbol]

    def function(self, symbol: str, pointers: int) -> Any:
        """The function as a ctypes callable of that many pointers, returning i64. It releases the GIL."""
        kind = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_void_p] * pointers)
        return kind(self._addresses[symbol])


def _load(image: bytes) -> tuple[Pages, dict[str, int]]:
    """The image in pages of its own, ready to run, and the places of its symbols in them."""
    segments, dynamic = elf.segments(image, machine())
    size = segments[-1].address + segments[-1].memory
    pages = Pages(size)
    for one in segments:
        pages.buffer[one.address : one.address + one.size] = image[one.offset : one.offset + one.size]
    with memoryview(pages.buffer) as memory:
        tables = elf.Tables(memory, dynamic)
        _relocate(memory, tables, pages.address)
        exports = tables.exports()
    for one in segments:
        pages.protect(one.address, one.address + one.memory, bool(one.flags & elf.PF_X))
    return pages, exports


def _relocate(memory: memoryview, tables: elf.Tables, base: int) -> None:
    """Write the addresses that depend on where the image lies, or on other libraries."""
    number = elf.MACHINES[machine()]
    for place, info, addend in tables.relocations:
        kind = info & 0xFFFFFFFF
        if kind == elf.RELATIVE[number]:
            value = base + addend
        elif kind == elf.GLOB_DAT[number]:
            value = _address_of(tables.name(info >> 32)) + addend
        else:
            raise ArtifactError(f"a relocation of the unknown type {kind}")
        if place + 8 > len(memory):
            raise ArtifactError("a relocation lies outside the image")
        struct.pack_into("<Q", memory, place, value & 0xFFFFFFFFFFFFFFFF)


def _address_of(symbol: str) -> int:
    """Where the process has a function of libc or libm."""
    process = ctypes.CDLL(None)
    try:
        return ctypes.cast(getattr(process, symbol), ctypes.c_void_p).value or 0
    except AttributeError:
        raise ArtifactError(f"it needs the symbol `{symbol}`, which this process does not have") from None
