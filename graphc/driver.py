"""The road on one page: a model file -> program -> graphs -> kernels -> native code -> a model to use."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from graphc.codegen.target import NAMED, Target, named
from graphc.compilation import Compilation, Options
from graphc.diagnostics import Diagnostic, has_errors, render_all
from graphc.frontend.build import elaborate
from graphc.frontend.limits import DEFAULT_LIMITS, Limits
from graphc.frontend.parser import decode
from graphc.inspection import Inspection
from graphc.ir.graph import Graph
from graphc.passes.levels import LEVELS, LOWERABLE, PASSES
from graphc.runtime.artifact import Artifact
from graphc.runtime.errors import CompileError, InputTypeError, OptionError
from graphc.runtime.model import Model
from graphc.runtime.store import first_values
from graphc.runtime.threads import check_threads
from graphc.source import Source

PathLike = str | os.PathLike[str]


def compile_file(path: PathLike, **options: object) -> Model:
    """The model of a file, compiled and initialised with seed 0; options as for `compile_source`.

    Raises CompileError with all diagnostics of the file, OptionError for a bad option, OSError if it cannot be read.
    """
    return _model(read_source(path), options)


def compile_source(text: str, *, name: str = "<source>", **options: object) -> Model:
    """The model of a source text, compiled and initialised with seed 0.

    dims      sizes that fix run-time dimensions, e.g. {"B": 32}
    model     which model of the text, if there are several
    optimize  0, 1 or 2 (default)
    passes    these passes in this order instead of the level's, after those without which there is no code
    target    "host" (default), "x86-64-v3", "x86-64-v4", "aarch64", "generic"; or several, separated by commas:
              the artifact then holds code for each, and a machine runs the most demanding that it can
    threads   native threads of the model; None: as many CPUs as this process may use, at most GRAPHC_THREADS
    limits    a frontend Limits object
    check     "finite": a NaN or infinity is an error that names op, line and index; "bounds": see Model.check
    """
    if not isinstance(text, str):
        raise InputTypeError(f"the source must be a text (str), not {type(text).__name__}; `compile` takes a path")
    return _model(Source(name, text), options)


def compile_artifact(path: PathLike, **options: object) -> Artifact:
    """The artifact of a file, for any target: this machine need not be able to run it."""
    return _artifact(_compilations(read_source(path), **options))  # type: ignore[arg-type]


def compile_for_c(path: PathLike, products: Sequence[str], **options: object) -> dict[str, bytes]:
    """The files of a model for C by their names; for `net.gc` and the products

    header    net.h: its functions, with their meaning
    shared    libnet.so: a shared object
    object    net.o: the same for static linking
    flat      net.flat: its variables as of seed 0, for the function `..._load`
    """
    compilation = _one(_compilations(read_source(path), **options))  # type: ignore[arg-type]
    stem = Path(path).stem
    makers: dict[str, tuple[str, Callable[[], bytes]]] = {
        "header": (f"{stem}.h", lambda: compilation.c_header.encode()),
        "shared": (f"lib{stem}.so", lambda: compilation.c_library(f"lib{stem}.so")),
        "object": (f"{stem}.o", lambda: compilation.c_object),
        "flat": (f"{stem}.flat", lambda: first_values(compilation.signature)),
    }
    unknown = [name for name in products if name not in makers]
    if unknown:
        raise OptionError(f"there is no product `{unknown[0]}`; the products for C are {', '.join(makers)}")
    chosen = [makers[name] for name in dict.fromkeys(products)]
    return {file: make() for file, make in chosen}


def check(path: PathLike, limits: Limits = DEFAULT_LIMITS) -> list[Diagnostic]:
    """All diagnostics of a file; nothing is compiled."""
    return elaborate(read_source(path), load=read_source, dims=None, model=None, limits=limits)[1]


def stage_text(path: PathLike, stage: str, *, entry: str | None = None, **options: object) -> str:
    """A stage as text: ast graph backward optimised kernels llvm asm memory fusion."""
    return _inspection(read_source(path), options).text(stage, entry)


def stage_graph(path: PathLike, stage: str, *, entry: str | None = None, **options: object) -> Graph:
    """A stage that is a graph: graph, backward or optimised."""
    return _inspection(read_source(path), options).graph(stage, entry)


def compilation(path: PathLike, **options: object) -> Compilation:
    """A file on its way to native code, for who looks into its stages."""
    return _one(_compilations(read_source(path), **options))  # type: ignore[arg-type]


def read_source(path: PathLike) -> Source:
    """The text of a file; CompileError if it is no UTF-8 text within the limits, OSError if it cannot be read."""
    file = Path(path)
    if file.exists() and not file.is_file() and not file.is_dir():
        raise OSError(errno.EINVAL, "a pipe or device, not a regular file", os.fspath(path))  # reading would not end
    source, faults = decode(os.fspath(path), file.read_bytes())
    if has_errors(faults):
        raise CompileError(faults, render_all(faults))
    return source


def _compilations(
    source: Source,
    *,
    dims: Mapping[str, int] | None = None,
    model: str | None = None,
    optimize: int = 2,
    passes: Sequence[str] | None = None,
    target: str | None = None,
    threads: int | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> list[Compilation]:
    """One for each target; they share the program."""
    if threads is not None:
        check_threads(threads)
    if dims is not None and not (isinstance(dims, Mapping) and all(isinstance(name, str) for name in dims)):
        raise OptionError(f'dims must map names of dimensions to sizes, as {{"B": 32}}, not {dims!r}')
    each = [Options(one, _passes(optimize, passes)) for one in _targets(target)]
    program, diagnostics = elaborate(source, load=read_source, dims=dict(dims or {}), model=model, limits=limits)
    if program is None:
        if not has_errors(diagnostics):  # no model, or several: a warning of a check, but here nothing came of it
            diagnostics = [replace(one, severity="error") for one in diagnostics]
        raise CompileError(diagnostics, render_all(diagnostics))
    source_hash = hashlib.sha256(source.text.encode()).hexdigest()
    return [Compilation(program, source_hash, one) for one in each]


def _inspection(source: Source, options: dict[str, object]) -> Inspection:
    return Inspection(_one(_compilations(source, **options)), source)  # type: ignore[arg-type]


def _one(compilations: Sequence[Compilation]) -> Compilation:
    if len(compilations) > 1:
        raise OptionError("only an artifact can be for several targets")
    return compilations[0]


def _artifact(compilations: Sequence[Compilation]) -> Artifact:
    return Artifact(tuple(one.build for one in compilations))


def _model(source: Source, options: dict[str, object]) -> Model:
    rest = {name: value for name, value in options.items() if name != "check"}
    compilations = _compilations(source, **rest)  # type: ignore[arg-type]
    inspection = Inspection(compilations[0], source)
    model = Model(_artifact(compilations), inspection, threads=options.get("threads"))  # type: ignore[arg-type]
    model.check = options.get("check")  # type: ignore[assignment]
    return model


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
    if passes is not None:
        unknown = [name for name in passes if name not in PASSES]
        if unknown:
            raise OptionError(f"there is no pass `{unknown[0]}`; the passes are {', '.join(PASSES)}")
        return ",".join(dict.fromkeys([*(one.name for one in LOWERABLE), *passes]))
    level = f"O{optimize}"
    if level not in LEVELS:
        raise OptionError(f"optimize must be 0, 1 or 2, not {optimize!r}")
    return level
