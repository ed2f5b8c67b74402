"""The registry of errors: complete, true and the same as docs/errors.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from graphc.diagnostics import Explanation, render_all
from graphc.frontend.build import elaborate
from graphc.frontend.codes import CODES, document, explain
from graphc.source import Source

ROOT = Path(__file__).parents[2]
WITHOUT_EXAMPLE = ("GC0001", "GC0002", "GC0802")  # bytes, or a file too long to print; see test_parser and test_limits


def codes_of(text: str) -> list[str]:
    def load(path: str) -> Source:
        return Source(path, text)

    return [diagnostic.code for diagnostic in elaborate(Source("m.gc", text), load=load)[1]]


def test_every_code_of_the_frontend_is_explained() -> None:
    used: set[str] = set()
    for path in sorted((ROOT / "frontend").glob("*.py")):
        if not path.name.startswith("codes"):
            used |= set(re.findall(r'"(GC\d{4})"', path.read_text(encoding="utf-8")))
    assert used == set(CODES)


@pytest.mark.parametrize("entry", CODES.values(), ids=CODES)
def test_the_examples_are_true(entry: Explanation) -> None:
    if entry.code not in WITHOUT_EXAMPLE:
        assert set(codes_of(entry.wrong)) == {entry.code}
    found = elaborate(Source("m.gc", entry.right), load=lambda path: Source(path, ""))[1]
    assert [one for one in found if one.severity == "error"] == [], render_all(found)


def test_the_document_is_up_to_date() -> None:
    """After a change write `graphc.frontend.codes.document()` to docs/errors.md."""
    assert (ROOT / "docs" / "errors.md").read_text(encoding="utf-8") == document()


def test_explain_finds_codes_as_people_write_them() -> None:
    assert explain("GC0201") == explain("gc0201") == explain("201")
    assert "Wrong:" in (explain("GC0201") or "")
    assert explain("GC9999") is None
