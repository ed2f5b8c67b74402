"""Wrong model files: each ends in exactly the diagnostics that its comments announce, all in one run.

`# error: GC0201 @14` stands on the line of the error; the column is checked where it is given. `# error at 1: ...` in
the first line announces one for another line, where a comment would change the error.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from graphc.diagnostics import Diagnostic, render_all, to_json
from graphc.frontend.build import elaborate
from graphc.source import Source

CORPUS = Path(__file__).parents[1] / "corpus" / "errors"
FILES = sorted(CORPUS.glob("*.gc"))


def announced(text: str) -> list[tuple[str, int, int | None]]:
    """(code, line, column or None) of every comment, in order."""
    found: list[tuple[str, int, int | None]] = []
    for number, line in enumerate(text.splitlines(), 1):
        match = re.search(r"# (?:error|warning)(?: at (\d+))?: (.*)$", line)
        if match:
            place = int(match.group(1) or number)
            for code, column in re.findall(r"(GC\d{4})(?: @(\d+))?", match.group(2)):
                found.append((code, place, int(column) if column else None))
    return found


def load(path: str) -> Source:
    return Source(path, Path(path).read_text(encoding="utf-8"))


def check(path: Path) -> list[Diagnostic]:
    name = str(path)
    return elaborate(Source(name, path.read_text(encoding="utf-8")), load=load)[1]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_error_is_found_and_no_other(path: Path) -> None:
    wanted = announced(path.read_text(encoding="utf-8"))
    assert wanted, "the file announces nothing"
    found = check(path)
    places = [(one.code, one.span.first.line, one.span.first.column) for one in found]
    shown = [
        (code, line, column if any(w == (code, line, None) for w in wanted) is False else None)
        for code, line, column in places
    ]
    key = lambda item: (item[1], item[2] or 0, item[0])  # noqa: E731
    assert sorted(shown, key=key) == sorted(wanted, key=key), render_all(found)
    assert all(to_json(one) for one in found)


def test_the_corpus_is_large() -> None:
    assert len(FILES) >= 50
