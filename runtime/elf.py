"""ELF, as far as the linker (graphc/linking) and the loader (library.py) share it: records, numbers, a checked image.

Only 64-bit little-endian files of x86-64 and AArch64. Names are those of the System V ABI, chapters 4 and 5, where
every field is explained (https://refspecs.linuxfoundation.org/elf/gabi4+/contents.html).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from graphc.runtime.errors import ArtifactError

HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
SEGMENT = struct.Struct("<IIQQQQQQ")  # type flags offset vaddr paddr filesz memsz align
SECTION = struct.Struct("<IIQQQQIIQQ")  # name type flags addr offset size link info align entsize
SYMBOL = struct.Struct("<IBBHQQ")  # name info other section value size
RELOCATION = struct.Struct("<QQq")  # offset, symbol << 32 | type, addend
DYNAMIC = struct.Struct("<qQ")  # tag value

IDENTIFICATION = b"\x7fELF\x02\x01\x01"  # 64 bits, little-endian, version 1
ET_REL, ET_DYN = 1, 3
MACHINES = {"x86_64": 62, "aarch64": 183}
PT_LOAD, PT_DYNAMIC = 1, 2
PF_X, PF_W, PF_R = 1, 2, 4
DT_NULL, DT_HASH, DT_STRTAB, DT_SYMTAB, DT_RELA, DT_RELASZ, DT_STRSZ = 0, 4, 5, 6, 7, 8, 10
RELATIVE = {62: 8, 183: 1027}  # machine -> type of "add the address at which the image lies"
GLOB_DAT = {62: 6, 183: 1025}  # machine -> type of "the address of a symbol"

MAX_SEGMENTS = 16
MAX_IMAGE = 1 << 31


class Segment(NamedTuple):
    """A piece of the file that lies at `address` of the image, followed by zeros up to `memory` bytes."""

    flags: int
    offset: int
    address: int
    size: int
    memory: int


def segments(image: bytes, machine: str) -> tuple[list[Segment], tuple[int, int]]:
    """The loadable segments of a shared object for `machine`, in order and apart; place and size of its dynamic table.

    `ArtifactError` unless every one lies inside the file.
    """
    if len(image) < HEADER.size or image[:7] != IDENTIFICATION:
        raise ArtifactError("not an ELF file of 64 bits, little-endian")
    _, kind, number, _, _, at, _, _, _, size, count, *_ = HEADER.unpack_from(image)
    if kind != ET_DYN or number != MACHINES.get(machine):
        raise ArtifactError(f"not a shared object for {machine}")
    if size != SEGMENT.size or count > MAX_SEGMENTS or at + size * count > len(image):
        raise ArtifactError("the segment table lies outside the file")
    loaded: list[Segment] = []
    dynamic = None
    for index in range(count):
        kind, flags, offset, address, _, length, memory, _ = SEGMENT.unpack_from(image, at + index * size)
        if kind == PT_DYNAMIC:
            dynamic = (address, memory)
        if kind != PT_LOAD:
            continue
        if offset + length > len(image) or length > memory or address + memory > MAX_IMAGE:
            raise ArtifactError("a segment lies outside the file")
        if loaded and address < loaded[-1].address + loaded[-1].memory:
            raise ArtifactError("segments overlap")
        loaded.append(Segment(flags, offset, address, length, memory))
    if not loaded or dynamic is None:
        raise ArtifactError("nothing to load")
    return loaded, dynamic


class Tables:
    """The dynamic tables of an image laid out in memory; every place and size is checked against that memory."""

    def __init__(self, memory: bytes | bytearray | memoryview, dynamic: tuple[int, int]) -> None:
        self._memory = memory
        records = self._records(DYNAMIC, dynamic[0], dynamic[1] // DYNAMIC.size)
        entries = {one[0]: one[1] for one in records}
        try:
            self._names, self._names_size = entries[DT_STRTAB], entries[DT_STRSZ]
            count = struct.unpack("<I", self._bytes(entries[DT_HASH] + 4, 4))[0]  # the hash table knows how many
            self._symbols = self._records(SYMBOL, entries[DT_SYMTAB], count)
        except KeyError:
            raise ArtifactError("a dynamic table is missing") from None
        places = entries.get(DT_RELA, 0), entries.get(DT_RELASZ, 0) // RELOCATION.size
        self.relocations = self._records(RELOCATION, *places)

    def _bytes(self, place: int, size: int) -> bytes:
        if place + size > len(self._memory):
            raise ArtifactError("a dynamic table lies outside the image")
        return bytes(self._memory[place : place + size])

    def _records(self, record: struct.Struct, place: int, count: int) -> list[tuple[int, ...]]:
        return list(record.iter_unpack(self._bytes(place, record.size * count)))

    def name(self, number: int) -> str:
        """The name of a symbol."""
        if number >= len(self._symbols):
            raise ArtifactError("a relocation names no symbol")
        start = self._symbols[number][0]
        if start >= self._names_size:
            raise ArtifactError("a name lies outside the string table")
        text = self._bytes(self._names + start, min(256, self._names_size - start)).split(b"\0", 1)[0]
        return text.decode("ascii", "replace")

    def exports(self) -> dict[str, int]:
        """Defined symbols by name, and where they are."""
        return {
            self.name(number): value
            for number, (_, _, _, section, value, _) in enumerate(self._symbols)
            if section != 0 and value < len(self._memory)
        }
