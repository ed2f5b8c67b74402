"""The pages of docs/: their programs run, their links lead somewhere."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

import graphc.ops  # noqa: F401  fills the registry
from graphc.ir.node import OPS

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").rglob("*.md")])
PROGRAMS = ("docs/add-a-pass.md", "docs/add-an-error.md", "docs/add-an-op.md", "docs/python.md")


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_in_the_docs_run(name: str, tmp_path: Path) -> None:
    """The Python blocks of a page, one after the other, as one program; what it registers is taken out again."""
    text = (ROOT / name).read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert blocks
    known = set(OPS)
    try:
        (tmp_path / "docs.py").write_text("\n".join(blocks))
        runpy.run_path(str(tmp_path / "docs.py"))
    finally:
        for op in set(OPS) - known:
            del OPS[op]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"^```.*?^```|`[^`\n]+`", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", prose)
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []
