"""The syntax tree of expressions, paths and types. `syntax.py` has the statements and describes the whole.

`depth` of an expression is how far an elaborator recurses into it: chains of binary operators and pipes lean left and
are walked with a loop, so they do not count.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from graphc.source import Span


@dataclass(frozen=True, eq=False, repr=False)
class Syntax:
    """Anything with a place in the text."""

    span: Span

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.span})"


@dataclass(frozen=True, eq=False, repr=False)
class Identifier(Syntax):
    """A name where it is declared, or a part of a path."""

    name: str


@dataclass(frozen=True, eq=False, repr=False)
class Path(Syntax):
    """`std.nn` or `common.dense`."""

    parts: tuple[Identifier, ...]

    def __str__(self) -> str:
        return ".".join(part.name for part in self.parts)


# Expressions ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class Expression(Syntax):
    """An expression; `depth` bounds the recursion of whoever walks it."""

    depth: int = field(init=False, default=1)

    def __post_init__(self) -> None:
        below = max((child.depth for child in self.children()), default=0)
        object.__setattr__(self, "depth", below + 1)

    def children(self) -> tuple[Expression, ...]:
        """The expressions directly inside this one."""
        return ()


@dataclass(frozen=True, eq=False, repr=False)
class Number(Expression):
    """A literal: an int if it is written without point and exponent, else a float."""

    value: int | float


@dataclass(frozen=True, eq=False, repr=False)
class Text(Expression):
    """A string literal, without its quotes."""

    value: str


@dataclass(frozen=True, eq=False, repr=False)
class Name(Expression):
    """A value, block or function; also `inf`, `nan`, `true`, `false`."""

    name: str


@dataclass(frozen=True, eq=False, repr=False)
class DimensionName(Expression):
    """An uppercase name."""

    name: str


@dataclass(frozen=True, eq=False, repr=False)
class NoneLiteral(Expression):
    """`None`: a new axis in a subscript."""


@dataclass(frozen=True, eq=False, repr=False)
class Unary(Expression):
    """`-x` or `not x`."""

    operator: str
    operand: Expression

    def children(self) -> tuple[Expression, ...]:
        return (self.operand,)


@dataclass(frozen=True, eq=False, repr=False)
class Binary(Expression):
    """`left operator right`: arithmetic, comparison or logic. Chains lean left."""

    operator: str
    operator_span: Span
    left: Expression
    right: Expression

    def __post_init__(self) -> None:
        left = self.left.depth if isinstance(self.left, Binary) else self.left.depth + 1
        object.__setattr__(self, "depth", max(left, self.right.depth + 1))

    def children(self) -> tuple[Expression, ...]:
        return (self.left, self.right)


@dataclass(frozen=True, eq=False, repr=False)
class Pipe(Expression):
    """`left |> right`: right, a name or a call, takes left as its first argument. Chains lean left."""

    left: Expression
    right: Expression

    def __post_init__(self) -> None:
        left = self.left.depth if isinstance(self.left, Pipe) else self.left.depth + 1
        object.__setattr__(self, "depth", max(left, self.right.depth + 1))

    def children(self) -> tuple[Expression, ...]:
        return (self.left, self.right)


@dataclass(frozen=True, eq=False, repr=False)
class Argument(Syntax):
    """`value` or `name=value` in a call."""

    name: Identifier | None
    value: Expression


@dataclass(frozen=True, eq=False, repr=False)
class Call(Expression):
    """`function(arguments)`; the function is a name or a path. `grad(y, x)` is a call of the name grad."""

    function: Expression
    arguments: tuple[Argument, ...]

    def children(self) -> tuple[Expression, ...]:
        return (self.function, *(argument.value for argument in self.arguments))


@dataclass(frozen=True, eq=False, repr=False)
class Slice(Expression):
    """`start:stop:step` inside a subscript; each part may be absent."""

    start: Expression | None
    stop: Expression | None
    step: Expression | None

    def children(self) -> tuple[Expression, ...]:
        return tuple(part for part in (self.start, self.stop, self.step) if part is not None)


@dataclass(frozen=True, eq=False, repr=False)
class EllipsisLiteral(Expression):
    """`...` inside a subscript."""


@dataclass(frozen=True, eq=False, repr=False)
class Subscript(Expression):
    """`base[items]`."""

    base: Expression
    items: tuple[Expression, ...]

    def children(self) -> tuple[Expression, ...]:
        return (self.base, *self.items)


@dataclass(frozen=True, eq=False, repr=False)
class Attribute(Expression):
    """`base.name`: a parameter of an instance, or a name of a module; `base.0` an instance of an array."""

    base: Expression
    name: Identifier

    def children(self) -> tuple[Expression, ...]:
        return (self.base,)


@dataclass(frozen=True, eq=False, repr=False)
class Sequence(Expression):
    """`[a, b]` (brackets true) or `(a, b)`."""

    items: tuple[Expression, ...]
    brackets: bool

    def children(self) -> tuple[Expression, ...]:
        return self.items


@dataclass(frozen=True, eq=False, repr=False)
class EinsumTerm(Syntax):
    """`x[i, k]`: an operand with a label for each axis."""

    operand: Expression
    labels: tuple[Identifier, ...]


@dataclass(frozen=True, eq=False, repr=False)
class Einsum(Expression):
    """`einsum(a[i, k] * b[k, j] -> [i, j])`."""

    terms: tuple[EinsumTerm, ...]
    output: tuple[Identifier, ...]
    output_span: Span

    def children(self) -> tuple[Expression, ...]:
        return tuple(term.operand for term in self.terms)


# Types ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class BroadcastAxis(Expression):
    """`_` in a type."""


@dataclass(frozen=True, eq=False, repr=False)
class LeadingAxes(Expression):
    """`...` in a type."""


@dataclass(frozen=True, eq=False, repr=False)
class Type(Syntax):
    """`f32[B, 4*H]`; axes are arithmetic over numbers and dimensions, or `_`, or `...`. A scalar has no axes."""

    dtype: Identifier
    axes: tuple[Expression, ...]
