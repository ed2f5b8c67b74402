"""Patterns of parameter paths: `"*.w"`, `"embed.*"`. A star stands for any text, dots included."""

from __future__ import annotations

import re

from graphc.frontend.scope import Shared, nearest
from graphc.program import Variable
from graphc.source import Span


def matches(pattern: str, path: str) -> bool:
    """Whether a path fits a pattern as a whole."""
    parts = [re.escape(part) for part in re.sub(r"\*+", "*", pattern).split("*")]
    return re.fullmatch(".*".join(parts), path) is not None


def matching(shared: Shared, pattern: str, span: Span) -> list[Variable]:
    """The parameters whose path fits, in their order; an error if there is none."""
    found = [variable for path, (variable, _) in shared.params.items() if matches(pattern, path)]
    if not found:
        known = list(shared.params)
        help = nearest(pattern, known) or "parameters: " + ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
        shared.error("GC0603", f'no parameter fits "{pattern}"', span, help=help if known else "")
    return found
