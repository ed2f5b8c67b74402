"""The syntax tree: what the text says, with spans, before any meaning.

Every class is immutable and compared by identity. This module has them all; expressions are in syntax_expression.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphc.frontend.syntax_expression import Argument as Argument
from graphc.frontend.syntax_expression import Attribute as Attribute
from graphc.frontend.syntax_expression import Binary as Binary
from graphc.frontend.syntax_expression import BroadcastAxis as BroadcastAxis
from graphc.frontend.syntax_expression import Call as Call
from graphc.frontend.syntax_expression import DimensionName as DimensionName
from graphc.frontend.syntax_expression import Einsum as Einsum
from graphc.frontend.syntax_expression import EinsumTerm as EinsumTerm
from graphc.frontend.syntax_expression import EllipsisLiteral as EllipsisLiteral
from graphc.frontend.syntax_expression import Expression as Expression
from graphc.frontend.syntax_expression import Identifier as Identifier
from graphc.frontend.syntax_expression import LeadingAxes as LeadingAxes
from graphc.frontend.syntax_expression import Name as Name
from graphc.frontend.syntax_expression import NoneLiteral as NoneLiteral
from graphc.frontend.syntax_expression import Number as Number
from graphc.frontend.syntax_expression import Path as Path
from graphc.frontend.syntax_expression import Pipe as Pipe
from graphc.frontend.syntax_expression import Sequence as Sequence
from graphc.frontend.syntax_expression import Slice as Slice
from graphc.frontend.syntax_expression import Subscript as Subscript
from graphc.frontend.syntax_expression import Syntax as Syntax
from graphc.frontend.syntax_expression import Text as Text
from graphc.frontend.syntax_expression import Type as Type
from graphc.frontend.syntax_expression import Unary as Unary
from graphc.source import Source, Span

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
    """`slot m = zeros()` in an optimizer: one tensor of the parameter's type for each parameter.

    `slot k: f32 = ones()` is one number for each parameter, of the parameter's element type.
    """

    name: Identifier
    type: Type | None
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
    axis: Expression
    reverse: bool
    body: tuple[Statement, ...]
    annotations: tuple[Annotation, ...]
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
