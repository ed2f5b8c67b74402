"""The linker: relocatable objects -> one ELF shared object.

    segment 0  read         ELF header, symbols, names, hash table, relocations left for loading, constants
    segment 1  execute      code, and a stub for every function of another library
    segment 2  read         (once loaded) the dynamic table, and words that hold addresses found at loading
    the rest   not loaded   names of functions for debuggers and profilers, section headers

The same objects give the same bytes.
"""

from __future__ import annotations

import struct

from graphc.linking.machine import machine_of
from graphc.linking.relocatable import (
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHF_WRITE,
    Relocatable,
    Relocation,
    Symbol,
    joined,
    read,
)
from graphc.linking.shared_object import SHT_STRTAB, Chunk, SharedObject, Strings
from graphc.runtime import elf
from graphc.runtime.errors import InternalError

LIBC = (
    "aligned_alloc", "clock_gettime", "free", "memcmp", "memcpy", "memmove", "memset", "pthread_create",
    "pthread_join",
    "sched_getcpu", "syscall",
)  # fmt: skip
LIBM = (
    "ceil", "ceilf", "cos", "cosf", "exp", "expf", "floor", "floorf", "fma", "fmaf", "fmod", "fmodf", "ldexp",
    "ldexpf", "log", "logf", "pow", "powf", "rint", "rintf", "roundeven", "roundevenf", "sin", "sinf", "trunc",
    "truncf",
)  # fmt: skip
"""What linked code may need of the system; anything else is a mistake of the code generator."""

SHT_PROGBITS, SHT_SYMTAB, SHT_RELA, SHT_HASH, SHT_DYNAMIC, SHT_DYNSYM = 1, 2, 4, 5, 6, 11
DT_NEEDED, DT_RELAENT, DT_SYMENT, DT_SONAME, DT_BIND_NOW = 1, 9, 11, 14, 24
GLOBAL, FUNCTION = 0x10, 2  # of a symbol's info


def link(*objects: bytes, name: str | None = None) -> bytes:
    """The shared object, called `name` if that is given; it exports the global symbols of the objects.

    `InternalError` for object code that is not ELF, keeps state, or needs more than the other objects and functions of
    libc and libm.
    """
    return _Linker(joined([read(one) for one in objects]), name).link()


