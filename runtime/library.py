"""Loading object code into the process: the only module of the runtime that touches LLVM, and only when code is loaded.

LLJIT with JITLink: a missing symbol is an error (not a crash at the first call), and dropping a library frees its
memory. Library names can never be used twice in one JIT, hence the counter.
"""

from __future__ import annotations

import ctypes
import itertools
import threading
from collections.abc import Iterable
from functools import cache
from typing import Any

from graphc.runtime.errors import ArtifactError
from graphc.runtime.signature import Target

_lock = threading.Lock()
_numbers = itertools.count()


class Library:
    """Object code in executable memory; it stays as long as this object lives."""

    def __init__(self, object_code: bytes, symbols: Iterable[str]) -> None:
        """Load `object_code` and look up `symbols`; `ArtifactError` if it is no object file or lacks one of them.

        Symbols it needs itself (memcpy, those of libm) are taken from the process.
        """
        binding, jit = _jit()
        names = list(dict.fromkeys(symbols))
        with _lock:
            builder = binding.JITLibraryBuilder().add_object_img(object_code).add_current_process()
            for name in names:
                builder.export_symbol(name)
            try:
                self._tracker = builder.link(jit, f"graphc{next(_numbers)}")
                self._addresses = {name: int(self._tracker[name]) for name in names}
            except (RuntimeError, KeyError) as error:
                raise ArtifactError(f"the object code cannot be loaded: {error}") from None

    def address(self, symbol: str) -> int:
        """The address of a symbol given at loading."""
        return self._addresses[symbol]

    def function(self, symbol: str, pointers: int) -> Any:
        """The function as a ctypes callable of that many pointers, returning i64. It releases the GIL."""
        kind = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_void_p] * pointers)
        return kind(self._addresses[symbol])


@cache
def _jit() -> tuple[Any, Any]:
    """llvmlite's binding and the one JIT of the process."""
    with _lock:
        import llvmlite.binding as binding

        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        machine = binding.Target.from_default_triple().create_target_machine(
            opt=2, reloc="pic", codemodel="small", jit=True
        )
        return binding, binding.create_lljit_compiler(machine, use_jit_link=True)


def check_target(target: Target) -> None:
    """`ArtifactError` naming the field if this machine cannot run code for `target`."""
    import llvmlite.binding as binding

    here = binding.get_process_triple()
    if _machine(target.triple) != _machine(here):
        raise ArtifactError(f"target triple: the code is for {target.triple}, this process is {here}")
    present = binding.get_host_cpu_features()
    missing = [name for name in target.features if not present.get(name, False)]
    if missing:
        raise ArtifactError(f"target features: this CPU ({binding.get_host_cpu_name()}) lacks {', '.join(missing)}")


def _machine(triple: str) -> tuple[str, str]:
    """Architecture and operating system of a triple; the vendor and the version of the system do not matter."""
    parts = triple.split("-")
    arch = {"amd64": "x86_64", "arm64": "aarch64"}.get(parts[0], parts[0])
    systems = ("linux", "darwin", "macos", "windows", "freebsd")
    system = next((name for name in systems for part in parts if part.startswith(name)), parts[-1])
    return arch, "darwin" if system == "macos" else system
