"""Text -> logical lines of tokens, with every lexical fault and limit reported; no recursion, one pass.

A logical line ends at a line end outside brackets. Lines carry their indentation; parser.py turns it into blocks. The
terminals come from the grammar, so that file stays the only description of the language.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field

from graphc.diagnostics import Diagnostic, Label
from graphc.frontend.elsewhere import SIGNS
from graphc.frontend.limits import Limits
from graphc.source import Source, Span

OTHER_SPACES = "\N{NO-BREAK SPACE}\N{EM SPACE}\N{EN SPACE}\N{THIN SPACE}\N{NARROW NO-BREAK SPACE}\N{IDEOGRAPHIC SPACE}"
TAB = 4  # spaces that a tab in the indentation is taken for, once it has been reported
OPENING = {"(": ")", "[": "]", "{": "}"}
SOFT_KEYWORDS = {"input": "INPUT", "hyper": "HYPER", "metric": "METRIC"}
_DECLARING = re.compile(
    r"(use|dim|const|precision|block|model|optimizer|train|param|state|slot|require|scan|for|when|probe)\b(?!\s*[=,:(\[])"
    r"|(input|hyper|metric) [a-z]"
)
_ASSIGNING = re.compile(r"[a-z_][A-Za-z0-9_]*(?:\s*,\s*[a-z_][A-Za-z0-9_]*)*\s*(?:=(?!=)|:)")
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|\r(?!\n)")
_NUMBER_TAIL = re.compile(r"(?:0[xX][0-9a-fA-F.]*(?:[pP][+-]?[0-9]*)?|[0-9][0-9A-Za-z_.]*)")
# Latin letters and the foreign letters that look the same; only to make the message helpful.
_LOOKALIKES = dict(
    zip("аеорсухѕіјԁһАВЕКМНОРСТХαοΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "aeopcyxsijdhABEKMHOPCTXaoABEZHIKMNOPTYX", strict=True)
)


@dataclass(frozen=True, slots=True)
class Token:
    """A terminal of the grammar: its type, its text and its place."""

    type: str
    text: str
    span: Span


@dataclass(slots=True)
class LogicalLine:
    """The tokens of a line, its indentation, and whether a fault in it has been reported already."""

    indent: int
    tokens: list[Token] = field(default_factory=list)
    doc: str = ""
    is_broken: bool = False


class Terminals:
    """One regular expression over all terminals of the grammar, and its keywords."""

    def __init__(self, patterns: Mapping[str, tuple[str, bool]]) -> None:
        """`patterns`: terminal name -> (regular expression or text, whether it is plain text)."""
        self.keywords: dict[str, str] = {}
        signs: list[tuple[str, str]] = []
        others: list[tuple[str, str]] = []
        for name, (pattern, is_text) in patterns.items():
            if is_text and pattern.isidentifier():
                self.keywords[pattern] = name
            elif is_text:
                signs.append((name, re.escape(pattern)))
            else:
                others.append((name, pattern))
        compare = [(name, pattern) for name, pattern in others if name == "COMPARE"]
        rest = [(name, pattern) for name, pattern in others if name != "COMPARE"]
        signs.sort(key=lambda item: -len(item[1]))
        ordered = [*rest, *compare, *signs]
        self.regex = re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in ordered))


class Lexer:
    """Reads one source; `lines` and `diagnostics` are the result of `read()`."""

    def __init__(self, source: Source, terminals: Terminals, limits: Limits) -> None:
        self.source = source
        self.limits = limits
        self.terminals = terminals
        self.lines: list[LogicalLine] = []
        self.diagnostics: list[Diagnostic] = []
        self.module_doc = ""
        self._doc: list[str] = []
        self._doc_end = 0
        self._brackets: list[Token] = []
        self._line: LogicalLine | None = None
        self._has_tabs = self._has_other_spaces = False

    def read(self, lines: range | None = None) -> None:
        """Tokenises the text, or some lines of it (from 1)."""
        if not self._check_characters():
            return
        starts = self.source.line_starts
        for number in lines or range(1, len(starts) + 1):
            self._physical_line(self.source.line(number), starts[number - 1], number)
        if self._brackets:
            self._unclosed()
        self._finish_line()
        self._flush_doc(attach=False)

    def report(self, code: str, title: str, start: int, end: int, text: str = "", help: str = "") -> None:
        """Adds an error; the line it is in is not parsed."""
        self._add(Diagnostic(code, title, (Label(self.source.span(start, end), text),), help))

    def _add(self, diagnostic: Diagnostic) -> None:
        if len(self.diagnostics) < self.limits.errors:
            self.diagnostics.append(diagnostic)
        if self._line is not None:
            self._line.is_broken = True

    def _check_characters(self) -> bool:
        """Control and invisible characters anywhere are errors: what is read must be what is shown."""
        text = self.source.text
        for match in _FORBIDDEN.finditer(text):
            self._bad_character(match.start(), "control character")
            if len(self.diagnostics) >= 10:
                return False
        if not text.isascii():
            for match in re.finditer(r"[^\x00-\x7f]", text):
                category = unicodedata.category(match.group())
                if category in ("Cf", "Zl", "Zp", "Cs", "Co", "Cn"):
                    self._bad_character(match.start(), "invisible or unassigned character")
                    if len(self.diagnostics) >= 10:
                        return False
        return not self.diagnostics

    def _bad_character(self, at: int, kind: str) -> None:
        code = ord(self.source.text[at])
        name = unicodedata.name(chr(code), "")
        title = f"{kind} U+{code:04X}" + (f" ({name})" if name else "")
        self.report("GC0003", title, at, at + 1, "not allowed, not even in a comment", "delete it")

    def _physical_line(self, line: str, start: int, number: int) -> None:
        stripped = line.lstrip(" \t" + OTHER_SPACES)
        indent = len(line) - len(stripped)
        if self._brackets and stripped and self._line is not None:
            left = indent < self._line.indent and stripped[0] not in ")]}#"
            left = left or (indent == self._line.indent and _ASSIGNING.match(stripped) is not None)
            if left or (indent <= self._line.indent + 4 and _DECLARING.match(stripped)):
                self._unclosed()
                self._finish_line()
        if not self._brackets:
            self._finish_line()
            if not stripped or stripped.startswith("#"):
                self._comment_line(stripped, number)
                return
            if self._doc and self._doc_end != number - 1:
                self._flush_doc(attach=False)
            width = len(line[:indent].expandtabs(TAB))
            self._line = LogicalLine(width, doc=self._flush_doc(attach=True))
            tab = line.find("\t", 0, indent)
            if tab >= 0 and not self._has_tabs:
                self._has_tabs = True  # the other lines are read as if a tab were spaces
                help = "indent with spaces, everywhere in the file"
                self.report("GC0006", "a tab in the indentation", start + tab, start + tab + 1, "", help)
            other = next((i for i in range(indent) if line[i] in OTHER_SPACES), None)
            if other is not None and not self._has_other_spaces:
                self._has_other_spaces = True  # the other lines are read as if they had plain ones
                title = f"{_named(line[other])} in the indentation"
                self.report("GC0006", title, start + other, start + other + 1, "", "type plain spaces instead")
        self._tokens(start + indent, start + len(line))

    def _comment_line(self, stripped: str, number: int) -> None:
        if stripped.startswith("##"):
            if self._doc and self._doc_end != number - 1:
                self._flush_doc(attach=False)
            self._doc.append(stripped.lstrip("#").strip())
            self._doc_end = number

    def _flush_doc(self, *, attach: bool) -> str:
        """Ends a run of doc comments: it belongs to the line after it, or, first in the file, to the module."""
        text = "\n".join(self._doc)
        self._doc.clear()
        if text and not attach and not self.module_doc and not self.lines:
            self.module_doc = text
        return text

    def _tokens(self, at: int, end: int) -> None:
        text, source = self.source.text, self.source
        match_at = self.terminals.regex.match
        keywords = self.terminals.keywords
        line = self._line
        assert line is not None
        tokens = line.tokens
        while at < end:
            character = text[at]
            if character in " \t":
                at += 1
                continue
            if character == "#":
                if not self.source.text.startswith("##", at):
                    return
                if not line.doc:
                    line.doc = text[at:end].lstrip("#").strip()
                return
            match = match_at(text, at, end)
            if match is None or match.end() == at:
                at = self._no_token(at, end)
                continue
            kind, word, stop = str(match.lastgroup), match.group(), match.end()
            if kind in ("NAME", "DIM", "NUMBER", "STRING"):
                stop = self._check_word(kind, at, stop, end)
                kind = keywords.get(word, kind)
            token = Token(kind, word, source.span(at, stop))
            if character in "()[]":
                self._bracket(token)
            tokens.append(token)
            at = stop
        if len(tokens) > self.limits.line_tokens and not line.is_broken:
            self.report("GC0004", f"a line of more than {self.limits.line_tokens} words and signs", at - 1, at)

    def _check_word(self, kind: str, at: int, stop: int, end: int) -> int:
        """Limits of names, numbers and strings; returns where the word really ends."""
        text, limits = self.source.text, self.limits
        length = stop - at
        if kind == "NUMBER":
            if (stop < end and (text[stop].isalnum() or text[stop] in "_")) or text[at : at + 2] in ("0x", "0X"):
                tail = _NUMBER_TAIL.match(text, at, end)
                stop = max(stop, tail.end() if tail else stop)
                shown = text[at : min(stop, at + 40)]
                self.report("GC0005", f"`{shown}` is not a number", at, stop, "", "numbers are written 12, 0.5 or 1e-3")
            elif length > limits.number:
                self.report("GC0004", f"a number of {length} characters; the limit is {limits.number}", at, stop)
        elif kind == "STRING" and length > limits.text:
            self.report("GC0004", f"a string of {length} characters; the limit is {limits.text}", at, stop)
        elif length > limits.identifier and kind != "STRING":
            self.report("GC0004", f"a name of {length} characters; the limit is {limits.identifier}", at, stop)
        return stop

    def _no_token(self, at: int, end: int) -> int:
        """Reports text that begins no word; returns where to go on."""
        character = self.source.text[at]
        if character == '"':
            self.report("GC0007", "this string has no end", at, end, "", 'close it with " on the same line')
            return end
        if character == "'":
            self.report("GC0005", "strings are written with double quotes", at, at + 1, "", SIGNS["'"])
            return end
        if character.isascii():
            stop = at + (2 if self.source.text[at : at + 2] in ("&&", "||") else 1)
            title = f"`{self.source.text[at:stop]}` means nothing here"
            self.report("GC0005", title, at, stop, "", SIGNS.get(character, ""))
            return stop
        stop = at + 1
        while stop < end and not self.source.text[stop].isascii():
            stop += 1
        if character in OTHER_SPACES:
            self.report("GC0005", f"{_named(character)} between words", at, stop, "", "type a plain space instead")
            return stop
        twin = _LOOKALIKES.get(character, "")
        hint = f"it looks like `{twin}`: type the Latin letter" if twin else "names and signs are ASCII"
        title = f"`{character}` ({_named(character)}) cannot be part of a name"
        self.report("GC0005", title, at, stop, "", hint)
        return stop

    def _bracket(self, token: Token) -> None:
        if token.text in OPENING:
            self._brackets.append(token)
            if len(self._brackets) == self.limits.nesting + 1:
                title = f"brackets nested deeper than {self.limits.nesting}"
                self.report("GC0004", title, token.span.start, token.span.end)
            return
        if self._brackets and OPENING[self._brackets[-1].text] == token.text:
            self._brackets.pop()
            return
        where = Label(token.span, "this bracket")
        if not self._brackets:
            self._add(Diagnostic("GC0008", f"`{token.text}` closes nothing", (where,)))
        else:
            opened = self._brackets.pop()
            labels = (where, Label(opened.span, "was to be closed first"))
            title = f"`{opened.text}` is closed by `{token.text}`"
            self._add(Diagnostic("GC0008", title, labels))

    def _unclosed(self) -> None:
        opened = self._brackets[-1]
        self._brackets.clear()
        if self._line is not None and not self._line.is_broken:
            title = f"`{opened.text}` is never closed"
            self.report("GC0008", title, opened.span.start, opened.span.end, "", f"add `{OPENING[opened.text]}`")

    def _finish_line(self) -> None:
        if self._line is None:
            return
        tokens = self._line.tokens
        if len(tokens) >= 2 and tokens[0].text in SOFT_KEYWORDS and tokens[1].type == "NAME":
            tokens[0] = Token(SOFT_KEYWORDS[tokens[0].text], tokens[0].text, tokens[0].span)
        for at, token in enumerate(tokens[:-4]):
            order = tokens[at + 3]
            if token.type == "SCAN" and order.text == "reverse" and tokens[at + 4].type != "COLON":
                tokens[at + 3] = Token("REVERSE", order.text, order.span)
        self.lines.append(self._line)
        self._line = None


def _named(character: str) -> str:
    """The code point and the name that Unicode gives it."""
    return f"U+{ord(character):04X} {unicodedata.name(character, '?')}"