class _Linker:
    def __init__(self, code: Relocatable, name: str | None) -> None:
        self.code, self.machine = code, machine_of(code.machine)
        known = self.machine.kinds
        for one in code.relocations:
            if one.kind not in known:
                raise InternalError(f"a relocation of the unknown type {one.kind} for `{one.symbol.name}`")
        outside = [one for one in code.relocations if one.symbol.section is None]
        self.imports = sorted({one.symbol.name for one in outside})
        unknown = [symbol for symbol in self.imports if symbol not in LIBC + LIBM]
        if unknown:
            raise InternalError(f"generated code may not need {', '.join(unknown)}")
        self.called = sorted({one.symbol.name for one in outside if not known[one.kind].is_of_word})
        self.exports = sorted((s for s in code.symbols if s.is_global and s.section is not None), key=lambda s: s.name)
        # a word for every function of another library, and for every own symbol that is reached through one
        own = dict.fromkeys(
            one.symbol for one in code.relocations if one.symbol.section is not None and known[one.kind].is_of_word
        )
        self.words: list[str | Symbol] = [*self.imports, *own]
        self.names = Strings([*self.imports, *(s.name for s in self.exports)])
        self.needs = [(DT_NEEDED, self.names.place("libm.so.6"))] if set(self.imports) & set(LIBM) else []
        self.needs += [(DT_SONAME, self.names.place(name))] if name is not None else []
        self._lay_out()

    def _lay_out(self) -> None:
        """Every chunk's size and place."""
        self.out = SharedObject(self.code.machine, self.machine.page)
        symbols = 1 + len(self.imports) + len(self.exports)
        self.hash = self._chunk(".hash", SHT_HASH, 4 * (3 + symbols), 0, ".dynsym", record=4)
        self.dynsym = self._chunk(
            ".dynsym", SHT_DYNSYM, elf.SYMBOL.size * symbols, 0, ".dynstr", info=1, record=elf.SYMBOL.size
        )
        self.dynstr = self._chunk(".dynstr", SHT_STRTAB, self.names.data, 0, alignment=1)
        size = elf.RELOCATION.size * len(self.words)
        self.rela = self._chunk(".rela.dyn", SHT_RELA, size, 0, ".dynsym", record=elf.RELOCATION.size)
        self.sections = self._place_sections(0) | self._place_sections(SHF_EXECINSTR)
        self.plt = self._chunk(".plt", SHT_PROGBITS, 16 * len(self.called), 1, alignment=16)
        size = elf.DYNAMIC.size * (len(self.needs) + 9)
        self.dynamic = self._chunk(".dynamic", SHT_DYNAMIC, size, 2, ".dynstr", record=elf.DYNAMIC.size)
        self.got = self._chunk(".got", SHT_PROGBITS, 8 * len(self.words), 2, record=8)

    def _place_sections(self, executable: int) -> dict[int, Chunk]:
        return {
            number: self._chunk(
                one.name, SHT_PROGBITS, bytearray(one.data), 1 if executable else 0, alignment=one.alignment
            )
            for number, one in self.code.sections.items()
            if one.flags & SHF_EXECINSTR == executable
        }

    def _chunk(
        self,
        name: str,
        kind: int,
        data: bytearray | int,
        segment: int | None,
        linked: str = "",
        *,
        info: int = 0,
        record: int = 0,
        alignment: int = 8,
    ) -> Chunk:
        """Add a section of these bytes, or of so many that are not known yet."""
        flags = 0 if segment is None else SHF_ALLOC | (0, SHF_EXECINSTR, SHF_WRITE)[segment]
        content = bytearray(data) if isinstance(data, int) else data
        return self.out.add(Chunk(name, content, kind, flags, alignment, segment, linked, info, record))

    def link(self) -> bytes:
        """Fill in everything that depends on places."""
        for i, name in enumerate(self.called):
            stub = self.machine.stub(self.plt.address + 16 * i, self._word(name))
            self.plt.data[16 * i : 16 * i + len(stub)] = stub
        for one in self.code.relocations:
            self._relocate(one)
        self._write_symbols()
        self._write_words()
        self._write_dynamic()
        self._add_function_names()
        return self.out.to_bytes(self.dynamic)

    def _word(self, key: str | Symbol) -> int:
        """The address of the word that will hold the address of a symbol."""
        return self.got.address + 8 * self.words.index(key)

    def _address(self, symbol: Symbol) -> int:
        """Of the symbol, or of the stub that leads to it."""
        if symbol.section is not None:
            return self.sections[symbol.section].address + symbol.value
        return self.plt.address + 16 * self.called.index(symbol.name)

    def _relocate(self, one: Relocation) -> None:
        chunk, kind, symbol = self.sections[one.section], self.machine.kinds[one.kind], one.symbol
        if kind.is_of_word:
            target = self._word(symbol if symbol.section is not None else symbol.name)
        else:
            target = self._address(symbol)
        value = kind.value(target + one.addend, chunk.address + one.offset)
        kind.patch(chunk.data, one.offset, value)

    def _write_symbols(self) -> None:
        """The dynamic symbols (imports, then exports), and their hash table: a single chain."""
        rows = [bytes(elf.SYMBOL.size)]
        rows += [elf.SYMBOL.pack(self.names.place(name), GLOBAL | FUNCTION, 0, 0, 0, 0) for name in self.imports]
        rows += [self._symbol(one, self.names) for one in self.exports]
        self.dynsym.data[:] = b"".join(rows)
        count = len(rows)
        chain = [*range(2, count), 0] if count > 1 else []
        self.hash.data[:] = struct.pack(f"<{3 + count}I", 1, count, 1 if chain else 0, 0, *chain)

    def _symbol(self, one: Symbol, names: Strings) -> bytes:
        info = (GLOBAL if one.is_global else 0) | (FUNCTION if one.is_function else 1)
        number = 0 if one.section is None else self.sections[one.section].number
        return elf.SYMBOL.pack(names.place(one.name), info, 0, number, self._address(one), one.size)

    def _write_words(self) -> None:
        """What is left for loading: to put an address into every word."""
        rows = []
        for number, key in enumerate(self.words):
            kinds, symbol, addend = (
                (elf.GLOB_DAT, number + 1, 0) if isinstance(key, str) else (elf.RELATIVE, 0, self._address(key))
            )
            info = symbol << 32 | kinds[self.code.machine]
            rows.append(elf.RELOCATION.pack(self.got.address + 8 * number, info, addend))
        self.rela.data[:] = b"".join(rows)

    def _write_dynamic(self) -> None:
        entries = [
            *self.needs,
            (elf.DT_HASH, self.hash.address),
            (elf.DT_STRTAB, self.dynstr.address),
            (elf.DT_SYMTAB, self.dynsym.address),
            (elf.DT_STRSZ, len(self.names.data)),
            (DT_SYMENT, elf.SYMBOL.size),
            (DT_BIND_NOW, 0),
        ]
        if self.words:
            size = len(self.rela.data)
            entries += [(elf.DT_RELA, self.rela.address), (elf.DT_RELASZ, size), (DT_RELAENT, elf.RELOCATION.size)]
        table = b"".join(elf.DYNAMIC.pack(*one) for one in entries)
        self.dynamic.data[: len(table)] = table  # what is left stays zero: DT_NULL

    def _add_function_names(self) -> None:
        """The symbol table, which is not loaded: what debuggers, profilers and `nm` show."""
        names = Strings()
        local = [one for one in self.code.symbols if one.is_function and not one.is_global]
        rows = [bytes(elf.SYMBOL.size), *(self._symbol(one, names) for one in local)]
        rows += [elf.SYMBOL.pack(names.place(name), GLOBAL | FUNCTION, 0, 0, 0, 0) for name in self.imports]
        rows += [self._symbol(one, names) for one in self.exports]
        table = bytearray(b"".join(rows))
        self._chunk(".symtab", SHT_SYMTAB, table, None, ".strtab", info=1 + len(local), record=elf.SYMBOL.size)
        self._chunk(".strtab", SHT_STRTAB, names.data, None, alignment=1)
