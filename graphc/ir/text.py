"""The graph text: what `--emit=graph` shows and filetests hold; `parse_graph(print_graph(g))` has g's own nodes.

    graph mlp {
      dim B
      input %x: f32[B, 784]
      param %w: f32[784, 10]
      %0 = contract %x, %w {spec="mk,kn->mn"} : f32[B, 10]
      %1 = const 0.0 : f32[B, 10]
      %2 = max %0, %1 : f32[B, 10]
      return logits = %2
    }

The text depends on nothing but the graph: values are numbered in postorder, floats are written exactly.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from typing import Any

from graphc.ir.dims import Dim, Symbol, SymDim, substitute, symbol, symbols
from graphc.ir.graph import Graph
from graphc.ir.node import ConstArray, Node
from graphc.ir.reader import IMPLIED, STRUCT_CODES, parse_dim, parse_graph
from graphc.ir.tokens import PLAIN, RESERVED, GraphTextError
from graphc.ir.types import DType, TensorType, TupleType

__all__ = ["GraphTextError", "parse_dim", "parse_graph", "print_dim", "print_graph", "print_node", "print_type"]

SHORT_ARRAY = 16  # arrays up to this many elements are written in place
LINE = 100  # characters of base64 on one line


def print_graph(graph: Graph) -> str:
    """The text of a graph; also of one that does not verify."""
    arrays: dict[ConstArray, str] = {}
    lines = [*_GraphPrinter(graph, arrays).lines("")]
    lines[1:1] = [f"  {_dim_line(s)}" for s in all_symbols(graph)]
    for array, name in arrays.items():
        text = base64.b64encode(array.data).decode("ascii")
        rows = [text[at : at + LINE] for at in range(0, len(text), LINE)] or [""]
        lines += [f'data {name} = "{rows[0]}"', *(f'  "{row}"' for row in rows[1:])]
    return "\n".join(lines) + "\n"


def print_node(node: Node) -> str:
    """One node with the types of its operands, for messages: `add(f32[B, 10], f32[10]) : f32[B, 10]`."""
    attrs = ", ".join(f"{name}={_short(value)}" for name, value in node.attrs)
    operands = ", ".join(f"{x.op}: {print_type(x.type)}" for x in node.inputs)
    return f"{node.op}({operands}){f' {{{attrs}}}' if attrs else ''} : {print_type(node.type)}"


def print_type(type: TensorType | TupleType) -> str:
    """A type, with unusual dimension names quoted."""
    if isinstance(type, TupleType):
        return f"({', '.join(map(print_type, type.items))})"
    return f"{type.dtype}[{', '.join(map(print_dim, type.shape))}]" if type.shape else str(type.dtype)


def print_dim(dim: Dim) -> str:
    """A dimension that `parse_dim` reads back."""
    odd = {s.name: symbol(f"${json.dumps(s.name)}", s.low, s.high) for s in symbols(dim) if _quoted(s.name)}
    return str(substitute(dim, odd) if odd else dim)


def all_symbols(graph: Graph) -> tuple[Symbol, ...]:
    """The symbols of types and attributes, those of inner graphs included, in order of first appearance."""
    found: dict[Symbol, None] = {}
    pending = [graph]
    for inner in pending:  # grows while it runs
        for node in (*inner.leaves, *inner.nodes()):
            _collect((node.attrs, getattr(node.type, "shape", ())), found, pending)
    return tuple(found)


def _collect(value: Any, found: dict[Symbol, None], graphs: list[Graph]) -> None:
    if isinstance(value, tuple):
        for item in value:
            _collect(item, found, graphs)
    elif isinstance(value, SymDim):
        found.update(dict.fromkeys(symbols(value)))
    elif isinstance(value, Graph) and all(value is not g for g in graphs):
        graphs.append(value)


def _quoted(name: str) -> bool:
    return PLAIN.fullmatch(name) is None or name in RESERVED


def _name(name: str) -> str:
    return name if PLAIN.fullmatch(name) else json.dumps(name)


def _dim_line(s: Symbol) -> str:
    parts = [f">= {s.low}"] if s.low != 1 else []
    parts += [f"<= {s.high}"] if s.high is not None else []
    return f"dim {_name(s.name)} {', '.join(parts)}".rstrip()


class _GraphPrinter:
    """Prints one graph; inner graphs get a printer of their own and share the table of arrays."""

    def __init__(self, graph: Graph, arrays: dict[ConstArray, str]) -> None:
        self.graph, self.arrays = graph, arrays
        self.handles: dict[Node, str] = {}

    def lines(self, indent: str) -> Iterator[str]:
        yield f"{indent}graph {_name(self.graph.name)} {{"
        yield from self.declarations(indent + "  ")
        declared = len(self.handles)
        for node in self.graph.nodes():
            if node not in self.handles:
                self.handles[node] = f"%{len(self.handles) - declared}"
                yield f"{indent}  {self.handles[node]} = {self.node(node, indent + '  ')}"
        outputs = [f"{_name(name)} = {self.handles[x]}" for name, x in self.graph.outputs.items()]
        if outputs:
            yield f"{indent}  return {', '.join(outputs)}"
        for target, x in self.graph.updates.items():
            yield f"{indent}  update {self.handles.get(target, '%undeclared')} = {self.handles[x]}"
        yield f"{indent}}}"

    def declarations(self, indent: str) -> Iterator[str]:
        """One line per leaf; a name that two roles share carries the role: `gradient %w@gradient: f32`."""
        count: dict[str, int] = {}
        for x in self.graph.leaves:
            count[x.attr("name")] = count.get(x.attr("name"), 0) + 1
        for x in self.graph.leaves:
            role, name = x.attr("role"), x.attr("name")
            self.handles[x] = f"%{_name(name)}" + (f"@{role}" if count[name] > 1 else "")
            yield f"{indent}{role} {self.handles[x]}: {print_type(x.type)}"

    def node(self, node: Node, indent: str) -> str:
        attrs = node.attrs_dict
        for name in IMPLIED.get(node.op, ()):
            attrs.pop(name, None)
        words = [node.op]
        if node.op == "const":
            words.append(self.payload(attrs.pop("value")))
        if node.inputs:
            words.append(", ".join(self.handles[x] for x in node.inputs))
        if attrs:
            words.append("{" + ", ".join(f"{_name(k)}={self.literal(v, indent)}" for k, v in attrs.items()) + "}")
        return f"{' '.join(words)} : {print_type(node.type)}"

    def payload(self, value: Any) -> str:
        if not isinstance(value, ConstArray):
            return self.literal(value, "")
        elements = _elements(value)
        if elements is not None:
            return f"[{', '.join(elements)}]"
        return self.arrays.setdefault(value, f"@{len(self.arrays)}")

    def literal(self, value: Any, indent: str) -> str:
        if isinstance(value, Graph):
            inner = "\n".join(_GraphPrinter(value, self.arrays).lines(indent))
            return inner.lstrip(" ")
        if isinstance(value, tuple):
            return f"[{', '.join(self.literal(item, indent) for item in value)}]"
        return _atom(value)


def _atom(value: Any) -> str:
    """A literal without parts; TypeError for a value that no attribute may have."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, (int, SymDim)):
        return print_dim(value)
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, DType):
        return value.name
    raise TypeError(f"an attribute cannot be a {type(value).__name__}")


