"""IR text to native code. LLVM never sees a module that was not verified first: it aborts on some."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphc.codegen.target import Target

if TYPE_CHECKING:
    import llvmlite.binding as binding


def verify(text: str) -> binding.ModuleRef:
    """Parses and verifies a module; InternalError with the IR if LLVM refuses it."""
    import llvmlite.binding as binding

    from graphc.runtime.errors import InternalError

    try:
        module = binding.parse_assembly(text, binding.create_context())
        module.verify()
    except RuntimeError as error:
        raise InternalError(f"LLVM refuses the generated code: {error}\n{text}") from error
    return module


def compile_object(text: str, target: Target, opt: int = 2) -> bytes:
    """The object file of a module. IR passes are not run: generated code is already vectorised and in SSA form."""
    return bytes(target.machine(opt).emit_object(verify(text)))


def assembly(text: str, target: Target, opt: int = 2) -> str:
    """The assembly text of a module, as `compile_object` would encode it."""
    return str(target.machine(opt).emit_assembly(verify(text)))
