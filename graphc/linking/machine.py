"""What differs between machines when code is linked: the instruction that jumps elsewhere, and the relocations.

S is the address of the symbol (or of a stub that jumps to it), A the addend, P the place, G the address of the word
that will hold the symbol's address. The formulas are those of the System V ABI of x86-64, table 4.9, and of "ELF for
the Arm 64-bit architecture", section 5.7.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from graphc.runtime import elf
from graphc.runtime.errors import InternalError

Patch = Callable[[bytearray, int, int], None]
"""(image, place, value): puts the value into the instruction or word at the place."""


@dataclass(frozen=True)
class Kind:
    """A type of relocation: how to write it, whether it means G instead of S, and what is subtracted."""

    patch: Patch
    is_of_word: bool = False
    relative_to: str = "place"

    def value(self, target: int, place: int) -> int:
        """The number to write for the address `target` = S + A or G + A."""
        if self.relative_to == "page":
            return (target & ~0xFFF) - (place & ~0xFFF)
        return target - place if self.relative_to == "place" else target


@dataclass(frozen=True)
class Machine:
    """`stub(place, word)`: code of at most 16 bytes at `place` that jumps to the address which the word holds.

    `page`: the largest page that a system may use.
    """

    page: int
    stub: Callable[[int, int], bytes]
    kinds: dict[int, Kind]


def machine_of(number: int) -> Machine:
    """The machine of an ELF file; `InternalError` for one that is not known."""
    if number not in _MACHINES:
        raise InternalError(f"code of ELF machine {number} cannot be linked; --emit object writes it as it is")
    return _MACHINES[number]


def _signed(form: str, bits: int) -> Patch:
    def patch(image: bytearray, place: int, value: int) -> None:
        _check(-(1 << bits - 1) <= value < 1 << bits - 1)
        struct.pack_into(form, image, place, value)

    return patch


def _bits(image: bytearray, place: int, value: int, shift: int, width: int) -> None:
    """Replace `width` bits of the 32-bit instruction at `place`, from bit `shift` on."""
    word = struct.unpack_from("<I", image, place)[0]
    mask = (1 << width) - 1
    struct.pack_into("<I", image, place, word & ~(mask << shift) | (value & mask) << shift)


def _branch(image: bytearray, place: int, value: int) -> None:
    """The 26 bits of a branch, in instructions of four bytes."""
    _check(value % 4 == 0 and -(1 << 27) <= value < 1 << 27)
    _bits(image, place, value >> 2, 0, 26)


def _page(image: bytearray, place: int, value: int) -> None:
    """The 21 bits of `adrp`: how many pages of 4096 bytes away."""
    _check(-(1 << 32) <= value < 1 << 32)
    _bits(image, place, value >> 12, 29, 2)
    _bits(image, place, value >> 14, 5, 19)


def _low(scale: int) -> Patch:
    """The low 12 bits of an address, in units of 2**scale bytes."""

    def patch(image: bytearray, place: int, value: int) -> None:
        _check((value & 0xFFF) % (1 << scale) == 0)
        _bits(image, place, (value & 0xFFF) >> scale, 10, 12)

    return patch


def _check(fits: bool) -> None:
    if not fits:
        raise InternalError("the code is too large: a relocation does not reach")


def _stub_x86(place: int, word: int) -> bytes:
    return b"\xff\x25" + struct.pack("<i", word - (place + 6))  # jmp *[rip + ..]


def _stub_arm(place: int, word: int) -> bytes:
    code = bytearray(struct.pack("<3I", 0x90000010, 0xF9400211, 0xD61F0220))  # adrp x16; ldr x17, [x16]; br x17
    _page(code, 0, (word & ~0xFFF) - (place & ~0xFFF))
    _low(3)(code, 4, word)
    return bytes(code)


_MACHINES = {
    elf.MACHINES["x86_64"]: Machine(
        0x1000,
        _stub_x86,
        {
            2: Kind(_signed("<i", 32)),  # PC32      S + A - P
            4: Kind(_signed("<i", 32)),  # PLT32     the same, S may be a stub
            24: Kind(_signed("<q", 64)),  # PC64
            9: Kind(_signed("<i", 32), is_of_word=True),  # GOTPCREL  G + A - P
            41: Kind(_signed("<i", 32), is_of_word=True),  # GOTPCRELX
            42: Kind(_signed("<i", 32), is_of_word=True),  # REX_GOTPCRELX
        },
    ),
    elf.MACHINES["aarch64"]: Machine(
        0x10000,
        _stub_arm,
        {
            260: Kind(_signed("<q", 64)),  # PREL64    S + A - P
            261: Kind(_signed("<i", 32)),  # PREL32
            275: Kind(_page, relative_to="page"),  # ADR_PREL_PG_HI21    page(S + A) - page(P)
            277: Kind(_low(0), relative_to="zero"),  # ADD_ABS_LO12_NC     S + A
            278: Kind(_low(0), relative_to="zero"),  # LDST8_ABS_LO12_NC
            282: Kind(_branch),  # JUMP26
            283: Kind(_branch),  # CALL26
            284: Kind(_low(1), relative_to="zero"),  # LDST16_ABS_LO12_NC
            285: Kind(_low(2), relative_to="zero"),
            286: Kind(_low(3), relative_to="zero"),
            299: Kind(_low(4), relative_to="zero"),  # LDST128_ABS_LO12_NC
            311: Kind(_page, is_of_word=True, relative_to="page"),  # ADR_GOT_PAGE
            312: Kind(_low(3), is_of_word=True, relative_to="zero"),  # LD64_GOT_LO12_NC
        },
    ),
}
