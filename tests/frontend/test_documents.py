"""docs/language.md names every built-in function, and its whole files compile."""

from __future__ import annotations

import re
from pathlib import Path

from graphc.frontend.build import elaborate
from graphc.frontend.functions import FUNCTIONS, LATER
from graphc.frontend.parameter import INITIALIZERS
from graphc.frontend.standard import STANDARD, standard
from graphc.source import Source

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
