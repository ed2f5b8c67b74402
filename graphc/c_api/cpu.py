"""The question whether this CPU can run the library's code, asked by the library itself before anything else."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphc.codegen.llvm import Function, Value, const
from graphc.runtime.cpu import BITS, states_of

_CPUID = 'asm sideeffect "cpuid", "={ax},={bx},={cx},={dx},{ax},{cx},~{dirflag},~{fpsr},~{flags}"'
_XGETBV = 'asm sideeffect "xgetbv", "={ax},={dx},{cx},~{dirflag},~{fpsr},~{flags}"'
_EXTENDED = 0x80000000


def emit_cpu_check(f: Function, features: Sequence[str], fail: Callable[[Value], None]) -> None:
    """Calls `fail` with each i1 that says that one of the features is missing; nothing is asked on other machines."""
    needed = {
        place: sum(1 << bit for name, bit in names.items() if name in features)
        for place, names in BITS.items()
        if any(name in features for name in names)
    }
    if not f.target.is_x86 or not needed:
        return
    for base in (0, _EXTENDED):  # first whether the CPU answers at all
        leaves = [leaf for leaf, _, _ in needed if leaf & _EXTENDED == base]
        if leaves:
            fail(f.icmp("ult", _registers(f, base, 0, 0), _unsigned(max(leaves))))
    if any(subleaf for _, subleaf, _ in needed):
        fail(f.icmp("ult", _registers(f, 7, 0, 0), 1))
    for (leaf, subleaf, register), mask in needed.items():
        bits = f.and_(_registers(f, leaf, subleaf, register), _unsigned(mask))
        fail(f.icmp("ne", bits, _unsigned(mask)))
    states = 0
    for name in features:
        states |= states_of(name)
    if states:
        fail(f.icmp("eq", f.and_(_registers(f, 1, 0, 2), 1 << 27), 0))  # xgetbv is there
        pair = f.assign("{ i32, i32 }", f"call {{ i32, i32 }} {_XGETBV}(i32 0)")
        low = f.assign("i32", f"extractvalue {pair}, 0")
        fail(f.icmp("ne", f.and_(low, _unsigned(states)), _unsigned(states)))


def _registers(f: Function, leaf: int, subleaf: int, register: int) -> Value:
    """One of eax, ebx, ecx, edx after `cpuid`."""
    four = "{ i32, i32, i32, i32 }"
    result = f.assign(four, f"call {four} {_CPUID}({_unsigned(leaf)}, {_unsigned(subleaf)})")
    return f.assign("i32", f"extractvalue {result}, {register}")


def _unsigned(number: int) -> Value:
    """An i32 constant of these bits."""
    return const("i32", number - (1 << 32) if number >= 1 << 31 else number)
