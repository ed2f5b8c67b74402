"""Node: one value of the dataflow graph, immutable and interned, so that equality is identity."""

from __future__ import annotations

import struct
import threading
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from graphc.ir.types import DType, TensorType, TupleType

AnyType = TensorType | TupleType
Attrs = tuple[tuple[str, Any], ...]


OPS: dict[str, Any] = {}
"""The registry: op name -> its one definition (an `Op`; filled by the modules of graphc.ops)."""


@dataclass(frozen=True)
class ConstArray:
    """The elements of an array constant as C-ordered little-endian bytes; equal when the bits are equal."""

    dtype: DType
    shape: tuple[int, ...]
    data: bytes

    def __repr__(self) -> str:
        return f"ConstArray({self.dtype}{list(self.shape)}, {len(self.data)} bytes)"


class Node:
    """One value: an op applied to inputs.  Make nodes with `make`; the constructor is private to it."""

    __slots__ = ("__weakref__", "attrs", "inputs", "op", "type")
    op: str
    inputs: tuple[Node, ...]
    attrs: Attrs
    type: TensorType

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a Node is immutable")

    def attr(self, name: str) -> Any:
        """The value of one attribute; KeyError if the op has no such attribute."""
        for key, value in self.attrs:
            if key == name:
                return value
        raise KeyError(f"{self.op} has no attribute {name}")

    @property
    def attrs_dict(self) -> dict[str, Any]:
        return dict(self.attrs)

    @property
    def definition(self) -> Any:
        return OPS[self.op]

    @property
    def is_leaf(self) -> bool:
        return self.op == "leaf"

    @property
    def shape(self) -> tuple[Any, ...]:
        return self.type.shape

    @property
    def dtype(self) -> DType:
        return self.type.dtype

    def __repr__(self) -> str:
        return f"<{self.op} {self.type}>"

    def __reduce__(self) -> Any:
        raise TypeError("a Node cannot be pickled; print the graph instead")

    # Arithmetic with nodes of the same type or Python numbers; used by the rules in ops/ and passes/.
    def __add__(self, other: Node | float) -> Node:
        return make("add", self, _like(other, self))

    def __radd__(self, other: float) -> Node:
        return make("add", _like(other, self), self)

    def __sub__(self, other: Node | float) -> Node:
        return make("sub", self, _like(other, self))

    def __rsub__(self, other: float) -> Node:
        return make("sub", _like(other, self), self)

    def __mul__(self, other: Node | float) -> Node:
        return make("mul", self, _like(other, self))

    def __rmul__(self, other: float) -> Node:
        return make("mul", _like(other, self), self)

    def __truediv__(self, other: Node | float) -> Node:
        return make("div", self, _like(other, self))

    def __rtruediv__(self, other: float) -> Node:
        return make("div", _like(other, self), self)

    def __neg__(self) -> Node:
        return make("neg", self)


def _like(value: Node | float, model: Node) -> Node:
    return value if isinstance(value, Node) else constant(value, model.type)


def constant(value: float | int | bool | ConstArray, type: TensorType) -> Node:
    """A constant of the given type: every element `value`, or the array."""
    if not isinstance(value, ConstArray):
        value = float(value) if type.dtype.is_float else bool(value) if type.dtype.kind == "b" else int(value)
    return make("const", value=value, dtype=type.dtype, shape=type.shape)


def leaf(role: str, name: str, type: TensorType) -> Node:
    """A named value that comes from outside; `graphc.ops.leaf.ROLES` are the roles."""
    return make("leaf", role=role, name=name, dtype=type.dtype, shape=type.shape)


def freeze(value: Any) -> Any:
    """A key under which 1, 1.0 and True, 0.0 and -0.0 differ, and NaNs of the same bits are equal."""
    if isinstance(value, float):
        return ("f", struct.pack("<d", value))
    if isinstance(value, bool):
        return ("b", value)
    if isinstance(value, tuple):
        return tuple(freeze(item) for item in value)
    if hasattr(value, "structure"):  # a Graph: bodies of the same nodes are one value
        return value.structure
    return value


_interned: weakref.WeakValueDictionary[Any, Node] = weakref.WeakValueDictionary()
_interning = threading.Lock()  # of two threads that make one node, both must get the first
_set = object.__setattr__


def make(op: str, *inputs: Node, **attrs: Any) -> Node:
    """The one node for this op, these inputs and attributes; its type is what the op infers.

    Raises TypeMismatch when the op has no rule for the operands, KeyError for an unknown op.
    """
    pairs = tuple(sorted(attrs.items()))
    key = (op, inputs, tuple((name, freeze(value)) for name, value in pairs))
    node = _interned.get(key)
    if node is None:
        type = OPS[op].infer(*(x.type for x in inputs), **attrs)
        node = object.__new__(Node)
        for field, value in (("op", op), ("inputs", inputs), ("attrs", pairs), ("type", type)):
            _set(node, field, value)
        with _interning:
            node = _interned.setdefault(key, node)
    return node


def postorder(roots: Iterable[Node]) -> list[Node]:
    """Every node that the roots depend on, inputs before users, each once; iterative, in a fixed order."""
    placed: dict[Node, None] = {}
    opened: dict[Node, None] = {}  # its inputs are on the stack above it
    stack = [*roots]
    stack.reverse()
    while stack:  # of nodes alone: an iterator for each would keep Python's garbage collector busy
        node = stack.pop()
        if node in placed:
            continue
        if node in opened or not node.inputs:
            placed[node] = None
        else:
            opened[node] = None
            stack.append(node)
            stack.extend([x for x in reversed(node.inputs) if x not in placed])
    return [*placed]
