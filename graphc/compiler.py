"""A source text and options -> compilations: what the driver asks for when a model is not in the cache."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from graphc.codegen.target import NAMED, Target, named
from graphc.compilation import Compilation, Options
from graphc.diagnostics import has_errors, render_all
from graphc.frontend.build import elaborate
from graphc.frontend.limits import DEFAULT_LIMITS, Limits
from graphc.frontend.resolve import Load
from graphc.passes.levels import LEVELS, PASSES
from graphc.runtime.errors import CompileError, OptionError
from graphc.source import Source


def compilations(
    source: Source,
    load: Load,
    *,
    dims: Mapping[str, int] | None = None,
    model: str | None = None,
    optimize: int = 2,
    passes: Sequence[str] | None = None,
    target: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> list[Compilation]:
    """One for each target; they share the program. `load` reads a used file; options as for `driver.compile_source`.

    Raises CompileError with all diagnostics of the file, OptionError for a bad option.
    """
    if dims is not None and not (isinstance(dims, Mapping) and all(isinstance(name, str) for name in dims)):
        raise OptionError(f'dims must map names of dimensions to sizes, as {{"B": 32}}, not {dims!r}')
    if model is not None and not isinstance(model, str):
        raise OptionError(f"model must be the name of a model, not {model!r}")
    each = [Options(one, _passes(optimize, passes)) for one in _targets(target)]
    program, diagnostics = elaborate(source, load=load, dims=dict(dims or {}), model=model, limits=limits)
    if program is None:
        if not has_errors(diagnostics):  # no model, or several: a warning of a check, but here nothing came of it
            diagnostics = [replace(one, severity="error") for one in diagnostics]
        raise CompileError(diagnostics, render_all(diagnostics))
    source_hash = hashlib.sha256(source.text.encode()).hexdigest()
    return [Compilation(program, source_hash, one, diagnostics) for one in each]


def single(found: Sequence[Compilation]) -> Compilation:
    """The only one: what is shown, or goes to C, is for one target."""
    if len(found) > 1:
        raise OptionError("only an artifact can be for several targets")
    return found[0]


def _targets(names: str | None) -> list[Target]:
    """The targets of a list such as `x86-64-v3,x86-64-v4`, each once."""
    if names is not None and not isinstance(names, str):
        raise OptionError(f'target must be a text such as "x86-64-v3,x86-64-v4", not {names!r}')
    return [_target(name) for name in dict.fromkeys((names or "host").split(","))]


def _target(name: str) -> Target:
    if name in ("native", "host"):
        return named("host")
    if name not in NAMED:
        raise OptionError(f"there is no target `{name}`; the targets are native, {', '.join(NAMED)}")
    return named(name)


def _passes(optimize: int, passes: Sequence[str] | None) -> str:
    if isinstance(passes, str) or not isinstance(passes, Iterable | None):
        raise OptionError(f"passes must be a list of names, not {passes!r}")
    if passes is not None:
        unknown = [name for name in passes if name not in PASSES]
        if unknown:
            raise OptionError(f"there is no pass `{unknown[0]}`; the passes are {', '.join(PASSES)}")
        return ",".join(dict.fromkeys([*(one.name for one in LEVELS["O0"]), *passes]))
    level = f"O{optimize}"
    if level not in LEVELS:
        raise OptionError(f"optimize must be 0, 1 or 2, not {optimize!r}")
    return level
