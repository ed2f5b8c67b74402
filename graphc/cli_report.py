"""What the command line says: messages on standard error, in colour only for a person at a terminal."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from typing import TextIO

from graphc.runtime.errors import CompileError, CompileWarning

MISTAKE, BUG, INTERRUPTED = 1, 70, 130
"""Exit statuses; good is 0."""

RED, YELLOW, CYAN, BOLD, PLAIN = "\033[1;31m", "\033[1;33m", "\033[36m", "\033[1m", "\033[0m"


def has_colour(stream: TextIO) -> bool:
    """Whether to colour: a terminal that is not dumb, and no NO_COLOR (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def say(text: str) -> None:
    """A line for the person, on standard error: standard output is kept for what was asked for."""
    print(text, file=sys.stderr, flush=True)


def fail(message: str, as_json: bool = False) -> None:
    """An error that has no place in a model file."""
    if as_json:
        fields = {"code": "", "severity": "error", "message": message, "file": "", "line": 0, "column": 0}
        print(json.dumps({**fields, "end_line": 0, "end_column": 0, "labels": [], "help": ""}))
        return
    head = f"{RED}error:{PLAIN}" if has_colour(sys.stderr) else "error:"
    say(f"{head} {message}")


def report_compile_error(error: CompileError, as_json: bool) -> None:
    """The diagnostics of a model file: rendered on standard error, or one JSON object a line on standard output."""
    report_diagnostics(error.diagnostics, as_json)


def report_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """`warnings.showwarning` for the command line: what is said, without the place in the program of graphc."""
    if isinstance(message, CompileWarning):
        say("\n\n".join(_painted(one) for one in str(message).strip("\n").split("\n\n")) + "\n")
    else:
        say(f"{YELLOW}warning:{PLAIN} {message}" if has_colour(sys.stderr) else f"warning: {message}")


def report_diagnostics(diagnostics: Iterable[object], as_json: bool) -> None:
    """Diagnostics in order of place, each once."""
    from graphc.diagnostics import Diagnostic, in_order, render, to_json

    for index, diagnostic in enumerate(in_order(one for one in diagnostics if isinstance(one, Diagnostic))):
        if as_json:
            print(to_json(diagnostic))
        else:
            say(("\n" if index else "") + _painted(render(diagnostic).rstrip("\n")))


def _painted(text: str) -> str:
    """A rendered diagnostic with its head, frame and marks in colour, on a terminal."""
    if not has_colour(sys.stderr):
        return text
    head, _, body = text.partition("\n")
    word, _, rest = head.partition(":")
    colour = YELLOW if word.startswith("warning") else RED
    lines = [f"{colour}{word}{PLAIN}{BOLD}:{rest}{PLAIN}"]
    for line in body.split("\n"):
        bare = line.lstrip(" 0123456789")
        if bare.startswith(("-->", ":::", "|", "=")):
            gutter, mark = line[: len(line) - len(bare)], bare[0] if bare[0] in "|=" else bare[:3]
            line = f"{gutter}{CYAN}{mark}{PLAIN}{bare[len(mark) :]}"
        lines.append(line)
    return "\n".join(lines)
