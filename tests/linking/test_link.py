"""Shared objects made without a linker: what is in them, and that the system's own loader and tools take them."""

from __future__ import annotations

import ctypes
import math
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from graphc.codegen.llvm import compile_object
from graphc.codegen.target import NAMED, Target, host
from graphc.linking.link import link
from graphc.linking.relocatable import read
from graphc.runtime import elf
from graphc.runtime.errors import ArtifactError, InternalError
from graphc.runtime.library import Library

TEXT = """
declare double @pow(double, double)
declare i64 @syscall(i64, ...)
@numbers = internal constant [4 x i64] [i64 10, i64 20, i64 30, i64 40]

define internal i64 @kernel(i64 %i) noinline {
  %place = getelementptr i64, ptr @numbers, i64 %i
  %number = load i64, ptr %place
  ret i64 %number
}
define i64 @chosen(ptr %i) {
  %index = load i64, ptr %i
  %number = call i64 @kernel(i64 %index)
  ret i64 %number
}
define i64 @power(ptr %x) {
  %value = load double, ptr %x
  %result = call double @pow(double %value, double 2.5)
  store double %result, ptr %x
  ret i64 0
}
define ptr @where() {
  ret ptr @chosen
}
define i64 @process() {
  %number = call i64 (i64, ...) @syscall(i64 39)
  ret i64 %number
}
"""
SYMBOLS = ("chosen", "power", "process", "where")
ON_X86 = pytest.mark.skipif(not host().is_x86 or sys.platform != "linux", reason="code for this machine only")


def image(text: str = TEXT, target: Target | None = None, name: str | None = None) -> bytes:
    return link(compile_object(text, target or host()), name=name)


def check(chosen: object, power: object, where: object) -> None:
    assert [chosen(ctypes.byref(ctypes.c_int64(i))) for i in range(4)] == [10, 20, 30, 40]  # type: ignore[operator]
    x = ctypes.c_double(3.0)
    assert power(ctypes.byref(x)) == 0  # type: ignore[operator]
    assert x.value == math.pow(3.0, 2.5)
    assert where() == ctypes.cast(chosen, ctypes.c_void_p).value  # type: ignore[operator, arg-type]


@ON_X86
def test_our_loader_runs_it() -> None:
    library = Library(image(), SYMBOLS)
    check(library.function("chosen", 1), library.function("power", 1), library.function("where", 0))


@ON_X86
def test_the_system_loads_it(tmp_path: Path) -> None:
    (tmp_path / "lib.so").write_bytes(image(name="lib.so"))
    library = ctypes.CDLL(str(tmp_path / "lib.so"))
    library.where.restype = ctypes.c_void_p
    check(library.chosen, library.power, library.where)
    assert library.process() == os.getpid()


def test_the_same_object_gives_the_same_bytes() -> None:
    assert image() == image()
    assert image(name="a.so") != image()


@pytest.mark.skipif(shutil.which("nm") is None, reason="no nm here")
def test_tools_read_it(tmp_path: Path) -> None:
    path = tmp_path / "lib.so"
    path.write_bytes(image())

    def symbols(*options: str) -> list[str]:
        done = subprocess.run(["nm", *options, str(path)], capture_output=True, text=True, check=True)
        assert done.stderr == ""
        return [line.split()[-1] for line in done.stdout.splitlines()]

    assert symbols("-u") == symbols("-D", "-u") == ["pow", "syscall"]
    assert symbols("-D", "--defined-only") == list(SYMBOLS)
    assert "kernel" in symbols("--defined-only")


def test_it_stays_within_libc_and_libm() -> None:
    with pytest.raises(InternalError, match="may not need malloc"):
        image("declare ptr @malloc(i64)\ndefine ptr @f() {\n  %p = call ptr @malloc(i64 8)\n  ret ptr %p\n}\n")


def test_it_keeps_no_state() -> None:
    counter = "@n = internal global i64 5\ndefine i64 @f() {\n  %x = load volatile i64, ptr @n\n  ret i64 %x\n}\n"
    pointers = "@p = constant [2 x ptr] [ptr @f, ptr @f]\ndefine void @f() {\n  ret void\n}\n"
    for text, section in ((counter, ".data"), (pointers, ".data.rel.ro")):
        with pytest.raises(InternalError, match=f"section {section} of the object code can be written"):
            image(text)


