"""Loading code: nothing wrong with an image crashes the process, no page is writable and executable, nothing stays."""

from __future__ import annotations

import gc
import os
import random
import re
import struct
from pathlib import Path

import pytest
from linear_model import artifact

from graphc.runtime import elf
from graphc.runtime.errors import ArtifactError
from graphc.runtime.library import Library
from graphc.runtime.model import Model

MAPS = Path("/proc/self/maps")
ON_LINUX = pytest.mark.skipif(not MAPS.exists(), reason="no /proc/self/maps here")


def image() -> bytes:
    return artifact().builds[0].image


def test_symbols() -> None:
    library = Library(image(), ["m_forward", "m_step"])
    assert library.address("m_forward") != library.address("m_step")
    with pytest.raises(ArtifactError, match="cannot be loaded: it lacks the symbol 'nothing'"):
        Library(image(), ["nothing"])


def fields() -> list[tuple[int, int]]:
    """Place and size of every number of the headers, the symbols, the relocations and the dynamic table."""
    data = image()
    segments, dynamic = elf.segments(data, os.uname().machine)
    places = [(at, 1) for at in range(16)] + [(16, 2), (18, 2), (32, 8), (40, 8), (54, 2), (56, 2)]
    places += [(64 + 56 * i + at, 4 if at < 8 else 8) for i in range(6) for at in (0, 4, 8, 16, 24, 32, 40, 48)]
    last = segments[-1]
    start = last.offset + dynamic[0] - last.address
    places += [(at, 8) for at in range(start, start + dynamic[1], 8)]
    first_code = segments[1].offset
    places += [(at, 4) for at in range(64 + 56 * 6, min(first_code, 1200), 4)]
    return places


def test_wrong_numbers_in_an_image_are_refused_or_harmless() -> None:
    """Every field set to extremes and to random values; what is accepted is only loaded here, not called."""
    rng = random.Random(3)
    refused = loaded = 0
    for place, size in fields():
        bits = 8 * size
        for value in (0, 1, 2 ** (bits - 1), 2**bits - 1, rng.getrandbits(bits), rng.getrandbits(min(bits, 12))):
            data = bytearray(image())
            data[place : place + size] = value.to_bytes(size, "little")
            try:
                Library(bytes(data), ["m_forward"])
                loaded += 1
            except ArtifactError:
                refused += 1
    assert refused > 300 and loaded > 100  # padding, section headers and sizes nobody reads


def test_every_truncation_is_refused() -> None:
    data = image()
    for size in [*range(700), *range(700, elf.segments(data, os.uname().machine)[0][-1].offset, 97)]:
        with pytest.raises(ArtifactError):
            Library(data[:size], ["m_forward"])


def test_another_machine_or_kind_of_file() -> None:
    other = bytearray(image())
    struct.pack_into("<H", other, 18, 8)  # MIPS
    for data in (b"", b"not an ELF file", bytes(1000), bytes(other)):
        with pytest.raises(ArtifactError, match="cannot be loaded: not a"):
            Library(data, [])


@ON_LINUX
def test_no_page_is_writable_and_executable() -> None:
    before = set(re.findall(r"^(\S+) .wx", MAPS.read_text(), re.M))  # those of other libraries
    model = Model(artifact())
    text = MAPS.read_text()
    assert set(re.findall(r"^(\S+) .wx", text, re.M)) <= before
    address = model._library.address("m_forward")
    modes = []
    for line in text.splitlines():
        place, mode, *_ = line.split()
        low, high = (int(end, 16) for end in place.split("-"))
        modes += [mode] if low <= address < high else []
    assert modes == ["r-xp"]


@ON_LINUX
def test_code_is_given_back() -> None:
    Model(artifact())
    gc.collect()
    before = MAPS.read_text().count("\n")
    for _ in range(300):
        Model(artifact())
    gc.collect()
    assert MAPS.read_text().count("\n") <= before + 8  # threads and heaps may come; 300 images would be 1,200 lines
