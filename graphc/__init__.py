"""graphc: a compiler for neural networks.

A model file goes in; native code for its forward pass, its symbolic gradients and its training step comes out::

    import graphc

    model = graphc.compile("digits.gc")
    model.fit({"image": images, "label": labels}, batch=32, epochs=20)

The names below are loaded when first used, so `import graphc` costs little more than `import numpy`, and a program that
only runs a compiled artifact (`graphc.load`) never loads the compiler.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from graphc.driver import compile_file as compile
    from graphc.driver import compile_source as compile_source
    from graphc.runtime.errors import CompileError as CompileError
    from graphc.runtime.errors import GraphcError as GraphcError
    from graphc.runtime.model import Model as Model
    from graphc.runtime.model import load as load

__version__ = "0.1.0"
__all__ = ["CompileError", "GraphcError", "Model", "__version__", "compile", "compile_source", "load"]

_HOMES = {
    "CompileError": ("graphc.runtime.errors", "CompileError"),
    "GraphcError": ("graphc.runtime.errors", "GraphcError"),
    "Model": ("graphc.runtime.model", "Model"),
    "compile": ("graphc.driver", "compile_file"),
    "compile_source": ("graphc.driver", "compile_source"),
    "load": ("graphc.runtime.model", "load"),
}


def __getattr__(name: str) -> object:
    """The public name, imported from its home on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'graphc' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    try:
        value = getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        message = f"graphc.{name} needs the compiler, and only graphc-runtime is installed here: install graphc"
        raise ImportError(message) from None
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
