"""What this CPU can do, asked of the CPU itself: no file is read and no compiler is needed.

Features have LLVM's names. Those are listed that generated code may use; x86 tells of them in the registers of `cpuid`
(Intel's manual, volume 2A, and AMD's, volume 3, appendix E). A wide register can be used only if the system saves it,
which `xgetbv` tells.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from graphc.runtime.pages import Pages
from graphc.runtime.signature import Target

_ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}  # other spellings

_EAX, _EBX, _ECX, _EDX = range(4)
BITS: dict[tuple[int, int, int], dict[str, int]] = {  # (leaf, subleaf, register) -> name -> bit
    (1, 0, _ECX): {
        "sse3": 0, "pclmul": 1, "ssse3": 9, "fma": 12, "cx16": 13, "sse4.1": 19, "sse4.2": 20, "crc32": 20,
        "movbe": 22, "popcnt": 23, "aes": 25, "xsave": 27, "avx": 28, "f16c": 29, "rdrnd": 30,
    },
    (1, 0, _EDX): {"cx8": 8, "cmov": 15, "mmx": 23, "fxsr": 24, "sse": 25, "sse2": 26},
    (7, 0, _EBX): {
        "fsgsbase": 0, "bmi": 3, "avx2": 5, "bmi2": 8, "avx512f": 16, "avx512dq": 17, "rdseed": 18, "adx": 19,
        "avx512ifma": 21, "avx512cd": 28, "sha": 29, "avx512bw": 30, "avx512vl": 31,
    },
    (7, 0, _ECX): {
        "avx512vbmi": 1, "avx512vbmi2": 6, "gfni": 8, "vaes": 9, "vpclmulqdq": 10, "avx512vnni": 11,
        "avx512bitalg": 12, "avx512vpopcntdq": 14, "rdpid": 22,
    },
    (7, 0, _EDX): {"avx512vp2intersect": 8, "avx512fp16": 23},
    (7, 1, _EAX): {"sha512": 0, "avxvnni": 4, "avx512bf16": 5, "avxifma": 23},
    (7, 1, _EDX): {
        "avxvnniint8": 4, "avxneconvert": 5, "avxvnniint16": 10, "egpr": 21, "push2pop2": 21, "ppx": 21, "ndd": 21,
        "ccmp": 21, "nf": 21, "cf": 21, "zu": 21,
    },
    (0x80000001, 0, _ECX): {"sahf": 0, "lzcnt": 5, "sse4a": 6, "prfchw": 8, "xop": 11, "fma4": 16, "tbm": 21},
    (0x80000001, 0, _EDX): {"64bit": 29},
}  # fmt: skip
FEATURES = tuple(sorted(name for names in BITS.values() for name in names))

# bits of the register of saved states: 128- and 256-bit vectors; and with them masks and 512 bits; general r16 to r31
_STATE_256, _STATE_512, _STATE_GENERAL = 0x6, 0xE6, 0x80000
_NEED_256 = frozenset({"avx", "avx2", "fma", "f16c", "vaes", "vpclmulqdq", "xop", "fma4", "sha512"})
_NEED_GENERAL = frozenset({"egpr", "push2pop2", "ppx", "ndd", "ccmp", "nf", "cf", "zu"})

# void cpuid(u32 leaf, u32 subleaf, u32 out[4]) and u64 xgetbv(), System V calling convention
_CPUID = bytes.fromhex(
    "53"  # push rbx            the caller's
    "89f8 89f1"  # mov eax, edi; mov ecx, esi
    "4989d0"  # mov r8, rdx
    "0fa2"  # cpuid
    "418900 41895804 41894808 4189500c"  # mov [r8], eax; [r8+4], ebx; [r8+8], ecx; [r8+12], edx
    "5b c3"  # pop rbx; ret
)
_XGETBV = bytes.fromhex(
    "31c9 0f01d0"  # xor ecx, ecx; xgetbv
    "48c1e220 4809d0 c3"  # shl rdx, 32; or rax, rdx; ret
)


@cache
def machine() -> str:
    """The architecture as LLVM spells it: x86_64 or aarch64 (or another, for which there is no code)."""
    name = os.uname().machine if hasattr(os, "uname") else "unknown"
    return _ARCHITECTURES.get(name.lower(), name.lower())


@cache
def features() -> frozenset[str]:
    """Those of `FEATURES` that this CPU and system have. None on other architectures, whose code asks for none."""
    return frozenset(_features()) if machine() == "x86_64" else frozenset()


def mismatch(target: Target) -> str | None:
    """Why this machine cannot run code for `target`, naming the field; None if it can."""
    if _kind(target.triple) != (machine(), sys.platform):
        return f"target triple: the code is for {target.triple}, this process is {machine()}-{sys.platform}"
    missing = [name for name in target.features if name not in features()]
    return f"target features: this CPU lacks {', '.join(missing)}" if missing else None


def _kind(triple: str) -> tuple[str, str]:
    """Architecture and operating system of a triple; the vendor and the version of the system do not matter."""
    parts = triple.split("-")
    return _ARCHITECTURES.get(parts[0], parts[0]), "linux" if "linux" in parts else parts[-1]


def identity() -> str:
    """All that decides how code for this very CPU is made: its maker, its model and its features, as it tells them.

    On machines of equal identity the same compiler makes the same code for the target `host`.
    """
    if machine() != "x86_64":
        lines = Path("/proc/cpuinfo").read_text("ascii", "replace").splitlines() if sys.platform == "linux" else []
        told = dict.fromkeys(line for line in lines if line.startswith(("CPU ", "Features")))
        return " ".join([machine(), *told])
    cpu = _Cpu()
    model = cpu.registers(1, 0)  # but EBX, which tells on which core this runs
    words = [*cpu.registers(0, 0), model[_EAX], model[_ECX], model[_EDX], *cpu.registers(7, 0), *cpu.registers(7, 1)]
    words += cpu.registers(0x80000001, 0)[_ECX:]
    return " ".join([machine(), *(f"{word:x}" for word in (*words, cpu.states()))])


class _Cpu:
    """The instructions `cpuid` and `xgetbv`, as functions."""

    def __init__(self) -> None:
        self._stub = Pages(64)
        self._stub.buffer[: len(_CPUID)] = _CPUID
        self._stub.buffer[32 : 32 + len(_XGETBV)] = _XGETBV
        self._stub.protect(0, 64, executable=True)
        self._ask = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_void_p)(self._stub.address)
        self._answer = (ctypes.c_uint32 * 4)()

    def registers(self, leaf: int, subleaf: int) -> tuple[int, ...]:
        """EAX, EBX, ECX and EDX for a leaf; zeros if this CPU does not answer it."""
        last = self._told(leaf & 0x80000000, 0)[_EAX]
        if leaf > last or (subleaf and subleaf > self._told(leaf, 0)[_EAX]):
            return (0, 0, 0, 0)
        return self._told(leaf, subleaf)

    def _told(self, leaf: int, subleaf: int) -> tuple[int, ...]:
        self._ask(leaf, subleaf, ctypes.addressof(self._answer))
        return tuple(self._answer)

    def states(self) -> int:
        """The registers that the system saves, as `xgetbv` tells; none if it saves none of the wide ones."""
        is_saving = self.registers(1, 0)[_ECX] >> 27 & 1
        return int(ctypes.CFUNCTYPE(ctypes.c_uint64)(self._stub.address + 32)()) if is_saving else 0


def _features() -> Iterator[str]:
    cpu = _Cpu()
    states = cpu.states()
    for (leaf, subleaf, register), names in BITS.items():
        bits = cpu.registers(leaf, subleaf)[register]
        yield from (
            name for name, bit in names.items() if bits >> bit & 1 and states & states_of(name) == states_of(name)
        )


def states_of(feature: str) -> int:
    """What the system must save for the feature's registers to be of use: bits of what `xgetbv` tells."""
    if feature.startswith("avx512"):
        return _STATE_512
    if feature in _NEED_256 or feature.startswith("avx"):
        return _STATE_256
    return _STATE_GENERAL if feature in _NEED_GENERAL else 0
