"""Errors as data, and the only two places that format them: `render` for people, `to_json` for editors.

A diagnostic has a stable code, a title, labels (the first is primary) and at most one line of help. The text form is
rustc's. Text from the user's file is shown with control characters escaped and long lines cut around the labels.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from graphc.source import Source, Span

WIDTH = 140  # the most columns of a source line that are shown


@dataclass(frozen=True, slots=True)
class Label:
    """A span and what is said about it; the text may be empty."""

    span: Span
    text: str = ""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One error or warning. `place` is where the header points when that is not the first label's start."""

    code: str
    title: str
    labels: tuple[Label, ...]
    help: str = ""
    severity: str = "error"
    place: Span | None = None

    @property
    def span(self) -> Span:
        """The span a reader is sent to."""
        return self.place if self.place is not None else self.labels[0].span

    def __str__(self) -> str:
        return f"{self.span}: {self.severity}[{self.code}]: {self.title}"


@dataclass(frozen=True, slots=True)
class Explanation:
    """What `graphc explain CODE` and docs/errors.md say: a wrong file and the corrected one, both complete."""

    code: str
    title: str
    text: str
    wrong: str
    right: str


def has_errors(diagnostics: Iterable[Diagnostic]) -> bool:
    """Whether any is an error rather than a warning."""
    return any(diagnostic.severity == "error" for diagnostic in diagnostics)