def test_what_is_no_object_file_is_refused() -> None:
    for data in (b"", b"MZ" + bytes(100), image()):
        with pytest.raises(InternalError, match=r"no ELF file|no relocatable file"):
            read(data)


def test_aarch64_constants_and_calls_lead_where_they_should() -> None:
    """The two instructions that load a constant, decoded by hand (Arm's manual, C6.2.13 and C7.2.192)."""
    text = "declare double @pow(double, double)\ndefine double @f(double %x) {\n"
    text += "  %y = call double @pow(double %x, double 0x3FF3C083126E978D)\n  ret double %y\n}\n"
    data = image(text, NAMED["aarch64"])
    loaded, dynamic = elf.segments(data, "aarch64")
    memory = bytearray(loaded[-1].address + loaded[-1].memory)
    for one in loaded:
        memory[one.address : one.address + one.size] = data[one.offset : one.offset + one.size]
    tables = elf.Tables(memory, dynamic)
    assert [tables.name(info >> 32) for _, info, _ in tables.relocations] == ["pow"]
    start = tables.exports()["f"]
    pages: dict[int, int] = {}
    found = []
    stubs = []
    for place in range(start, start + 64, 4):
        (word,) = struct.unpack_from("<I", memory, place)
        if word & 0x9F000000 == 0x90000000:  # adrp
            high = (word >> 5 & 0x7FFFF) << 2 | word >> 29 & 3
            pages[word & 31] = (place & ~0xFFF) + (high - (high >> 20 << 21)) * 4096
        elif word & 0xFFC00000 == 0xFD400000 and word >> 5 & 31 in pages:  # ldr d, [x, #offset]
            found.append(pages[word >> 5 & 31] + (word >> 10 & 0xFFF) * 8)
        elif word & 0x7C000000 == 0x14000000 and not stubs:  # b or bl: the call of pow
            offset = word & 0x3FFFFFF
            stubs.append(place + (offset - (offset >> 25 << 26)) * 4)
    assert [struct.unpack_from("<d", memory, place) for place in found] == [(1.2345,)]
    (adrp, load, jump) = struct.unpack_from("<3I", memory, stubs[0])
    high = (adrp >> 5 & 0x7FFFF) << 2 | adrp >> 29 & 3
    word_address = (stubs[0] & ~0xFFF) + high * 4096 + (load >> 10 & 0xFFF) * 8
    assert word_address == tables.relocations[0][0]
    assert jump == 0xD61F0220  # br x17


def test_objects_are_linked_side_by_side() -> None:
    """Each with its constants and its own `helper`, which is not the other's; the same bytes every time."""
    text = "define internal double @helper(double %x) noinline {{\n  %y = fadd double %x, {0}\n  ret double %y\n}}\n"
    text += "define double @{1}(double %x) {{\n  %y = call double @helper(double %x)\n  ret double %y\n}}\n"
    objects = [compile_object(text.format(*given), host()) for given in (("0.1", "one"), ("0.2", "two"))]
    image = link(*objects)
    assert image == link(*objects)
    library = Library(image, ["one", "two"])
    for name, expected in (("one", 0.1), ("two", 0.2)):
        function = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(library.address(name))
        assert function(1.0) == 1.0 + expected


def test_an_object_calls_what_another_defines_for_it_alone() -> None:
    """In either order; what is hidden is a local name in the file, and nothing has to be found at loading."""
    head = "declare hidden double @inner(double)\ndefine double @outer(double %x) {\n"
    caller = head + "  %y = call double @inner(double %x)\n  ret double %y\n}\n"
    called = "define hidden double @inner(double %x) noinline {\n  %y = fadd double %x, 0.5\n  ret double %y\n}\n"
    objects = [compile_object(text, host()) for text in (caller, called)]
    for image in (link(*objects), link(*reversed(objects))):
        library = Library(image, ["outer"])
        function = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(library.address("outer"))
        assert function(1.0) == 1.5
        assert b"inner\0" in image  # for debuggers
        with pytest.raises(ArtifactError):
            Library(image, ["inner"])
    with pytest.raises(InternalError, match="generated code may not need inner"):
        link(objects[0])


def test_two_objects_with_one_global_symbol_are_refused() -> None:
    text = "define i64 @same() {\n  ret i64 1\n}\n"
    with pytest.raises(InternalError, match="two objects define same"):
        link(compile_object(text, host()), compile_object(text, host()))
