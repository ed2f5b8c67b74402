"""Lark's reductions -> syntax tree: paths, types and expressions. tree.py has the statements and the whole."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from graphc.diagnostics import Diagnostic, Label
from graphc.frontend import syntax as s
from graphc.frontend.lexer import Token
from graphc.source import Span

Node = TypeVar("Node")
Children = list[Any]
Report = Callable[[Diagnostic], None]


class Trailer:
    """The `arguments` of a call, before they belong to one."""

    __slots__ = ("arguments",)

    def __init__(self, arguments: tuple[s.Argument, ...]) -> None:
        self.arguments = arguments


def identifier(token: Token) -> s.Identifier:
    return s.Identifier(token.span, token.text)


def of(kind: type[Node], children: Iterable[Any]) -> tuple[Node, ...]:
    """The children of a class, in order."""
    return tuple(child for child in children if isinstance(child, kind))


def tokens(kind: str, children: Iterable[Any]) -> tuple[Token, ...]:
    """The tokens of a terminal, in order."""
    return tuple(child for child in children if isinstance(child, Token) and child.type == kind)


def span_of(children: Children) -> Span:
    """From the first child to the last that has a place."""
    placed: list[Span] = [child.span for child in children if child is not None and hasattr(child, "span")]
    return placed[0].to(placed[-1])


def arguments_of(children: Children) -> tuple[s.Argument, ...]:
    return next((child.arguments for child in children if isinstance(child, Trailer)), ())


_COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})


class ExpressionBuilder(threading.local):
    """The callbacks. `report` receives what is wrong although the grammar accepts it; `docs` maps a line to its doc.

    One object serves the one Lark parser of the process; what belongs to a parse is per thread and set by `begin`.
    """

    report: Report
    docs: dict[int, str]
    nesting: int

    def begin(self, report: Report, docs: dict[int, str], nesting: int) -> None:
        """Starts a parse in this thread."""
        self.report = report
        self.docs = docs
        self.nesting = nesting

    def _doc(self, span: Span) -> str:
        return self.docs.get(span.start, "")

    def _error(self, code: str, title: str, span: Span, text: str = "", help: str = "") -> None:
        self.report(Diagnostic(code, title, (Label(span, text),), help))

    def _shallow(self, node: s.Expression) -> s.Expression:
        """The node, or a stand-in when it is too deep to be walked."""
        if node.depth <= self.nesting:
            return node
        self._error("GC0004", f"an expression nested deeper than {self.nesting}", node.span, "", "name parts of it")
        return s.Number(node.span, 0)

    # Types and paths

    def type(self, children: Children) -> s.Type:
        axes = tuple(
            s.BroadcastAxis(axis.span) if isinstance(axis, s.Name) and axis.name == "_" else axis
            for axis in of(s.Expression, children)
        )
        return s.Type(span_of(children), identifier(children[0]), axes)

    def leading_axes(self, children: Children) -> s.LeadingAxes:
        return s.LeadingAxes(children[0].span)

    def path(self, children: Children) -> s.Path:
        return s.Path(span_of(children), tuple(identifier(token) for token in children))

    # Expressions

    def pipe(self, children: Children) -> s.Expression:
        return self._shallow(s.Pipe(span_of(children), children[0], children[-1]))

    def binary(self, children: Children) -> s.Expression:
        left, sign, right = children
        chains = sign.type == "COMPARE" and isinstance(left, s.Binary) and left.operator in _COMPARISONS
        if chains and not self._is_parenthesised(left):
            title = f"comparisons do not chain: `{left.operator}` then `{sign.text}`"
            self._error("GC0012", title, sign.span, "", "write a < b and b < c")
        return self._shallow(s.Binary(left.span.to(right.span), sign.text, sign.span, left, right))

    @staticmethod
    def _is_parenthesised(node: s.Expression) -> bool:
        text = node.span.source.text
        inner = node.children()[0].span.start
        return node.span.start != inner and text[node.span.start] == "(" and text[node.span.end - 1] == ")"

    def unary(self, children: Children) -> s.Expression:
        sign, operand = children
        return self._shallow(s.Unary(sign.span.to(operand.span), sign.text, operand))

    def call(self, children: Children) -> s.Expression:
        return self._shallow(s.Call(span_of([children[0], children[-1]]), children[0], arguments_of(children)))

    def grad_call(self, children: Children) -> s.Expression:
        function = s.Name(children[0].span, "grad")
        return self._shallow(s.Call(children[0].span.to(children[-1].span), function, arguments_of(children)))

    def index(self, children: Children) -> s.Expression:
        items = of(s.Expression, children[1:])
        return self._shallow(s.Subscript(children[0].span.to(children[-1].span), children[0], items))

    def attribute(self, children: Children) -> s.Expression:
        return self._shallow(s.Attribute(span_of(children), children[0], identifier(children[1])))

    def slice(self, children: Children) -> s.Slice:
        start, stop, step = [*children[::2], None][:3]
        return s.Slice(span_of(children), start, stop, step)

    def bound(self, children: Children) -> s.Expression | None:
        return children[0] if children else None

    def ellipsis(self, children: Children) -> s.EllipsisLiteral:
        return s.EllipsisLiteral(children[0].span)

    def number(self, children: Children) -> s.Number:
        token = children[0]
        text = token.text
        if text.isdigit():
            return s.Number(token.span, int(text))
        value = float(text)
        if value in (float("inf"), float("-inf")):
            self._error("GC0005", f"`{text}` is larger than any f64", token.span, "", "infinity is written inf")
        elif value == 0.0 and any(digit in "123456789" for digit in text.lower().partition("e")[0]):
            self._error("GC0005", f"`{text}` is smaller than any f64 above zero", token.span, "", "write 0.0")
        return s.Number(token.span, value)

    def string(self, children: Children) -> s.Text:
        return s.Text(children[0].span, children[0].text[1:-1])

    def name(self, children: Children) -> s.Name:
        return s.Name(children[0].span, children[0].text)

    def dimension_name(self, children: Children) -> s.DimensionName:
        return s.DimensionName(children[0].span, children[0].text)

    def none(self, children: Children) -> s.NoneLiteral:
        return s.NoneLiteral(children[0].span)

    def bracket_list(self, children: Children) -> s.Expression:
        return self._shallow(s.Sequence(span_of(children), of(s.Expression, children), True))

    def group(self, children: Children) -> s.Expression:
        return self._shallow(s.Sequence(span_of(children), of(s.Expression, children), False))

    def parenthesised(self, children: Children) -> s.Expression:
        inner: s.Expression = children[1]
        wide = children[0].span.to(children[2].span)
        return _with_span(inner, wide)

    def einsum(self, children: Children) -> s.Einsum:
        output, output_span = next(child for child in children if isinstance(child, tuple))
        return s.Einsum(children[0].span.to(children[-1].span), of(s.EinsumTerm, children), output, output_span)

    def einsum_term(self, children: Children) -> s.EinsumTerm:
        path, (labels, end) = children
        operand: s.Expression = s.Name(path.parts[0].span, path.parts[0].name)
        for part in path.parts[1:]:
            operand = s.Attribute(path.parts[0].span.to(part.span), operand, part)
        return s.EinsumTerm(path.span.to(end), operand, labels)

    def labels(self, children: Children) -> tuple[tuple[s.Identifier, ...], Span]:
        return tuple(identifier(token) for token in tokens("NAME", children)), span_of(children)

    def arguments(self, children: Children) -> Trailer:
        return Trailer(of(s.Argument, children))

    def keyword(self, children: Children) -> s.Argument:
        return s.Argument(span_of(children), identifier(children[0]), children[1])

    def positional(self, children: Children) -> s.Argument:
        return s.Argument(children[0].span, None, children[0])


def _with_span(node: s.Expression, span: Span) -> s.Expression:
    """A copy of the node whose span includes its parentheses; its children are shared."""
    copy = object.__new__(type(node))
    copy.__dict__.update(node.__dict__)
    copy.__dict__["span"] = span
    return copy
