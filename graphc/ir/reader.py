"""The graph text, read back.  `graphc.ir.text` prints it.

    text  = graph data*                       data  = "data" @N "=" string+          (base64 of the elements)
    graph = "graph" name "{" line* "}"        name  = plain identifier | "quoted"
    line  = "dim" name [">=" int] ["," "<=" int]
          | ROLE %name ":" type
          | %N "=" OP [value ("," value)*] ["{" attr "=" literal, ... "}"] [":" type]
          | "return" name "=" value, ...
          | "update" %leaf "=" value

`#` starts a comment.  Nothing is ever evaluated as Python.
"""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections.abc import Callable, Mapping
from typing import Any, cast

from graphc.ir.dims import Dim, symbol
from graphc.ir.graph import Graph
from graphc.ir.node import OPS, AnyType, ConstArray, Node, leaf, make
from graphc.ir.tokens import RESERVED, Cursor, GraphTextError, Token, tokenise
from graphc.ir.types import DTYPES, DType, TensorType, TypeMismatch

IMPLIED = {
    "const": ("dtype", "shape"),
    "iota": ("dtype", "shape"),
    "broadcast": ("shape",),
    "reshape": ("shape",),
    "cast": ("dtype",),
}
"""Attributes that the text leaves out, because the type written on the line says them."""
STRUCT_CODES = {"f64": "d", "f32": "f", "i64": "q", "i32": "i", "i8": "b", "u8": "B", "bool": "?"}


def parse_graph(text: str) -> Graph:
    """The graph that `print_graph` printed: the same interned nodes.  Raises GraphTextError."""
    reader = Reader(tokenise(text))
    reader.find_data()
    graph = reader.graph({})
    while reader.peek().text == "data":
        reader.skip_data()
    if reader.peek().kind != "end":
        raise reader.error("expected the end of the text")
    return graph


def parse_dim(text: str, sizes: Mapping[str, Dim]) -> Dim:
    """A dimension such as `2*B + 1` or `(B // 2)` over the given symbols.  Raises GraphTextError."""
    reader = Reader(tokenise(text))
    reader.sizes.update(sizes)
    found = reader.dim()
    if reader.peek().kind != "end":
        raise reader.error("expected the end of the dimension")
    return found


class Reader(Cursor):
    """A recursive-descent parser; `data` are the arrays that stand at the end of the text."""

    def __init__(self, tokens: list[Token]) -> None:
        super().__init__(tokens)
        self.data: dict[str, bytes] = {}

    # Literals

    def literal(self) -> Any:
        """An attribute's value: number, dimension, string, bool, dtype, none, [tuple], array reference or graph."""
        token = self.peek()
        if self.accept("["):
            self.nest()
            found = tuple(self.items(self.literal, "]"))
            self.depth -= 1
            return found
        if token.kind == "string":
            return self.string()
        if token.text == "graph":
            return self.graph(self.sizes)
        if token.kind == "name" and token.text in RESERVED - {"inf", "nan"}:
            self.at += 1
            return {"true": True, "false": False, "none": None, **DTYPES}[token.text]
        number = self.float()
        return self.dim() if number is None else number

    def float(self) -> float | None:
        """A float literal if one comes next; `inf` and `nan` are written so, other NaNs as `nan(0x...)`."""
        after = self.tokens[self.at + (self.peek().text == "-")]
        if after.kind != "float" and after.text not in ("inf", "nan"):
            return None
        sign = -1.0 if self.accept("-") else 1.0
        self.at += 1
        if after.text.startswith("nan("):
            return cast(float, struct.unpack(">d", bytes.fromhex(after.text[6:-1]))[0])
        value = sign * float(after.text)
        if after.kind == "float" and math.isinf(value):
            raise self.error(f"{after.text} is too large a number", after)
        return value

    # Graphs

    def find_data(self) -> None:
        """Reads the arrays at the end of the text, before the lines that refer to them."""
        start = self.at
        for at, token in enumerate(self.tokens[:-1]):
            if token.text == "data" and self.tokens[at + 1].kind == "ref":
                self.at = at
                self.skip_data()
        self.at = start

    def skip_data(self) -> None:
        self.expect("data")
        token = self.take("ref", "an array such as @0")
        self.expect("=")
        text = self.string()
        while self.peek().kind == "string":
            text += self.string()
        try:
            self.data[token.text] = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise self.error(f"the data of {token.text} is not base64", token) from None

    def graph(self, sizes: Mapping[str, Dim]) -> Graph:
        self.nest()
        self.expect("graph")
        name = self.name()
        self.expect("{")
        body = GraphReader(self)
        outer, self.sizes = self.sizes, {**sizes}
        while not self.accept("}"):
            body.line()
        self.sizes = outer
        self.depth -= 1
        return Graph(name, tuple(body.leaves), body.outputs, body.updates)