def _float(value: float) -> str:
    if value == value:
        return repr(value)
    bits = struct.pack(">d", value).hex()
    return "nan" if bits == "7ff8000000000000" else f"nan(0x{bits})"


def _elements(array: ConstArray) -> list[str] | None:
    """The elements of a short array, each the shortest text that reads back to the same bits; None if too long."""
    code = STRUCT_CODES[array.dtype.name]
    count = len(array.data) // array.dtype.size
    if count > SHORT_ARRAY:
        return None
    values = struct.unpack(f"<{count}{code}", array.data)
    texts = [_shortest(v) if code == "f" else _atom(v) for v in values]
    return None if any(text.startswith("nan") for text in texts) else texts


def _shortest(value: float) -> str:
    """An f32 in the fewest digits that give its bits again."""
    for digits in (6, 7, 8, 9):
        text = repr(float(f"{value:.{digits}g}"))
        if value == value and abs(float(text)) < 3.5e38 and struct.pack("<f", float(text)) == struct.pack("<f", value):
            return text
    return _float(value)


def _short(value: Any) -> str:
    """An attribute's value in a message, whatever it is."""
    if isinstance(value, Graph):
        return f"graph {_name(value.name)}"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_short, value))}]"
    try:
        return _atom(value)
    except TypeError:
        return repr(value)
