"""Writing an ELF shared object: chunks one after the other, the segments that they lie in, and the headers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from graphc.runtime import elf

SEGMENTS = (elf.PF_R, elf.PF_R | elf.PF_X, elf.PF_R | elf.PF_W)
"""Access to the segments in their order. The last is written by whoever loads the object, and then read only."""
PT_GNU_STACK, PT_GNU_RELRO = 0x6474E551, 0x6474E552
HEADERS = elf.HEADER.size + elf.SEGMENT.size * (len(SEGMENTS) + 3)
SHT_STRTAB = 3


class Strings:
    """A string table: texts with a zero after each, the empty one first."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self.data = bytearray(1)
        self._places = {"": 0}
        for text in texts:
            self.place(text)

    def place(self, text: str) -> int:
        """Where the text begins; it is added if it is new."""
        if text not in self._places:
            self._places[text] = len(self.data)
            self.data += text.encode("ascii") + b"\0"
        return self._places[text]


@dataclass
class Chunk:
    """A section of the file. Its size is settled when it is added; its bytes may be filled in until `to_bytes`.

    `kind`, `flags`, `info`, `record` and the section it is `linked` to are those of its section header.
    """

    name: str
    data: bytearray
    kind: int
    flags: int = 0
    alignment: int = 8
    segment: int | None = None
    linked: str = ""
    info: int = 0
    record: int = 0
    offset: int = field(default=0, init=False)
    address: int = field(default=0, init=False)
    number: int = field(default=0, init=False)


class SharedObject:
    """Chunks are added in the order of their segments; those of none come last."""

    def __init__(self, machine: int, page: int) -> None:
        self._machine, self._page = machine, page
        self._end = HEADERS
        self.chunks: list[Chunk] = []

    def add(self, chunk: Chunk) -> Chunk:
        """Give the chunk its place. Memory runs ahead of the file by a page a segment, so that no page has two uses."""
        chunk.offset = -(-self._end // chunk.alignment) * chunk.alignment
        if chunk.segment is not None:
            chunk.address = chunk.offset + self._page * chunk.segment
        self._end = chunk.offset + len(chunk.data)
        self.chunks.append(chunk)
        chunk.number = len(self.chunks)
        return chunk

    def to_bytes(self, dynamic: Chunk) -> bytes:
        """The file; `dynamic` is the chunk of the dynamic table."""
        names = Strings(["", *(chunk.name for chunk in self.chunks), ".shstrtab"])
        self.add(Chunk(".shstrtab", names.data, SHT_STRTAB, alignment=1))
        out = bytearray(self._end)
        for chunk in self.chunks:
            out[chunk.offset : chunk.offset + len(chunk.data)] = chunk.data
        out += bytes(-len(out) % 8)
        sections = len(out)
        out += bytes(elf.SECTION.size)
        for chunk in self.chunks:
            out += self._section(chunk, names.place(chunk.name))
        self._write_headers(out, self._segments(dynamic), sections)
        return bytes(out)

    def _section(self, chunk: Chunk, name: int) -> bytes:
        link = next((one.number for one in self.chunks if one.name == chunk.linked), 0)
        place = chunk.address, chunk.offset, len(chunk.data)
        return elf.SECTION.pack(name, chunk.kind, chunk.flags, *place, link, chunk.info, chunk.alignment, chunk.record)

    def _segments(self, dynamic: Chunk) -> list[bytes]:
        loaded = [self._load(number, flags) for number, flags in enumerate(SEGMENTS)]
        at, size = dynamic.offset, len(dynamic.data)
        table = elf.SEGMENT.pack(elf.PT_DYNAMIC, elf.PF_R, at, dynamic.address, dynamic.address, size, size, 8)
        last = elf.SEGMENT.unpack(loaded[-1])
        relro = elf.SEGMENT.pack(PT_GNU_RELRO, elf.PF_R, *last[2:7], 1)
        stack = elf.SEGMENT.pack(PT_GNU_STACK, elf.PF_R | elf.PF_W, 0, 0, 0, 0, 0, 16)
        return [*loaded, table, relro, stack]

    def _load(self, number: int, flags: int) -> bytes:
        inside = [chunk for chunk in self.chunks if chunk.segment == number]
        start = 0 if number == 0 else inside[0].offset
        size = inside[-1].offset + len(inside[-1].data) - start
        address = start + self._page * number
        memory = size
        if flags & elf.PF_W:  # whole pages: only such can be made read-only again
            memory += -(address + size) % self._page
        return elf.SEGMENT.pack(elf.PT_LOAD, flags, start, address, address, size, memory, self._page)

    def _write_headers(self, out: bytearray, segments: Sequence[bytes], sections: int) -> None:
        elf.HEADER.pack_into(
            out, 0, elf.IDENTIFICATION, elf.ET_DYN, self._machine, 1, 0, elf.HEADER.size, sections, 0, elf.HEADER.size,
            elf.SEGMENT.size, len(segments), elf.SECTION.size, len(self.chunks) + 1, len(self.chunks),
        )  # fmt: skip
        out[elf.HEADER.size : HEADERS] = b"".join(segments)
