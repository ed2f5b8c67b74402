"""What an expression means while the graph is built: tensors, literals, dimensions, instances, and poison.

`POISON` is the value of everything that has already been reported; whatever touches it is silently poison too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from graphc.ir.dims import Dim
from graphc.ir.node import Node
from graphc.ir.types import DType
from graphc.source import Span

if TYPE_CHECKING:
    from graphc.frontend import syntax as s
    from graphc.frontend.resolve import ModuleScope


@dataclass(frozen=True, slots=True)
class Poison:
    """A value that has been reported."""


POISON = Poison()


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A node of the graph; `flexible` marks the axes written `_` (size 1 in the node), which alone broadcast."""

    node: Node
    flexible: tuple[bool, ...]

    @property
    def dtype(self) -> DType:
        return self.node.dtype

    @property
    def shape(self) -> tuple[Dim, ...]:
        return self.node.shape

    @property
    def rank(self) -> int:
        return len(self.node.shape)

    def __str__(self) -> str:
        axes = ("_" if free else str(dim) for dim, free in zip(self.shape, self.flexible, strict=True))
        return f"{self.dtype}[{', '.join(axes)}]" if self.rank else str(self.dtype)


def tensor(node: Node, flexible: tuple[bool, ...] | None = None) -> Tensor:
    """A tensor, by default without flexible axes."""
    return Tensor(node, flexible if flexible is not None else (False,) * len(node.shape))


@dataclass(frozen=True, slots=True)
class Literal:
    """A number or truth value that has no element type yet; it takes the other operand's."""

    value: int | float | bool


@dataclass(frozen=True, slots=True)
class Size:
    """A dimension used as a value; an integer that takes the other operand's type."""

    dim: Dim


@dataclass(frozen=True, slots=True)
class Word:
    """A bare word or string given to an argument that takes words: an element type, `same`, `mean`."""

    text: str


@dataclass(frozen=True, slots=True)
class Many:
    """A list or tuple of values, or the results of a block with several outputs."""

    items: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class BlockValue:
    """A block named in an expression."""

    block: s.Block
    module: ModuleScope


@dataclass(frozen=True, slots=True)
class Function:
    """A built-in function named in an expression."""

    name: str


@dataclass(frozen=True, slots=True)
class ModuleValue:
    """A used file."""

    module: ModuleScope


@dataclass(slots=True, eq=False)
class Instance:
    """`param l1 = dense[O=64](...)`: its parameters come to be when it is first called."""

    path: str
    block: s.Block
    module: ModuleScope
    dims: dict[str, Dim]
    arguments: dict[str, Value]
    span: Span
    frozen: bool = False
    members: dict[str, Value] = field(default_factory=dict)
    solved: dict[str, Dim] = field(default_factory=dict)
    is_called: bool = False


@dataclass(slots=True, eq=False)
class InstanceArray:
    """`param layers[N] = layer[A=4]`."""

    items: list[Instance]


Value: TypeAlias = (
    Poison | Tensor | Literal | Size | Word | Many | BlockValue | Function | ModuleValue | Instance | InstanceArray
)


def describe(value: Value) -> str:
    """The kind of a value for messages."""
    match value:
        case Tensor():
            return str(value)
        case Literal(value=number):
            return f"the number {number}" if not isinstance(number, bool) else str(number).lower()
        case Size(dim=dim):
            return f"the dimension {dim}"
        case Word(text=text):
            return f"the word `{text}`"
        case Many():
            return f"{len(value.items)} values"
        case BlockValue(block=block):
            return f"the block `{block.name.name}`"
        case Function(name=name):
            return f"the function `{name}`"
        case ModuleValue():
            return "a module"
        case Instance(block=block):
            return f"an instance of `{block.name.name}`"
        case InstanceArray():
            return "an array of instances"
    return "an error"
