"""Tokens of the graph text, and the phrases that need no graph: names, numbers, dimensions, types."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from graphc.ir import dims
from graphc.ir.dims import Dim, SymDim
from graphc.ir.node import AnyType
from graphc.ir.types import DTYPES, TensorType, TupleType

PLAIN = re.compile(r"[A-Za-z_]\w*(?:\.\w+)*", re.ASCII)
RESERVED = frozenset({"true", "false", "none", "inf", "nan", "graph", *DTYPES})
MAX_DIGITS, MAX_NESTING, MAX_TERMS = 40, 100, 1000

_TOKENS = re.compile(
    r"""(?P<space>[ \t\r]+|\#.*)
    |(?P<value>%(?:\d+|[A-Za-z_]\w*(?:\.\w+)*|"(?:[^"\\]|\\.)*")(?:@[A-Za-z_]\w*)?)
    |(?P<ref>@\d+)
    |(?P<dim>\$"(?:[^"\\]|\\.)*")
    |(?P<string>"(?:[^"\\]|\\.)*")
    |(?P<float>\d+(?:\.\d+)?[eE][+-]?\d+|\d+\.\d+|nan\(0x[0-9a-f]{16}\))
    |(?P<int>\d+)
    |(?P<name>[A-Za-z_]\w*(?:\.\w+)*)
    |(?P<punct>//|>=|<=|[-+*=:,()\[\]{}])""",
    re.VERBOSE | re.ASCII,
)
T = TypeVar("T")


class GraphTextError(ValueError):
    """The text is no graph; `line` counts from 1."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(f"line {line}: {message}")
        self.line, self.message = line, message


class Token(NamedTuple):
    kind: str
    text: str
    line: int


def tokenise(text: str) -> list[Token]:
    """The tokens of a text without spaces and comments, ended by one of kind `end`."""
    tokens: list[Token] = []
    number = 0
    for number, line in enumerate(text.split("\n"), 1):
        at = 0
        while at < len(line):
            found = _TOKENS.match(line, at)
            if found is None:
                raise GraphTextError(number, f"unexpected character {line[at]!r}")
            at = found.end()
            if found.lastgroup != "space":
                tokens.append(Token(str(found.lastgroup), found.group(), number))
    return [*tokens, Token("end", "the end of the text", number)]


class Cursor:
    """A place in the tokens; `sizes` are the dimension symbols declared so far."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens, self.at, self.depth = tokens, 0, 0
        self.sizes: dict[str, Dim] = {}

    # Tokens

    def peek(self) -> Token:
        return self.tokens[self.at]

    def error(self, message: str, token: Token | None = None) -> GraphTextError:
        token = token or self.peek()
        found = f", found {token.text}" if message.startswith("expected") else ""
        return GraphTextError(token.line, message + found)

    def take(self, kind: str, what: str) -> Token:
        token = self.peek()
        if token.kind != kind:
            raise self.error(f"expected {what}")
        self.at += 1
        return token

    def accept(self, text: str) -> bool:
        token = self.peek()
        if token.kind not in ("punct", "name") or token.text != text:
            return False
        self.at += 1
        return True

    def expect(self, text: str) -> None:
        if not self.accept(text):
            raise self.error(f"expected {text!r}")

    def items(self, item: Callable[[], T], close: str) -> list[T]:
        """item, item, ... up to and including the closing bracket."""
        found: list[T] = []
        while not self.accept(close):
            if found:
                self.expect(",")
            found.append(item())
        return found

    def nest(self) -> None:
        self.depth += 1
        if self.depth > MAX_NESTING:
            raise self.error(f"nested deeper than {MAX_NESTING}")

    # Words and numbers

    def name(self) -> str:
        return self.string() if self.peek().kind == "string" else self.take("name", "a name").text

    def string(self) -> str:
        token = self.take("string", "a string")
        return self.unquote(token.text, token)

    def unquote(self, text: str, token: Token) -> str:
        try:
            return str(json.loads(text))
        except ValueError:
            raise self.error("a string with a malformed escape", token) from None

    def integer(self) -> int:
        token = self.take("int", "an integer")
        if len(token.text) > MAX_DIGITS:
            raise self.error(f"an integer of more than {MAX_DIGITS} digits", token)
        return int(token.text)

    # Dimensions: sums of products of atoms

    def dim(self) -> Dim:
        self.nest()
        total = self.term()
        while self.peek().text in ("+", "-"):
            total = total + self.term() if self.accept("+") else self._minus(total)
        self.depth -= 1
        return total

    def _minus(self, total: Dim) -> Dim:
        self.expect("-")
        return total - self.term()

    def term(self) -> Dim:
        negative = self.accept("-")
        total = self.atom()
        while self.peek().text in ("*", "//"):
            token = self.peek()
            if self.accept("*"):
                total = total * self.atom()
                if isinstance(total, SymDim) and len(total.terms) > MAX_TERMS:
                    raise self.error(f"a dimension of more than {MAX_TERMS} terms", token)
                continue
            self.expect("//")
            divisor = self.atom()
            if dims.bounds(divisor)[0] <= 0:
                raise self.error("a dimension can only be divided by a positive one", token)
            total = dims.floordiv(total, divisor)
        return -total if negative else total

    def atom(self) -> Dim:
        token = self.peek()
        if token.kind == "int":
            return self.integer()
        if self.accept("("):
            inner = self.dim()
            self.expect(")")
            return inner
        if token.kind not in ("name", "dim"):
            raise self.error("expected a dimension")
        self.at += 1
        name = token.text if token.kind == "name" else self.unquote(token.text[1:], token)
        if name not in self.sizes:
            raise self.error(f"dimension {name} is not declared", token)
        return self.sizes[name]

    # Types

    def type(self) -> AnyType:
        if self.accept("("):
            return TupleType(tuple(self.items(self.tensor_type, ")")))
        return self.tensor_type()

    def tensor_type(self) -> TensorType:
        token = self.take("name", "a type")
        if token.text not in DTYPES:
            raise self.error(f"unknown element type {token.text}", token)
        return TensorType(DTYPES[token.text], tuple(self.items(self.dim, "]")) if self.accept("[") else ())
