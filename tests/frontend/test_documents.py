"""docs/language.md names every built-in function, and its whole files compile."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from graphc.frontend.build import elaborate
from graphc.frontend.functions import FUNCTIONS, LATER
from graphc.frontend.parameter import INITIALIZERS
from graphc.frontend.parser import parse
from graphc.frontend.standard import STANDARD, standard
from graphc.frontend.syntax_expression import Syntax
from graphc.source import Source, Span

TEXT = (Path(__file__).parents[2] / "docs" / "language.md").read_text(encoding="utf-8")


def test_every_function_and_initialiser_is_named() -> None:
    words = set(re.findall(r"[a-z_0-9]+", TEXT))
    assert set(FUNCTIONS) | set(INITIALIZERS) <= words
    assert not set(FUNCTIONS) & LATER


def test_the_first_example_compiles() -> None:
    example = TEXT.split("```python\n")[1].split("```")[0]
    made, diagnostics = elaborate(Source("m.gc", example), load=lambda path: Source(path, ""))
    assert made is not None and not diagnostics


def test_the_standard_library_has_no_fault_and_is_documented() -> None:
    for name in STANDARD:
        declared = standard(name)
        text = declared.source.text
        made, diagnostics = elaborate(Source(f"{name}.gc", text), load=lambda path: Source(path, ""))
        assert [one for one in diagnostics if one.severity == "error"] == [] and made is None
        for word in declared:
            assert word in TEXT
            assert getattr(declared[word], "doc")  # noqa: B009


def test_the_standard_library_is_the_same_read_whole_or_one_by_one() -> None:
    """Every declaration is found, and is what it is in the file, at the same places."""
    for name in STANDARD:
        declared = standard(name)
        tree, _ = parse(declared.source)
        assert tree is not None
        assert [plain(one) for one in tree.declarations] == [plain(one) for one in declared.values()]
        assert [getattr(one, "name").name for one in tree.declarations] == list(declared)  # noqa: B009


def plain(part: object) -> object:
    """A part of a syntax tree as nested tuples."""
    if isinstance(part, Span):
        return part.start, part.end
    if isinstance(part, tuple):
        return tuple(plain(one) for one in part)
    if isinstance(part, Syntax):
        return type(part), [plain(getattr(part, one.name)) for one in fields(part)]
    return part
