"""Lark's reductions -> syntax tree: one method for each rule of grammar.lark, called bottom-up while parsing.

Children are tokens (`lexer.Token`) and what other methods returned. Rules marked `!` in the grammar keep all their
tokens, so that spans reach to the closing bracket.
"""

from __future__ import annotations

from typing import Any

from graphc.frontend import syntax as s
from graphc.frontend.lexer import Token
from graphc.frontend.tree_expression import Children, ExpressionBuilder, arguments_of, identifier, of, span_of, tokens
from graphc.source import Span


class Chain:
    """A list that grows at its end and shares its beginning: a failed line leaves what came before it untouched."""

    __slots__ = ("before", "last")

    def __init__(self, before: Chain | None, last: Any) -> None:
        self.before = before
        self.last = last

    def items(self) -> list[Any]:
        """The elements in order; a line of several declarations is a tuple of them."""
        reverse: list[Any] = []
        at: Chain | None = self
        while at is not None:
            if isinstance(at.last, tuple):
                reverse.extend(reversed(at.last))
            else:
                reverse.append(at.last)
            at = at.before
        return reverse[::-1]


class TreeBuilder(ExpressionBuilder):
    """The callbacks of declarations and statements, and by inheritance of expressions."""

    # Lists

    def first(self, children: Children) -> Chain:
        return Chain(None, children[0])

    def more(self, children: Children) -> Chain:
        return Chain(children[0], children[1])

    def module(self, children: Children) -> tuple[s.Statement, ...]:
        return tuple(children[0].items()) if children else ()

    def body(self, children: Children) -> Chain:
        return next(child for child in children if isinstance(child, Chain))

    def broken(self, children: Children) -> s.Broken:
        return s.Broken(children[0].span)

    # Declarations

    def use(self, children: Children) -> s.Use:
        paths, texts = of(s.Path, children), tokens("STRING", children)
        module: s.Path | s.Text = paths[0] if paths else s.Text(texts[0].span, texts[0].text[1:-1])
        names = next((child for child in children if isinstance(child, list)), [])
        alias = tokens("NAME", children)
        return s.Use(span_of(children[:-1]), module, tuple(names), identifier(alias[0]) if alias else None)

    def names(self, children: Children) -> list[s.Identifier]:
        return [identifier(token) for token in children]

    def dims(self, children: Children) -> tuple[s.Statement, ...]:
        return of(s.Dimension, children)

    def dim(self, children: Children) -> s.Dimension:
        name, value, upper = children
        span = span_of(children)
        if upper is not None:
            return s.Dimension(span, identifier(name), None, (value, upper))
        return s.Dimension(span, identifier(name), value, None)

    def constants(self, children: Children) -> tuple[s.Statement, ...]:
        return of(s.Constant, children)

    def constant(self, children: Children) -> s.Constant:
        name, type, value = children
        return s.Constant(span_of(children), identifier(name), type, value, self._doc(name.span))

    def precision(self, children: Children) -> s.Precision:
        settings = of(s.PrecisionSetting, children)
        return s.Precision(settings[0].span.to(settings[-1].span), settings)

    def setting(self, children: Children) -> s.PrecisionSetting:
        return s.PrecisionSetting(span_of(children), identifier(children[0]), identifier(children[1]))

    def block(self, children: Children) -> s.Block:
        return self._block(children, is_model=False)

    def model(self, children: Children) -> s.Block:
        return self._block(children, is_model=True)

    def _block(self, children: Children, *, is_model: bool) -> s.Block:
        annotations = of(s.Annotation, children)
        keyword = children[len(annotations)]
        name = children[len(annotations) + 1]
        generics = next((child for child in children if isinstance(child, list)), [])
        parameters, outputs, end = next(child for child in children if isinstance(child, tuple))
        header = keyword.span.to(end)
        body = tuple(children[-1].items())
        span = children[0].span.to(body[-1].span)
        doc = self._doc(children[0].span)
        parts = (tuple(generics), parameters, outputs, body, annotations)
        return s.Block(span, is_model, identifier(name), *parts, doc, header)

    def generics(self, children: Children) -> list[s.Identifier]:
        return [identifier(token) for token in children]

    def signature(self, children: Children) -> tuple[tuple[s.Parameter, ...], tuple[s.Parameter, ...], Span]:
        groups = [tuple(child) for child in children if isinstance(child, list)]
        if len(groups) == 1:
            groups.insert(0, ())
        return groups[0], groups[1], children[-1].span

    def parameters(self, children: Children) -> list[s.Parameter]:
        return list(of(s.Parameter, children))

    def parameter(self, children: Children) -> s.Parameter:
        name, type, default = children
        return s.Parameter(span_of(children), identifier(name), type, default)

    def optimizer_definition(self, children: Children) -> s.Optimizer:
        name, parameter, gradient = tokens("NAME", children)
        settings = next((child for child in children if isinstance(child, list)), [])
        closing = next(token for token in reversed(children) if isinstance(token, Token) and token.type == "RPAR")
        body = tuple(children[-1].items())
        names = (identifier(name), identifier(parameter), identifier(gradient))
        header = children[0].span.to(closing.span)
        span = header.to(body[-1].span)
        return s.Optimizer(span, *names, tuple(settings), body, self._doc(header), header)

    def train(self, children: Children) -> s.Train:
        header = children[0].span.to(children[1].span)
        body = tuple(children[-1].items())
        return s.Train(header.to(body[-1].span), identifier(children[1]), body, self._doc(header), header)

    def annotation(self, children: Children) -> s.Annotation:
        return s.Annotation(span_of(children), identifier(children[1]), arguments_of(children))

    # Statements

    def params(self, children: Children) -> tuple[s.Statement, ...]:
        annotations = of(s.Annotation, children)
        doc = self._doc(children[0].span)
        made: list[s.Statement] = []
        for child in children:
            if isinstance(child, s.ParamTensor):
                made.append(s.ParamTensor(child.span, child.name, child.type, child.value, annotations, doc))
            elif isinstance(child, s.ParamInstance):
                parts = (child.name, child.count, child.block, child.dimensions, child.arguments)
                made.append(s.ParamInstance(child.span, *parts, annotations, doc))
        return tuple(made)

    def param_tensor(self, children: Children) -> s.ParamTensor:
        value = children[4] if len(children) > 4 else None
        return s.ParamTensor(span_of(children), identifier(children[0]), children[2], value, (), "")

    def param_instance(self, children: Children) -> s.ParamInstance:
        return self._instance(children, None)

    def param_array(self, children: Children) -> s.ParamInstance:
        return self._instance(children, children[2])

    def _instance(self, children: Children, count: s.Expression | None) -> s.ParamInstance:
        path, dimensions, arguments, span = children[-1]
        span = children[0].span.to(span)
        return s.ParamInstance(span, identifier(children[0]), count, path, dimensions, arguments, (), "")

    def instance(
        self, children: Children
    ) -> tuple[s.Path, tuple[s.DimensionArgument, ...], tuple[s.Argument, ...], Span]:
        dimensions = next((tuple(child) for child in children if isinstance(child, list)), ())
        placed = [child for child in children if hasattr(child, "span")]
        span = placed[0].span.to(dimensions[-1].span) if dimensions else placed[0].span
        return children[0], dimensions, arguments_of(children), span.to(placed[-1].span)

    def dimension_arguments(self, children: Children) -> list[s.DimensionArgument]:
        return list(children)

    def dimension_argument(self, children: Children) -> s.DimensionArgument:
        return s.DimensionArgument(span_of(children), identifier(children[0]), children[1])

    def states(self, children: Children) -> tuple[s.Statement, ...]:
        return tuple(
            s.State(one.span, one.targets[0], _typed(one), one.value, self._doc(children[0].span))
            for one in of(s.Assign, children)
        )

    def slots(self, children: Children) -> tuple[s.Statement, ...]:
        return tuple(s.Slot(one.span, one.targets[0], one.type, one.value) for one in of(s.Assign, children))

    def assign(self, children: Children) -> s.Assign:
        targets, values = children[0], of(s.Expression, children)
        value = values[0]
        if len(values) > 1:
            value = s.Sequence(values[0].span.to(values[-1].span), values, False)
        return s.Assign(targets[0].span.to(value.span), targets, None, value)

    def targets(self, children: Children) -> tuple[s.Identifier, ...]:
        return tuple(identifier(token) for token in children)

    def typed_assign(self, children: Children) -> s.Assign:
        made: s.Assign = children[0]
        return made

    def typed(self, children: Children) -> s.Assign:
        name, type, value = children
        return s.Assign(span_of(children), (identifier(name),), type, value)

    def named(self, children: Children) -> s.Assign:
        return s.Assign(span_of(children), (identifier(children[0]),), None, children[1])

    def require(self, children: Children) -> s.Require:
        text = tokens("STRING", children)
        span = span_of([child for child in children if not (isinstance(child, Token) and child.type == "_NL")])
        return s.Require(span, children[1], text[0].text[1:-1] if text else "")

    def scan(self, children: Children) -> s.Scan:
        annotations, axis = of(s.Annotation, children), of(s.Expression, children)[0]
        body = tuple(children[-1].items())
        header = children[len(annotations)].span.to(axis.span)
        index, is_reverse = identifier(tokens("NAME", children)[0]), bool(tokens("REVERSE", children))
        return s.Scan(header.to(body[-1].span), index, axis, is_reverse, body, annotations, header)

    def carries(self, children: Children) -> tuple[s.Statement, ...]:
        return tuple(s.Carry(one.span, one.targets[0], _typed(one), one.value) for one in of(s.Assign, children))

    def emits(self, children: Children) -> tuple[s.Statement, ...]:
        return tuple(s.Emit(one.span, one.targets[0], _typed(one), one.value) for one in of(s.Assign, children))

    def for_(self, children: Children) -> s.For:
        collection = of(s.Expression, children)[0]
        body = tuple(children[-1].items())
        header = children[0].span.to(collection.span)
        return s.For(header.to(body[-1].span), identifier(children[1]), collection, body, header)

    def gradient_rule(self, children: Children) -> s.GradientRule:
        return s.GradientRule(span_of(children[:-1]), identifier(tokens("NAME", children)[0]), _value(children))

    def when(self, children: Children) -> s.When:
        body = tuple(children[-1].items())
        header = children[0].span.to(children[1].span)
        if children[1].text != "training":
            self._error("GC0010", f"expected `training`, found `{children[1].text}`", children[1].span)
        return s.When(header.to(body[-1].span), identifier(children[1]), body, header)

    def probe(self, children: Children) -> tuple[s.Statement, ...]:
        return tuple(s.Probe(one.span, one.targets[0], one.value) for one in of(s.Assign, children))

    def inputs(self, children: Children) -> tuple[s.Statement, ...]:
        made = []
        for one in of(s.Parameter, children):
            if one.default is not None:
                self._error("GC0010", "an input has no default", one.default.span)
            made.append(s.Input(one.span, one.name, one.type, self._doc(children[0].span)))
        return tuple(made)

    def hypers(self, children: Children) -> tuple[s.Statement, ...]:
        return tuple(
            s.Hyper(one.span, one.targets[0], _typed(one), one.value, self._doc(children[0].span))
            for one in of(s.Assign, children)
        )

    def optimizer_use(self, children: Children) -> s.OptimizerUse:
        texts = tokens("STRING", children)
        pattern = s.Text(texts[0].span, texts[0].text[1:-1]) if texts else None
        value = of(s.Expression, children)[-1]
        return s.OptimizerUse(children[0].span.to(value.span), pattern, value, children[0].span)

    def metrics(self, children: Children) -> tuple[s.Statement, ...]:
        return tuple(s.Metric(one.span, one.targets[0], one.value) for one in of(s.Assign, children))


setattr(TreeBuilder, "for", TreeBuilder.for_)  # the rule is named after the word of the language


def _typed(assign: s.Assign) -> s.Type:
    assert assign.type is not None
    return assign.type


def _value(children: Children) -> s.Expression:
    return of(s.Expression, children)[-1]
