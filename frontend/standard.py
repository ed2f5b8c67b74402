"""The standard library: modules shipped with the compiler. Declarations are parsed when they are first asked for, as a
model uses few of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files

from graphc.frontend import syntax as s
from graphc.frontend.parser import parse
from graphc.source import Source

STANDARD = ("nn", "optim")
Declaration = s.Block | s.Optimizer | s.Constant
_BEGIN = re.compile(r"^(?:##.*\n)*(?:block|optimizer) ([a-z0-9_]+)", re.MULTILINE)  # with what is said of it before


class Declarations(Mapping[str, Declaration]):
    """The declarations of a text by name. It declares nothing but blocks and optimizers, at the left margin."""

    def __init__(self, source: Source) -> None:
        self.source = source
        found = list(_BEGIN.finditer(source.text))
        lines = [source.position(match.start()).line for match in found]
        ends = [*lines[1:], len(source.line_starts) + 1]
        self._lines = {match[1]: range(*ends) for match, *ends in zip(found, lines, ends, strict=True)}
        self._parsed: dict[str, Declaration] = {}

    def __getitem__(self, name: str) -> Declaration:
        if name not in self._parsed:
            tree, diagnostics = parse(self.source, lines=self._lines[name])
            if tree is None:
                raise ValueError(f"{self.source.name}: {diagnostics[0]}")
            (declaration,) = tree.declarations
            assert isinstance(declaration, Declaration)
            self._parsed[name] = declaration
        return self._parsed[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)


@cache
def standard(name: str) -> Declarations:
    """What `std.NAME` declares; one of `STANDARD`."""
    text = files("graphc.frontend").joinpath("std", f"{name}.gc").read_text(encoding="utf-8")
    return Declarations(Source(f"std/{name}.gc", text))


def is_standard(source: Source) -> bool:
    """Whether a text is a file of the standard library."""
    return any(source is standard(name).source for name in STANDARD)
