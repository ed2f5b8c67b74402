"""What every artifact holds besides its own kernels: the call from Python, the batch loop, random first values, and how
threads meet.

These functions know nothing of a model, so they are one object for each target: compiled once in a process, kept in the
cache between processes, and linked to the object of every model.
"""

from __future__ import annotations

import hashlib
from dataclasses import astuple
from functools import cache

from graphc.cache import sealed, unsealed, user_cache
from graphc.cache_key import compiler_identity
from graphc.codegen.call_path import emit_call
from graphc.codegen.draws import emit_draw
from graphc.codegen.epoch import emit_epoch
from graphc.codegen.llvm import Module, compile_object
from graphc.codegen.target import Target
from graphc.codegen.team import emit_whole_team


@cache
def support_object(target: Target) -> bytes:
    """The object file of the functions for a target."""
    kept, compiler = user_cache(), compiler_identity()
    if kept is None or compiler is None:
        return compile_object(support_text(target), target)
    request = repr(("support", compiler, astuple(target)))
    name = hashlib.sha256(request.encode()).hexdigest() + ".o"
    data = kept.read(name)
    found = unsealed(data) if data is not None else None
    if found is None:
        found = compile_object(support_text(target), target)
        kept.write(name, sealed(found))
    return found


def support_text(target: Target) -> str:
    """Their LLVM IR. What models call is visible to them alone."""
    module = Module(target)
    emit_call(module)
    emit_draw(module)
    emit_epoch(module)
    called, text = emit_whole_team(module), module.text()
    for name in called:
        text = text.replace(f"define internal void @{name}(", f"define hidden void @{name}(", 1)
    return text
