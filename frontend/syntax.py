"""The syntax tree: what the text says, with spans, before any meaning.

Every class is immutable and compared by identity. `depth` of an expression is how far an elaborator recurses into it:
chains of binary operators and pipes lean left and are walked with a loop, so they do not count.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from graphc.source import Source, Span


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


# Statements ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class Statement(Syntax):
    """A line of a body, or one declaration of a line that holds several."""


@dataclass(frozen=True, eq=False, repr=False)
class Broken(Statement):
    """A line that did not parse; its error has been reported."""


@dataclass(frozen=True, eq=False, repr=False)
class Annotation(Syntax):
    """`@name` or `@name(arguments)`."""

    name: Identifier
    arguments: tuple[Argument, ...]


@dataclass(frozen=True, eq=False, repr=False)
class Dimension(Statement):
    """One of `dim B, D = 784, T = 1..400`: no value, a value, or bounds. Also at module level."""

    name: Identifier
    value: Expression | None
    bounds: tuple[Expression, Expression] | None


@dataclass(frozen=True, eq=False, repr=False)
class ParamTensor(Statement):
    """`param w: f32[D, C] = zeros()`; without a value it is set from Python only."""

    name: Identifier
    type: Type
    value: Expression | None
    annotations: tuple[Annotation, ...]
    doc: str


@dataclass(frozen=True, eq=False, repr=False)
class DimensionArgument(Syntax):
    """`O=64` in `dense[O=64]`."""

    name: Identifier
    value: Expression


@dataclass(frozen=True, eq=False, repr=False)
class ParamInstance(Statement):
    """`param l1 = dense[O=64](bias=1)`, or `param layers[N] = layer[A=4]` when there is a count."""

    name: Identifier
    count: Expression | None
    block: Path
    dimensions: tuple[DimensionArgument, ...]
    arguments: tuple[Argument, ...]
    annotations: tuple[Annotation, ...]
    doc: str


@dataclass(frozen=True, eq=False, repr=False)
class State(Statement):
    """`state running: f32[C] = zeros()`."""

    name: Identifier
    type: Type
    value: Expression
    doc: str


@dataclass(frozen=True, eq=False, repr=False)
class Slot(Statement):
    """`slot m = zeros()` in an optimizer: one tensor of the parameter's type for each parameter."""

    name: Identifier
    value: Expression


@dataclass(frozen=True, eq=False, repr=False)
class Assign(Statement):
    """`a, b = value`, or `x: f32[B] = value` when there is a type (then one target)."""

    targets: tuple[Identifier, ...]
    type: Type | None
    value: Expression


@dataclass(frozen=True, eq=False, repr=False)
class Require(Statement):
    """`require D % A == 0, "text"`."""

    condition: Expression
    text: str


@dataclass(frozen=True, eq=False, repr=False)
class Carry(Statement):
    """`carry h: f32[B, H] = zeros()` in a scan."""

    name: Identifier
    type: Type
    value: Expression


@dataclass(frozen=True, eq=False, repr=False)
class Emit(Statement):
    """`emit hs: f32[B, T, H] = h` in a scan."""

    name: Identifier
    type: Type
    value: Expression


@dataclass(frozen=True, eq=False, repr=False)
class Scan(Statement):
    """`scan t in T:` or `scan t in reverse T:`."""

    index: Identifier
    axis: DimensionName
    reverse: bool
    body: tuple[Statement, ...]
    header: Span


@dataclass(frozen=True, eq=False, repr=False)
class For(Statement):
    """`for one in layers:` over an array of instances."""

    name: Identifier
    collection: Expression
    body: tuple[Statement, ...]
    header: Span


@dataclass(frozen=True, eq=False, repr=False)
class GradientRule(Statement):
    """`grad x = ...` in a block."""

    name: Identifier
    value: Expression


@dataclass(frozen=True, eq=False, repr=False)
class When(Statement):
    """`when training:`."""

    condition: Identifier
    body: tuple[Statement, ...]
    header: Span


@dataclass(frozen=True, eq=False, repr=False)
class Probe(Statement):
    """`probe name = value`: an extra output to look at."""

    name: Identifier
    value: Expression


@dataclass(frozen=True, eq=False, repr=False)
class Input(Statement):
    """`input y: i32[B]` in a train section."""

    name: Identifier
    type: Type
    doc: str


@dataclass(frozen=True, eq=False, repr=False)
class Hyper(Statement):
    """`hyper lr: f32 = 1e-3` in a train section."""

    name: Identifier
    type: Type
    value: Expression
    doc: str


@dataclass(frozen=True, eq=False, repr=False)
class Metric(Statement):
    """`metric accuracy = value` in a train section."""

    name: Identifier
    value: Expression


@dataclass(frozen=True, eq=False, repr=False)
class OptimizerUse(Statement):
    """`optimizer = adam(lr=0.1)` or `optimizer for "embed.*" = sgd(lr=0.1)` in a train section."""

    pattern: Text | None
    value: Expression
    keyword: Span


# Declarations --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class Use(Statement):
    """`use std.nn: dense`, `use std.nn as nn` or `use "./common.gc" as common`."""

    module: Path | Text
    names: tuple[Identifier, ...]
    alias: Identifier | None


@dataclass(frozen=True, eq=False, repr=False)
class Constant(Statement):
    """`const sobel: f32[3, 3] = [[...], ...]`."""

    name: Identifier
    type: Type
    value: Expression
    doc: str


@dataclass(frozen=True, eq=False, repr=False)
class PrecisionSetting(Syntax):
    """`params = f32` in a precision line."""

    name: Identifier
    dtype: Identifier


@dataclass(frozen=True, eq=False, repr=False)
class Precision(Statement):
    """`precision params = f32, compute = bf16`."""

    settings: tuple[PrecisionSetting, ...]


@dataclass(frozen=True, eq=False, repr=False)
class Parameter(Syntax):
    """`name: type = default` in a signature."""

    name: Identifier
    type: Type
    default: Expression | None


@dataclass(frozen=True, eq=False, repr=False)
class Block(Statement):
    """A block, or a model when `is_model`. A model has no generics."""

    is_model: bool
    name: Identifier
    generics: tuple[Identifier, ...]
    parameters: tuple[Parameter, ...]
    outputs: tuple[Parameter, ...]
    body: tuple[Statement, ...]
    annotations: tuple[Annotation, ...]
    doc: str
    header: Span


@dataclass(frozen=True, eq=False, repr=False)
class Optimizer(Statement):
    """`optimizer adam(p, g, lr: f32, ...):`: the update of one parameter from its gradient."""

    name: Identifier
    parameter: Identifier
    gradient: Identifier
    settings: tuple[Parameter, ...]
    body: tuple[Statement, ...]
    doc: str
    header: Span


@dataclass(frozen=True, eq=False, repr=False)
class Train(Statement):
    """The `train` section of a model."""

    model: Identifier
    body: tuple[Statement, ...]
    doc: str
    header: Span


@dataclass(frozen=True, eq=False, repr=False)
class Module(Syntax):
    """A file. `doc` is its first doc comment when no declaration follows at once."""

    source: Source
    declarations: tuple[Statement, ...]
    doc: str
