"""What a code generator has to know of a machine: vector width, registers, LLVM's names for it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import llvmlite.binding as binding

LINE = 64  # bytes of a line of the caches
LARGE_BYTES = 1 << 20  # so much does not stay in the second-level cache, and is asked for sooner


@dataclass(frozen=True)
class Target:
    """One machine to generate code for.

    `triple`, `cpu` and `features` are LLVM's spelling; `vector_bytes` is the width of a vector register and
    `registers` their number; `masked` tells whether masked loads and stores are as cheap as plain ones;
    `fma` whether a fused multiply-add is one instruction (where it is not, `Function.fma` rounds twice).
    """

    name: str
    triple: str
    cpu: str
    features: str
    vector_bytes: int
    registers: int
    masked: bool
    fma: bool = True

    def lanes(self, size: int) -> int:
        """How many elements of `size` bytes one vector register holds (at least one)."""
        return max(1, self.vector_bytes // size)

    @property
    def is_x86(self) -> bool:
        return self.triple.startswith(("x86_64", "i686"))

    def cpu_features(self) -> frozenset[str]:
        """LLVM's names of the features that code for this target may use; none are known outside of x86."""
        return _features(self.cpu, self.features)

    def has(self, feature: str) -> bool:
        """Whether code for this target may use a feature of an x86 CPU, by LLVM's name."""
        return feature in _features(self.cpu, self.features)

    def machine(self, opt: int = 2, jit: bool = True) -> binding.TargetMachine:
        """LLVM's target machine: position independent, small code model (the large one needs `movabs`)."""
        import llvmlite.binding as binding

        _initialize()
        return binding.Target.from_triple(self.triple).create_target_machine(
            cpu=self.cpu, features=self.features, opt=opt, reloc="pic", codemodel="small", jit=jit
        )


@cache
def _features(cpu: str, features: str) -> frozenset[str]:
    if features:
        return frozenset(flag[1:] for flag in features.split(",") if flag.startswith("+"))
    return frozenset(_LEVELS.get(cpu, ()))


@cache
def _initialize() -> None:
    """Registers all of LLVM's back ends, once a process: foreign targets are then ordinary ones."""
    import llvmlite.binding as binding

    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    binding.initialize_native_asmparser()


@cache
def host() -> Target:
    """The machine this process runs on, with the widest vectors it has."""
    import llvmlite.binding as binding

    triple, cpu, features = binding.get_process_triple(), binding.get_host_cpu_name(), binding.get_host_cpu_features()
    flags = features.flatten()
    if all(features.get(f"avx512{part}") for part in ("f", "vl", "bw", "dq")):
        return Target("host", triple, cpu, flags, 64, 32, masked=True)
    if features.get("avx2") and features.get("fma"):
        return Target("host", triple, cpu, flags, 32, 16, masked=True)
    if triple.startswith(("aarch64", "arm64")):
        return Target("host", triple, cpu, flags, 16, 32, masked=False)
    return Target("host", triple, cpu, flags, 16, 16, masked=False, fma=bool(features.get("fma")))


_V2 = (
    "64bit", "cmov", "crc32", "cx16", "cx8", "fxsr", "mmx", "popcnt", "sahf", "sse", "sse2", "sse3", "sse4.1", "sse4.2",
    "ssse3",
)  # fmt: skip
_V3 = (*_V2, "avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe", "xsave")
_V4 = (*_V3, "avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl")
_LEVELS = {"x86-64-v2": _V2, "x86-64-v3": _V3, "x86-64-v4": _V4}  # System V ABI of x86-64, table 3.1

_LINUX = "x86_64-unknown-linux-gnu"
NAMED = {
    target.name: target
    for target in (
        Target("x86-64-v3", _LINUX, "x86-64-v3", "", 32, 16, masked=True),
        Target("x86-64-v4", _LINUX, "x86-64-v4", "", 64, 32, masked=True),
        Target("aarch64", "aarch64-unknown-linux-gnu", "neoverse-n1", "", 16, 32, masked=False),
        Target("generic", _LINUX, "x86-64-v2", "", 16, 16, masked=False, fma=False),
    )
}


def named(name: str) -> Target:
    """The target called `name`: "host" or one of `NAMED`; KeyError for any other."""
    return host() if name == "host" else NAMED[name]
