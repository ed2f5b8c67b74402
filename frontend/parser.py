"""Text -> syntax tree, with every syntax error of the file.

The lexer cuts the text into logical lines. Lines are fed to an LALR automaton one after the other; when a line
does not fit, its error is reported, the automaton goes back to where the line began, and the line is replaced by a
stand-in (for the head of a block: by a head that fits, so that its body is still read). Nothing here recurses.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from threading import Lock

from graphc.diagnostics import Diagnostic, Label, has_errors
from graphc.frontend import syntax as s
from graphc.frontend.automaton import END, Automaton, Machine, Unexpected
from graphc.frontend.encoding import decode, too_large
from graphc.frontend.lexer import Lexer, LogicalLine, Terminals, Token
from graphc.frontend.limits import DEFAULT_LIMITS, Limits
from graphc.frontend.syntax_error import explain_line
from graphc.frontend.tables import tables_of
from graphc.frontend.tree import TreeBuilder
from graphc.source import Source

HEADS = ("block", "model", "optimizer", "train", "scan", "for", "when")
_STAND_INS = {
    "train": ("TRAIN NAME COLON"),
    "optimizer": ("OPTIMIZER NAME LPAR NAME COMMA NAME RPAR COLON"),
    "block": ("BLOCK NAME LPAR NAME COLON NAME RPAR ARROW LPAR NAME COLON NAME RPAR COLON"),
    "inner": ("WHEN NAME COLON"),
}
_build_lock = Lock()


@cache
def _build() -> tuple[Automaton, TreeBuilder, Terminals]:
    tables = tables_of(files("graphc.frontend").joinpath("grammar.lark").read_text(encoding="utf-8"))
    builder = TreeBuilder()
    return Automaton(tables, builder), builder, Terminals(tables.terminals)


def language() -> tuple[Automaton, TreeBuilder, Terminals]:
    """The automaton, its callbacks and the terminals; built once in a process, on first use."""
    with _build_lock:
        return _build()


def parse_bytes(name: str, data: bytes, limits: Limits = DEFAULT_LIMITS) -> tuple[s.Module | None, list[Diagnostic]]:
    """As `parse`, from the bytes of a file: UTF-8, with or without a byte order mark."""
    source, diagnostics = decode(name, data, limits)
    if diagnostics:
        return None, diagnostics
    return parse(source, limits)


def parse(
    source: Source, limits: Limits = DEFAULT_LIMITS, lines: range | None = None
) -> tuple[s.Module | None, list[Diagnostic]]:
    """The tree of a text (or some of its lines, from 1), or None when there is an error; all errors in their order."""
    size = len(source.text) if source.text.isascii() else len(source.text.encode("utf-8", "replace"))
    if size > limits.source_bytes:
        return None, too_large(Source(source.name, ""), size, limits)[1]
    if source.text.startswith("\N{ZERO WIDTH NO-BREAK SPACE}"):
        source = Source(source.name, source.text[1:])
    automaton, builder, terminals = language()
    lexer = Lexer(source, terminals, limits)
    lexer.read(lines)
    feeder = _Feeder(source, automaton, limits, lexer.diagnostics)
    builder.begin(feeder.diagnostics.append, {}, limits.nesting)
    declarations = feeder.feed(_joined(lexer.lines), builder.docs) if lexer.lines else ()
    module = s.Module(source.span(0, len(source.text)), source, declarations, lexer.module_doc)
    diagnostics = feeder.diagnostics[: limits.errors]
    return (None if has_errors(diagnostics) else module), diagnostics


def _joined(lines: Iterable[LogicalLine]) -> list[LogicalLine]:
    """The lines, an annotation that stands alone joined to the line it is about."""
    joined: list[LogicalLine] = []
    waiting: LogicalLine | None = None
    for line in lines:
        if waiting is not None:
            line.tokens[:0] = waiting.tokens
            line.doc = waiting.doc or line.doc
            line.indent = waiting.indent
            line.is_broken |= waiting.is_broken
            waiting = None
        if _is_annotation(line.tokens):
            waiting = line
        else:
            joined.append(line)
    if waiting is not None:
        joined.append(waiting)
    return joined


def _is_annotation(tokens: Sequence[Token]) -> bool:
    if len(tokens) < 2 or tokens[0].type != "AT":
        return False
    rest = tokens[2:]
    while rest and rest[0].type == "AT":
        rest = rest[2:]
    return not rest or (rest[0].type == "LPAR" and rest[-1].type == "RPAR")


class _Feeder:
    """Feeds logical lines to the automaton and recovers at line ends."""

    def __init__(self, source: Source, automaton: Automaton, limits: Limits, diagnostics: list[Diagnostic]) -> None:
        self.source = source
        self.limits = limits
        self.diagnostics = diagnostics
        self.machine = Machine(automaton)
        self.levels = [0]

    def feed(self, lines: Sequence[LogicalLine], docs: dict[int, str]) -> tuple[s.Statement, ...]:
        """Every line; returns the declarations."""
        for index, line in enumerate(lines):
            if line.doc and line.tokens:
                docs[line.tokens[0].span.start] = line.doc
            following = lines[index + 1] if index + 1 < len(lines) else None
            self._close_to(line)
            opens = following is not None and following.indent > line.indent and self._may_open(line)
            self._line(line, following, opens)
            if len(self.diagnostics) >= self.limits.errors:
                return ()  # perhaps between a head and its body
        end = self.source.span(len(self.source.text), len(self.source.text))
        for _ in self.levels[1:]:
            self._give(Token("_DEDENT", "", end))
        result = self.machine.feed(Token(END, "", end))
        return result if isinstance(result, tuple) else ()

    def _give(self, token: Token) -> None:
        self.machine.feed(token)

    def _close_to(self, line: LogicalLine) -> None:
        """Ends the blocks that are indented deeper than the line."""
        where = line.tokens[0].span if line.tokens else self.source.span(0, 0)
        while line.indent < self.levels[-1]:
            self.levels.pop()
            self._give(Token("_DEDENT", "", where))
        if line.indent > self.levels[-1]:
            if not line.is_broken:
                title = "unexpected indentation"
                text = f"{line.indent} spaces, where the lines above have {self.levels[-1]}"
                self.diagnostics.append(Diagnostic("GC0006", title, (Label(where, text),)))
                line.is_broken = True
            line.indent = self.levels[-1]

    @staticmethod
    def _may_open(line: LogicalLine) -> bool:
        """Whether the line is, or was meant as, the head of a block."""
        words = [token for token in line.tokens if token.type not in ("AT",)]
        is_head = any(token.text in HEADS for token in words[:4])
        return bool(line.tokens) and (line.tokens[-1].type == "COLON" or is_head)

    def _line(self, line: LogicalLine, following: LogicalLine | None, opens: bool) -> None:
        if not line.tokens:  # a body of such a line alone is not empty
            if line.is_broken:
                self._give(Token("BROKEN", "", self.source.span(0, 0)))
            return
        states, values = list(self.machine.states), list(self.machine.values)
        end = line.tokens[-1].span
        newline = Token("_NL", "", self.source.span(end.end, end.end + 1))
        count = len(self.diagnostics)
        fits = not line.is_broken and self._try([*line.tokens, newline], line)
        is_head = line.tokens[-1].type == "COLON"
        if fits and is_head and not opens:
            title = "expected an indented body below this line"
            self.diagnostics.append(Diagnostic("GC0010", title, (Label(end),), "", place=line.tokens[0].span))
            fits = False
            opens = False
        if fits and not opens:
            return
        indent = Token("_INDENT", "", newline.span)
        if not fits:
            self.machine.states[:], self.machine.values[:] = states, values
            if not opens:
                self._give(Token("BROKEN", "", line.tokens[0].span))
                return
            for token in (*self._stand_in(line), newline):
                self._give(token)
        assert following is not None
        if not self._try([indent], line):
            if len(self.diagnostics) == count:
                self.diagnostics.append(Diagnostic("GC0006", "unexpected indentation", (Label(end),)))
            return
        self.levels.append(following.indent)
        if len(self.levels) == self.limits.nesting + 2:
            title = f"blocks nested deeper than {self.limits.nesting}"
            self.diagnostics.append(Diagnostic("GC0004", title, (Label(line.tokens[0].span),)))

    def _stand_in(self, line: LogicalLine) -> list[Token]:
        kinds = [token.text for token in line.tokens[:6]]
        kind = next((word for word in kinds if word in ("train", "optimizer")), "block")
        if len(self.levels) > 1:
            kind = "inner"
        span = line.tokens[0].span
        return [Token(terminal, "training", span) for terminal in _STAND_INS[kind].split()]

    def _try(self, tokens: Sequence[Token], line: LogicalLine) -> bool:
        """Feeds tokens; on the first that does not fit, reports it and says False."""
        states, values = list(self.machine.states), list(self.machine.values)
        for index, token in enumerate(tokens):
            try:
                self._give(token)
            except Unexpected:
                # Back to before the reductions that the token caused: they narrow down what is expected.
                self.machine.states[:], self.machine.values[:] = states, values
                count = len(self.diagnostics)
                for good in tokens[:index]:
                    self._give(good)
                del self.diagnostics[count:]
                accepted = self.machine.accepts()
                self.diagnostics.append(explain_line(tokens, index, accepted, len(self.levels) > 1))
                return False
        return True
