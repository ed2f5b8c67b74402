"""The road on one page: a model file -> program -> graphs -> kernels -> native code -> a model to use.

A model that was compiled before comes from the cache on disk (graphc/cache.py) and needs nothing of the compiler, which
is why the compiler's modules are imported only where they are used.
"""

from __future__ import annotations

import errno
import hashlib
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.cache import user_cache
from graphc.cache_key import Texts, key_of
from graphc.collector import paused
from graphc.diagnostics import Diagnostic, has_errors, render_all
from graphc.frontend.encoding import decode
from graphc.frontend.limits import DEFAULT_LIMITS, Limits
from graphc.runtime.artifact import Artifact
from graphc.runtime.errors import ArtifactError, CompileError, CompileWarning, InputTypeError, OptionError
from graphc.runtime.model import Model
from graphc.runtime.options import check_path
from graphc.runtime.store import first_values
from graphc.runtime.threads import check_threads
from graphc.source import Source

if TYPE_CHECKING:
    from graphc.compilation import Compilation
    from graphc.inspection import Inspection
    from graphc.ir.graph import Graph

PathLike = str | os.PathLike[str]
Options = Mapping[str, Any]  # of a compilation, by name


def compile_file(
    path: PathLike,
    *,
    dims: Mapping[str, int] | None = None,
    model: str | None = None,
    optimize: int = 2,
    passes: Sequence[str] | None = None,
    target: str | None = None,
    threads: int | None = None,
    limits: Limits = DEFAULT_LIMITS,
    check: str | None = None,
) -> Model:
    """The model of a file, compiled and initialised with seed 0; options as for `compile_source`.

    Raises CompileError with all diagnostics of the file, OptionError for a bad option, OSError if it cannot be read.
    What the compiler warns of is a CompileWarning.
    """
    if isinstance(path, str) and "\n" in path:
        raise InputTypeError("`compile` takes the path of a model file, not its text: that is for `compile_source`")
    options = _options(dims, model, optimize, passes, target, limits)
    return _model(read_source(path), options, threads, check)


def compile_source(
    text: str,
    *,
    name: str = "<source>",
    dims: Mapping[str, int] | None = None,
    model: str | None = None,
    optimize: int = 2,
    passes: Sequence[str] | None = None,
    target: str | None = None,
    threads: int | None = None,
    limits: Limits = DEFAULT_LIMITS,
    check: str | None = None,
) -> Model:
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
    options = _options(dims, model, optimize, passes, target, limits)
    return _model(Source(name, text), options, threads, check)


def compile_artifact(path: PathLike, **options: object) -> Artifact:
    """The artifact of a file, for any target: this machine need not be able to run it."""
    return _made(read_source(path), _without_threads(options))[0]


def compile_for_c(path: PathLike, products: Sequence[str], **options: object) -> dict[str, bytes]:
    """The files of a model for C by their names; for `net.gc` and the products

    header    net.h: its functions, with their meaning
    shared    libnet.so: a shared object
    object    net.o: the same for static linking
    flat      net.flat: its variables as of seed 0, for the function `..._load`
    """
    compiled = compilation(path, **options)
    stem = Path(path).stem
    makers: dict[str, tuple[str, Callable[[], bytes]]] = {
        "header": (f"{stem}.h", lambda: compiled.c_header.encode()),
        "shared": (f"lib{stem}.so", lambda: compiled.c_library(f"lib{stem}.so")),
        "object": (f"{stem}.o", lambda: compiled.c_object),
        "flat": (f"{stem}.flat", lambda: first_values(compiled.signature)),
    }
    unknown = [name for name in products if name not in makers]
    if unknown:
        raise OptionError(f"there is no product `{unknown[0]}`; the products for C are {', '.join(makers)}")
    chosen = [makers[name] for name in dict.fromkeys(products)]
    return {file: make() for file, make in chosen}


def check(path: PathLike, limits: Limits = DEFAULT_LIMITS) -> list[Diagnostic]:
    """All diagnostics of a file; nothing is compiled."""
    from graphc.frontend.build import elaborate

    return elaborate(read_source(path), load=read_source, dims=None, model=None, limits=limits)[1]


