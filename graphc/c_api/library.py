"""A program as a library for C: object code, shared object and header."""

from __future__ import annotations

import re
from collections.abc import Collection

from graphc.c_api.functions import emit_functions
from graphc.c_api.layout import Layout
from graphc.codegen.llvm import Module

_DEFINITION = re.compile(r"^define (?!internal )(.*? @([A-Za-z0-9_.]+)\()", re.MULTILINE)


def library_text(module: Module, plan: Layout) -> str:
    """The IR of a module with the functions for C added; everything else in it becomes invisible outside."""
    return internalised(module, emit_functions(module, plan))


def internalised(module: Module, exported: Collection[str]) -> str:
    """The module's IR with all functions internal but those exported: two models can be linked into one program."""

    def definition(match: re.Match[str]) -> str:
        return match[0] if match[2] in exported else f"define internal {match[1]}"

    return _DEFINITION.sub(definition, module.text())
