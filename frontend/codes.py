"""The registry of diagnostics: what each code means, a file that has the error and the same file corrected.

`graphc explain` prints an entry, docs/errors.md is `document()`, and tests elaborate every example.
"""

from __future__ import annotations

from graphc.diagnostics import Explanation
from graphc.frontend.codes_call import CALL_CODES
from graphc.frontend.codes_name import NAME_CODES
from graphc.frontend.codes_scan import SCAN_CODES
from graphc.frontend.codes_shape import SHAPE_CODES
from graphc.frontend.codes_text import TEXT_CODES
from graphc.frontend.codes_train import TRAIN_CODES

CHAPTERS = (
    ("Text and syntax", TEXT_CODES),
    ("Names", NAME_CODES),
    ("Types and shapes", SHAPE_CODES),
    ("Calls and blocks", CALL_CODES),
    ("Scans", SCAN_CODES),
    ("Training, limits and what is missing", TRAIN_CODES),
)

CODES: dict[str, Explanation] = {entry.code: entry for _, entries in CHAPTERS for entry in entries}


def explain(code: str) -> str | None:
    """What an error means, as text with an example; None for an unknown code. `201` and `gc0201` are GC0201."""
    key = code.strip().upper().removeprefix("GC")
    entry = CODES.get(f"GC{key:0>4}")
    if entry is None:
        return None
    return (
        f"{entry.code}: {entry.title}\n\n{entry.text}\n\n"
        f"Wrong:\n\n{_indented(entry.wrong)}\n\nRight:\n\n{_indented(entry.right)}\n"
    )


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" if line else "" for line in text.rstrip("\n").split("\n"))


def document() -> str:
    """docs/errors.md."""
    parts = [
        "# Errors and warnings\n\n"
        "Every diagnostic of the compiler has a stable code. `graphc explain GC0201` prints an entry of this page.\n"
        "The page is made from `frontend/codes*.py`; the tests compile every example.\n"
    ]
    for title, entries in CHAPTERS:
        parts.append(f"\n## {title}\n")
        parts.extend(map(_section, entries))
    return "".join(parts)


def _section(entry: Explanation) -> str:
    return (
        f"\n### {entry.code}: {entry.title}\n\n{entry.text}\n\n"
        f"```python\n{entry.wrong.rstrip()}\n```\n\nRight:\n\n```python\n{entry.right.rstrip()}\n```\n"
    )
