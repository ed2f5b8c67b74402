"""Reading a relocatable ELF object: its sections, symbols and relocations, as LLVM writes them.

The file is our own compiler's, so what cannot be read is an `InternalError`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from graphc.runtime import elf
from graphc.runtime.errors import InternalError

SHT_SYMTAB, SHT_RELA, SHT_NOBITS = 2, 4, 8
SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR = 1, 2, 4
SHN_UNDEF = 0
FIRST_RESERVED_SECTION = 0xFF00
STB_GLOBAL, STT_FUNC, STV_HIDDEN = 1, 2, 2


@dataclass(frozen=True)
class Section:
    """A section that lies in memory when the code runs."""

    name: str
    flags: int
    data: bytes
    alignment: int


@dataclass(frozen=True)
class Symbol:
    """A place in a section, or (section None) something to be found elsewhere.

    One that is global and hidden is for the objects it is linked with alone.
    """

    name: str
    section: int | None
    value: int
    size: int
    is_global: bool
    is_function: bool
    is_hidden: bool = False


@dataclass(frozen=True)
class Relocation:
    """At `offset` of `section` stands a number that depends on where `symbol` will lie."""

    section: int
    offset: int
    kind: int
    symbol: Symbol
    addend: int


@dataclass(frozen=True)
class Relocatable:
    """An object file. Sections and symbols keep their numbers; what does not lie in memory is left out."""

    machine: int
    sections: dict[int, Section]
    symbols: tuple[Symbol, ...]
    relocations: tuple[Relocation, ...]


def read(data: bytes) -> Relocatable:
    """The parts of an object file; `InternalError` if it is none, or holds what linked code cannot have."""
    if data[:7] != elf.IDENTIFICATION:
        raise InternalError(
            "the object code is no ELF file, which alone can be linked; --emit object writes it as it is"
        )
    _, kind, machine, _, _, _, at, _, _, _, _, _, count, names_number = elf.HEADER.unpack_from(data)
    if kind != elf.ET_REL:
        raise InternalError("the object code is no relocatable file")
    headers = [elf.SECTION.unpack_from(data, at + i * elf.SECTION.size) for i in range(count)]
    sections = dict(_sections(data, headers, headers[names_number]))
    table = next((one for one in headers if one[1] == SHT_SYMTAB), None)
    symbols = tuple(_symbols(data, table, headers, sections)) if table else ()
    relocations = tuple(
        Relocation(header[7], offset, info & 0xFFFFFFFF, symbols[info >> 32], addend)
        for header in headers
        if header[1] == SHT_RELA and header[7] in sections
        for offset, info, addend in elf.RELOCATION.iter_unpack(_contents(data, header))
    )
    return Relocatable(machine, sections, symbols, relocations)


def joined(objects: Sequence[Relocatable]) -> Relocatable:
    """Objects as one, each in sections of its own; what one needs and another defines is that.

    Hidden symbols are no longer global. `InternalError` if two define the same global symbol.
    """
    sections: dict[int, Section] = {}
    symbols: list[Symbol] = []
    relocations: list[Relocation] = []
    for one in objects:
        if one.machine != objects[0].machine:
            raise InternalError("objects for different machines cannot be linked")
        before = max(sections, default=-1) + 1
        sections |= {before + number: section for number, section in one.sections.items()}
        moved = {symbol: _moved(symbol, before) for symbol in one.symbols}
        symbols += [moved[symbol] for symbol in one.symbols]
        relocations += [
            replace(place, section=before + place.section, symbol=moved[place.symbol]) for place in one.relocations
        ]
    shared = [symbol for symbol in symbols if symbol.is_global and symbol.section is not None]
    twice = sorted(name for name, count in Counter(symbol.name for symbol in shared).items() if count > 1)
    if twice:
        raise InternalError(f"two objects define {', '.join(twice)}")
    final = {symbol: replace(symbol, is_global=False) if symbol.is_hidden else symbol for symbol in symbols}
    found = {symbol.name: final[symbol] for symbol in shared}
    final |= {symbol: found[symbol.name] for symbol in symbols if symbol.section is None and symbol.name in found}
    placed = [replace(place, symbol=final[place.symbol]) for place in relocations]
    return Relocatable(objects[0].machine, sections, tuple(dict.fromkeys(final.values())), tuple(placed))


def _moved(symbol: Symbol, before: int) -> Symbol:
    return symbol if symbol.section is None else replace(symbol, section=before + symbol.section)


def _contents(data: bytes, header: tuple[int, ...]) -> bytes:
    offset, size = header[4], header[5]
    return data[offset : offset + size]


def _text(strings: bytes, start: int) -> str:
    return strings[start : strings.index(b"\0", start)].decode("ascii")


def _sections(data: bytes, headers: list[tuple[int, ...]], names: tuple[int, ...]) -> Iterator[tuple[int, Section]]:
    strings = _contents(data, names)
    for number, header in enumerate(headers):
        start, kind, flags, _, _, size, _, _, alignment, _ = header
        if not flags & SHF_ALLOC or size == 0:
            continue
        name = _text(strings, start)
        if kind == SHT_NOBITS or flags & ~(SHF_ALLOC | SHF_EXECINSTR | 0x10 | 0x20):  # the last two: may be merged
            raise InternalError(f"section {name} of the object code can be written; code keeps no state of its own")
        yield number, Section(name, flags, _contents(data, header), max(1, alignment))


def _symbols(
    data: bytes, table: tuple[int, ...], headers: list[tuple[int, ...]], sections: dict[int, Section]
) -> Iterator[Symbol]:
    strings = _contents(data, headers[table[6]])
    for start, info, other, section, value, size in elf.SYMBOL.iter_unpack(_contents(data, table)):
        name = _text(strings, start)
        if section >= FIRST_RESERVED_SECTION or section not in sections:
            section = SHN_UNDEF  # the name of the source file, or a section that does not lie in memory
        place = None if section == SHN_UNDEF else section
        is_hidden = other & 3 == STV_HIDDEN
        yield Symbol(name, place, value, size, info >> 4 == STB_GLOBAL, info & 15 == STT_FUNC, is_hidden)