class GraphReader:
    """The lines of one graph; `values` maps %names to nodes."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.values: dict[str, Node] = {}
        self.leaves: list[Node] = []
        self.outputs: dict[str, Node] = {}
        self.updates: dict[Node, Node] = {}

    def line(self) -> None:
        reader = self.reader
        if reader.peek().kind == "value":
            return self.node()
        for word in ("dim", "return", "update"):
            if reader.accept(word):
                lines: dict[str, Callable[[], None]] = {"dim": self.dim, "return": self.outs, "update": self.update}
                return lines[word]()
        return self.leaf()

    def dim(self) -> None:
        token, name = self.reader.peek(), self.reader.name()
        low, high = 1, None
        if self.reader.accept(">="):
            low = self.reader.integer()
            self.reader.accept(",")
        if self.reader.accept("<="):
            high = self.reader.integer()
        if name in self.reader.sizes:
            raise self.reader.error(f"dimension {name} is declared twice", token)
        if high is not None and high <= low:
            raise self.reader.error(f"dimension {name} has no room between {low} and {high}", token)
        self.reader.sizes[name] = symbol(name, low, high)

    def leaf(self) -> None:
        reader = self.reader
        role = reader.take("name", "a role, `return` or `update`")
        token = reader.take("value", "a name such as %x")
        reader.expect(":")
        type = reader.tensor_type()
        try:
            found = leaf(role.text, self.leaf_name(token), type)
        except TypeMismatch as mismatch:
            raise reader.error(mismatch.message, role) from mismatch
        self.define(token, found)
        self.leaves.append(found)

    def leaf_name(self, token: Token) -> str:
        text = token.text[1:]
        if text.startswith('"'):
            return self.reader.unquote(text[: text.rindex('"') + 1], token)
        return text.partition("@")[0]

    def define(self, token: Token, node: Node) -> None:
        if token.text in self.values:
            raise self.reader.error(f"{token.text} is defined twice", token)
        self.values[token.text] = node

    def value(self) -> Node:
        token = self.reader.take("value", "a value such as %1")
        if token.text not in self.values:
            raise self.reader.error(f"{token.text} is not defined above", token)
        return self.values[token.text]

    def outs(self) -> None:
        while True:
            token, name = self.reader.peek(), self.reader.name()
            self.reader.expect("=")
            if name in self.outputs:
                raise self.reader.error(f"output {name} is returned twice", token)
            self.outputs[name] = self.value()
            if not self.reader.accept(","):
                return

    def update(self) -> None:
        token = self.reader.peek()
        target = self.value()
        self.reader.expect("=")
        if target in self.updates:
            raise self.reader.error(f"{token.text} is updated twice", token)
        self.updates[target] = self.value()

    def node(self) -> None:
        reader = self.reader
        token = reader.take("value", "a value")
        reader.expect("=")
        op = reader.take("name", "an op")
        if op.text not in OPS:
            raise reader.error(f"unknown op {op.text}", op)
        start = reader.at
        attrs: dict[str, Any] = {}
        inputs: list[Node] = []
        if op.text == "const":
            reader.at = self.skip_payload()
        elif reader.peek().kind == "value" and reader.tokens[reader.at + 1].text != "=":
            inputs.append(self.value())
            while reader.accept(","):
                inputs.append(self.value())
        if reader.accept("{"):
            reader.items(lambda: self.attr(attrs), "}")
        written = reader.type() if reader.accept(":") else None
        if op.text == "const":
            attrs["value"] = self.payload(start, written, op)
        self.define(token, self.make(op, inputs, attrs, written))

    def attr(self, attrs: dict[str, Any]) -> None:
        token, name = self.reader.peek(), self.reader.name()
        self.reader.expect("=")
        if name in attrs:
            raise self.reader.error(f"attribute {name} is given twice", token)
        attrs[name] = self.reader.literal()

    def make(self, op: Token, inputs: list[Node], attrs: dict[str, Any], written: AnyType | None) -> Node:
        for name in IMPLIED.get(op.text, ()):
            if name not in attrs:
                if not isinstance(written, TensorType):
                    raise self.reader.error(f"{op.text} needs its type", op)
                attrs[name] = written.shape if name == "shape" else written.dtype
        try:
            node = make(op.text, *inputs, **attrs)
        except TypeMismatch as mismatch:
            raise self.reader.error(mismatch.message, op) from mismatch
        except (TypeError, ValueError, LookupError, AttributeError) as fault:  # attributes the op does not take
            raise self.reader.error(f"{op.text}: {fault}", op) from fault
        if written is not None and node.type != written:
            raise self.reader.error(f"{op.text} gives {node.type}, not {written}", op)
        return node

    def skip_payload(self) -> int:
        """The position after a constant's elements, which need the type that follows them."""
        at, tokens = self.reader.at, self.reader.tokens
        if tokens[at].text == "[":
            while tokens[at].text != "]" and tokens[at].kind != "end":
                at += 1
            return at + (tokens[at].kind != "end")
        return at + 1 + (tokens[at].text == "-")

    def payload(self, start: int, written: AnyType | None, op: Token) -> Any:
        reader = self.reader
        end, reader.at = reader.at, start
        if not isinstance(written, TensorType):
            raise reader.error("const needs its type", op)
        try:
            if reader.peek().kind == "ref":
                return self.stored(written, reader.take("ref", "an array"))
            if reader.accept("["):
                return self.listed(written, reader.items(reader.literal, "]"), op)
            return _element(reader.literal(), written.dtype)
        except (struct.error, TypeError, ValueError, OverflowError) as fault:
            if isinstance(fault, GraphTextError):
                raise
            raise reader.error(f"the value does not fit {written}", op) from fault
        finally:
            reader.at = end

    def stored(self, type: TensorType, token: Token) -> ConstArray:
        if token.text not in self.reader.data:
            raise self.reader.error(f"there is no data {token.text}", token)
        data = self.reader.data[token.text]
        if type.elements != len(data) // type.dtype.size or len(data) % type.dtype.size:
            raise self.reader.error(f"the data of {token.text} has {len(data)} bytes, which is not {type}", token)
        return ConstArray(type.dtype, cast(tuple[int, ...], type.shape), data)

    def listed(self, type: TensorType, values: list[Any], op: Token) -> ConstArray:
        if type.elements != len(values):
            raise self.reader.error(f"{len(values)} elements for {type}", op)
        code = STRUCT_CODES[type.dtype.name]
        data = b"".join(struct.pack("<" + code, _element(value, type.dtype)) for value in values)
        return ConstArray(type.dtype, cast(tuple[int, ...], type.shape), data)


def _element(value: Any, dtype: DType) -> Any:
    """The literal, checked to be of the element type's own kind."""
    kinds = {"f": float, "i": int, "u": int, "b": bool}
    if type(value) is not kinds[dtype.kind]:
        raise ValueError(f"{value} is no {dtype}")
    return value
