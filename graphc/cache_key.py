"""What decides every byte of an artifact, as one SHA-256: texts, options, the compiler itself, and the machine.

The key is made before anything is parsed, so that a model that was compiled before needs neither parser nor LLVM. Which
files a text uses is therefore read off its `use` lines by a pattern; `Texts` keeps what was read, compiles from that,
and knows if the compiler wanted a file that the pattern had not seen. Such an artifact has no key.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, is_dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from graphc.runtime.artifact import canonical
from graphc.runtime.cpu import identity
from graphc.runtime.errors import CompileError
from graphc.source import Source

MOST_FILES = 64  # that a model may use and still be kept
NEUTRAL: Mapping[str, tuple[object, ...]] = {  # options -> values that mean the same as leaving them out
    "dims": (None, {}),
    "model": (None,),
    "passes": (None,),
    "target": (None, "host", "native"),
}
_USE = re.compile(r"""^[ \t]*use[ \t]+"(\.\.?/[^"\\\n]*\.gc)\"""", re.MULTILINE)
_PACKAGES = ("lark", "llvmlite", "networkx")  # what else takes part in compiling, besides NumPy
_OF_COMPILER = (".py", ".gc", ".lark")


class Texts:
    """A source and the files that it uses, each read once."""

    def __init__(self, source: Source, read: Callable[[str], Source]) -> None:
        self.source, self._read = source, read
        self.used: dict[str, Source] = {}
        self.is_complete = True
        self._look(source)

    def _look(self, first: Source) -> None:
        """Read what the source uses, and what that uses; whatever cannot be read is left to the compiler."""
        waiting = [first]
        while waiting and self.is_complete:
            source = waiting.pop()
            for match in _USE.finditer(source.text):
                path = posixpath.normpath(posixpath.join(posixpath.dirname(source.name), match[1]))
                if path in self.used:
                    continue
                if len(self.used) == MOST_FILES:
                    self.is_complete = False
                    break
                try:
                    self.used[path] = Source(path, self._read(path).text)
                except (OSError, ValueError, CompileError):
                    self.is_complete = False
                    break
                waiting.append(self.used[path])

    def load(self, path: str) -> Source:
        """A file as the compiler asks for it; from now on it is the same text, whatever happens to the file."""
        if path not in self.used:
            self.is_complete = False
            return self._read(path)
        return self.used[path]


def key_of(texts: Texts, options: Mapping[str, Any]) -> str | None:
    """The key of an artifact; None if something that decides it cannot be known beforehand."""
    compiler = compiler_identity()
    if compiler is None or not texts.is_complete:
        return None
    try:
        chosen = {name: _plain(value) for name, value in options.items() if value not in NEUTRAL.get(name, ())}
        request = {
            "compiler": compiler,
            "machine": machine_identity(),
            "options": chosen,
            "source": _hash_of(texts.source),
            "used": [[path, _hash_of(source)] for path, source in sorted(texts.used.items())],
        }
        return hashlib.sha256(canonical(request)).hexdigest()
    except (TypeError, ValueError):  # an option that is no plain data: if it is not a mistake, it is for the compiler
        return None


def _plain(value: Any) -> Any:
    """An option as JSON. Types count: `True` is not 1."""
    if is_dataclass(value) and not isinstance(value, type):
        return [type(value).__qualname__, asdict(value)]
    return dict(value) if isinstance(value, Mapping) else value


def _hash_of(source: Source) -> str:
    return hashlib.sha256(source.text.encode("utf-8", "surrogatepass")).hexdigest()


@cache
def compiler_identity() -> str | None:
    """A hash of the compiler's own files, and of what it is built on; None if these are not files.

    Content, not a version: who works on the compiler never gets what an older state of it has made.
    """
    digest = hashlib.sha256()
    try:
        for name, file in _files(Path(__file__).parent, ""):
            data = file.read_bytes()
            digest.update(f"{name}\0{len(data)}\0".encode())
            digest.update(data)
        for package in _PACKAGES:
            digest.update(_identity_of(package))
    except OSError:
        return None
    digest.update(f"{np.__version__}\0{sys.version}".encode())
    return digest.hexdigest()


def _files(folder: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    """The files of the package that are part of the compiler, by name, sorted."""
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda one: one.name)
    for one in entries:
        name = prefix + one.name
        if one.is_dir():
            if one.name != "__pycache__":
                yield from _files(folder / one.name, name + "/")
        elif one.name.endswith(_OF_COMPILER):
            yield name, folder / one.name


def _identity_of(package: str) -> bytes:
    """What names the version of a package, without importing it; for a library, its size and time too."""
    found = find_spec(package)
    if found is None or not found.origin:
        return b""
    home = Path(found.origin).parent
    parts = [Path(found.origin).read_bytes()]
    version = home / "_version.py"
    if version.exists():
        parts.append(version.read_bytes())
    for library in sorted(home.glob("binding/lib*")):
        status = library.stat()
        parts.append(f"{library.name} {status.st_size} {status.st_mtime_ns}".encode())
    return b"\0".join(parts)


@cache
def machine_identity() -> str:
    """What the code generator asks the machine for: LLVM's name of the CPU and its features follow from this."""
    return f"{sys.platform} {identity()}"