def stage_text(path: PathLike, stage: str, *, entry: str | None = None, **options: object) -> str:
    """A stage as text: ast graph backward optimised kernels llvm asm memory fusion."""
    return _inspection(path, options).text(stage, entry)


def stage_graph(path: PathLike, stage: str, *, entry: str | None = None, **options: object) -> Graph:
    """A stage that is a graph: graph, backward or optimised."""
    return _inspection(path, options).graph(stage, entry)


def compilation(path: PathLike, **options: object) -> Compilation:
    """A file on its way to native code, for who looks into its stages."""
    from graphc.compiler import compilations, single

    return single(compilations(read_source(path), read_source, **_without_threads(options)))


def read_source(path: PathLike) -> Source:
    """The text of a file; CompileError if it is no UTF-8 text within the limits, OSError if it cannot be read.

    What is no path is an InputTypeError, one with a NUL an OptionError.
    """
    file = check_path(path)
    if file.exists() and not file.is_file() and not file.is_dir():
        raise OSError(errno.EINVAL, "a pipe or device, not a regular file", os.fspath(path))  # reading would not end
    source, faults = decode(os.fspath(path), file.read_bytes())
    if has_errors(faults):
        raise CompileError(faults, render_all(faults))
    return source


def _inspection(path: PathLike, options: Mapping[str, Any]) -> Inspection:
    from graphc.compiler import compilations, single
    from graphc.inspection import Inspection

    source = read_source(path)
    return Inspection(single(compilations(source, read_source, **_without_threads(options))), source)


def _without_threads(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that decide the code, NumPy's integers among the sizes as Python's; threads are only checked."""
    if options.get("threads") is not None:
        check_threads(options["threads"])
    chosen = {name: value for name, value in options.items() if name != "threads"}
    dims = chosen.get("dims")
    if isinstance(dims, Mapping):
        chosen["dims"] = {name: int(size) if isinstance(size, np.integer) else size for name, size in dims.items()}
    return chosen


def _options(dims: object, model: object, optimize: object, passes: object, target: object, limits: object) -> Options:
    """The options that decide the code, by name; the usual limits are left out, as they decide nothing."""
    chosen = {"dims": dims, "model": model, "optimize": optimize, "passes": passes, "target": target}
    return chosen if limits is DEFAULT_LIMITS else {**chosen, "limits": limits}


def _model(source: Source, options: Options, threads: int | None, check: str | None) -> Model:
    artifact, inspect = _made(source, _without_threads({**options, "threads": threads}))
    model = Model(artifact, inspect, threads=threads)
    if check is not None:
        model.check = check
    return model


def _made(source: Source, options: Mapping[str, Any]) -> tuple[Artifact, Callable[[], Inspection]]:
    """The artifact of a source, from the cache if it is there, and what shows the stages behind it."""
    texts, cache = Texts(source, read_source), user_cache()
    key = key_of(texts, options) if cache is not None else None
    kept = cache.read(f"{key}.gca") if cache is not None and key is not None else None
    artifact = _whole(kept, source) if kept is not None else None
    if artifact is not None:
        return artifact, lambda: _stages(texts, options)[1]
    with paused():
        compiled, inspection = _stages(texts, options)
        artifact = Artifact(tuple(one.build for one in compiled))
    if compiled[0].warnings:  # such a model is not kept: it would be silent the next time
        warnings.warn("\n" + render_all(compiled[0].warnings), CompileWarning, stacklevel=4)
    elif cache is not None and key is not None and texts.is_complete:
        cache.write(f"{key}.gca", artifact.to_bytes())
    return artifact, lambda: inspection


def _whole(data: bytes, source: Source) -> Artifact | None:
    """An entry of the cache; None if it is damaged or of another text."""
    try:
        artifact = Artifact.from_bytes(data)
    except ArtifactError:
        return None
    expected = hashlib.sha256(source.text.encode()).hexdigest()
    return artifact if artifact.builds[0].signature.source_hash == expected else None


def _stages(texts: Texts, options: Mapping[str, Any]) -> tuple[list[Compilation], Inspection]:
    """The compilations for each target, and what shows the stages of the first."""
    from graphc.compiler import compilations
    from graphc.inspection import Inspection

    found = compilations(texts.source, texts.load, **options)
    return found, Inspection(found[0], texts.source)
