"""The parser's automaton against Lark's own, driven by the same tables, and parts of a text against the whole."""

from __future__ import annotations

import random
from dataclasses import fields
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from lark import Lark, UnexpectedToken

from graphc.diagnostics import render_all
from graphc.frontend import parser
from graphc.frontend.automaton import Terminal, Unexpected
from graphc.frontend.standard import STANDARD, standard
from graphc.frontend.syntax_expression import Syntax
from graphc.source import Source, Span

ROOT = Path(__file__).parents[2]
SIGNS = ("(", ")", "[", "]", ",", ":", "=", "->", "|>", "...", "x", "X", "1.5", "for", "scan", "param")


class Theirs:
    """Lark's interactive parser as a `Machine`."""

    lark: Lark

    def __init__(self, automaton: object) -> None:
        self._parser: Any = self.lark.parse_interactive("")
        self.states, self.values = self._parser.parser_state.state_stack, self._parser.parser_state.value_stack

    def feed(self, terminal: Terminal) -> object:
        try:
            return self._parser.feed_token(terminal)
        except UnexpectedToken:
            raise Unexpected from None

    def accepts(self) -> set[str]:
        found: set[str] = self._parser.accepts()
        return found


def spoilt(text: str, choose: random.Random) -> str:
    """The text with a word less or a sign more."""
    lines = text.split("\n")
    number = choose.randrange(len(lines))
    words = lines[number].split(" ")
    place = choose.randrange(len(words))
    words[place : place + choose.randrange(2)] = choose.choices(SIGNS, k=choose.randrange(2))
    return "\n".join([*lines[:number], " ".join(words), *lines[number + 1 :]])


def test_trees_and_messages_are_those_of_lark(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the examples and the standard library, and for what is left when a word is missing or one is too many."""
    grammar = files("graphc.frontend").joinpath("grammar.lark").read_text(encoding="utf-8")
    Theirs.lark = Lark(
        grammar,
        parser="lalr",
        lexer="basic",
        start="module",
        maybe_placeholders=True,
        transformer=parser.language()[1],
    )
    choose = random.Random(7)
    wrong = 0
    for file in sorted([*ROOT.glob("examples/*/*.gc"), *ROOT.glob("frontend/std/*.gc")]):
        whole = file.read_text(encoding="utf-8")
        for text in (whole, *(spoilt(whole, choose) for _ in range(4))):
            source = Source("a.gc", text)
            tree, mistakes = parser.parse(source)
            with monkeypatch.context() as patch:
                patch.setattr(parser, "Machine", Theirs)
                expected, theirs = parser.parse(source)
            assert plain(tree) == plain(expected)
            assert render_all(mistakes) == render_all(theirs)
            wrong += tree is None
    assert wrong > 50


def test_the_standard_library_is_the_same_read_whole_or_one_by_one() -> None:
    """Every declaration is found, and is what it is in the file, at the same places."""
    for name in STANDARD:
        declared = standard(name)
        tree, _ = parser.parse(declared.source)
        assert tree is not None
        assert [plain(one) for one in tree.declarations] == [plain(one) for one in declared.values()]
        assert [getattr(one, "name").name for one in tree.declarations] == list(declared)  # noqa: B009


def plain(part: object) -> object:
    """A part of a syntax tree, with its places but without the text."""
    if isinstance(part, Source):
        return None
    if isinstance(part, Span):
        return part.start, part.end
    if isinstance(part, tuple | list):
        return tuple(plain(one) for one in part)
    if isinstance(part, Syntax):
        return type(part), tuple(plain(getattr(part, one.name)) for one in fields(part))
    return part