def in_order(diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """By file and place, the order in which a reader meets them; one of a code at a place, the first.

    A block that is used with several sizes may be wrong in the same way each time.
    """
    unique: dict[object, Diagnostic] = {}
    for d in diagnostics:
        unique.setdefault((d.code, d.span.source.name, d.span.start, d.span.end), d)
    return sorted(unique.values(), key=lambda d: (d.span.source.name, d.span.start, d.span.end, d.code))


def to_json(diagnostic: Diagnostic) -> str:
    """One line of JSON with the fields of the command line's `--error-format json`; labels of its `file` only."""
    span = diagnostic.span
    labels = [label for label in diagnostic.labels if label.span.source is span.source]
    fields: dict[str, object] = {
        "code": diagnostic.code,
        "severity": diagnostic.severity,
        "message": diagnostic.title,
        "file": span.source.name,
        **_place(span),
        "labels": [{**_place(label.span), "text": label.text} for label in labels],
        "help": diagnostic.help,
    }
    return json.dumps(fields, ensure_ascii=True)


def _place(span: Span) -> dict[str, object]:
    first, last = span.first, span.last
    return {"line": first.line, "column": first.column, "end_line": last.line, "end_column": last.column}


def render_all(diagnostics: Iterable[Diagnostic]) -> str:
    """Every diagnostic, a blank line between two, in order of place."""
    return "\n".join(render(diagnostic) for diagnostic in in_order(diagnostics))


def render(diagnostic: Diagnostic) -> str:
    """A diagnostic in rustc's form, ending in a line end."""
    sources = list(dict.fromkeys([diagnostic.span.source, *(label.span.source for label in diagnostic.labels)]))
    last_line = max((label.span.first.line for label in diagnostic.labels), default=1)
    margin = len(str(last_line)) + 1
    lines = [f"{diagnostic.severity}[{diagnostic.code}]: {printable(diagnostic.title)}"]
    for source in sources:
        labels = [label for label in diagnostic.labels if label.span.source is source]
        head = diagnostic.span if source is diagnostic.span.source else labels[0].span
        arrow = "-->" if source is diagnostic.span.source else ":::"
        lines.append(f"{' ' * margin}{arrow} {printable(str(head))}")
        lines.append(f"{' ' * margin} |")
        lines.extend(_excerpt(source, labels, diagnostic.labels[0], margin))
    if diagnostic.help:
        lines.append(f"{' ' * margin} = help: {printable(diagnostic.help)}")
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _excerpt(source: Source, labels: Sequence[Label], primary: Label, margin: int) -> list[str]:
    """The labelled lines of one source, `...` where lines are left out."""
    by_line: dict[int, list[Label]] = {}
    for label in labels:
        by_line.setdefault(label.span.first.line, []).append(label)
    lines: list[str] = []
    previous = 0
    for number in sorted(by_line):
        if previous and number == previous + 2:
            between = _Line(source.line(number - 1), 0, 0)
            lines.append(f"{number - 1:>{margin}} | {between.text}")
        elif previous and number > previous + 1:
            lines.append("...")
        lines.extend(_labelled_line(source, number, by_line[number], primary, margin))
        previous = number
    return lines


def _labelled_line(source: Source, number: int, labels: Sequence[Label], primary: Label, margin: int) -> list[str]:
    """A source line, the marks beneath it, and the texts that do not fit beside the last mark."""
    text = source.line(number)
    ranges = []
    for label in labels:
        first, last = label.span.first, label.span.last
        end = last.column - 1 if last.line == number else len(text)
        ranges.append((first.column - 1, max(end, first.column), label))
    ranges.sort(key=lambda item: (item[0], item[1]))
    shown = _Line(text, ranges[0][0], ranges[-1][1])
    marks: list[str] = []
    texts: list[tuple[int, str]] = []
    for start, end, label in sorted(ranges, key=lambda item: item[2] is primary):
        left, right = shown.column(start), max(shown.column(end), shown.column(start) + 1)
        marks.extend(" " * (right - len(marks)))
        marks[left:right] = ("^" if label is primary else "-") * (right - left)
        if label.text:
            texts.append((left, printable(label.text)))
    texts.sort(key=lambda item: item[0])
    gutter = f"{' ' * margin} | "
    beside = ""
    rightmost = max(shown.column(start) for start, _, _ in ranges)
    if texts and texts[-1][0] == rightmost:
        beside = " " + texts.pop()[1]
    lines = [f"{number:>{margin}} | {shown.text}", gutter + "".join(marks) + beside]
    for index in range(len(texts) - 1, -1, -1):
        bars = "".join(("|" + " " * (texts[k + 1][0] - texts[k][0] - 1)) for k in range(index))
        indent = " " * texts[0][0]
        lines.append(gutter + indent + bars + texts[index][1])
    return lines


class _Line:
    """A source line as shown: escaped, cut to `WIDTH` columns around [start, end), with a map of columns."""

    def __init__(self, text: str, start: int, end: int) -> None:
        first = 0
        if len(text) > WIDTH and (end > WIDTH - 3 or start > WIDTH - 3):
            first = max(0, start - WIDTH // 3)
        cells = ["..."] if first else []
        self._columns: dict[int, int] = {}
        at = 3 if first else 0
        position = first
        while position < len(text) and at < WIDTH - 3:
            self._columns[position] = at
            cell = _cell(text[position])
            cells.append(cell)
            at += _width(cell)
            position += 1
        self._columns[position] = at
        if position < len(text):
            cells.append("...")
        self._first = first
        self._end = position
        self.text = "".join(cells).rstrip()

    def column(self, index: int) -> int:
        """The display column of code point `index`, from 0."""
        return self._columns[max(self._first, min(index, self._end))]


def _cell(character: str) -> str:
    if character == "\t":
        return "    "
    return printable(character)


def _width(cell: str) -> int:
    if len(cell) != 1 or cell.isascii():
        return len(cell)
    if unicodedata.combining(cell):
        return 0
    return 2 if unicodedata.east_asian_width(cell) in "WF" else 1


def printable(text: str) -> str:
    """The text with control, format, surrogate and unassigned characters written as escapes, cut when very long."""
    if len(text) > 2000:
        text = text[:2000] + "..."
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if _is_plain(c) else _escape(c) for c in text)


def _is_plain(character: str) -> bool:
    return unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{{{code:x}}}"
