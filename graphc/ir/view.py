"""Views of a graph for people and tools: a networkx digraph, DOT text, and pictures.

A view is made from a graph and never read back; the graph itself stays the store.  Building one costs microseconds a
node, so no loop of the compiler does it.
"""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from graphc.ir.graph import Graph
from graphc.ir.node import ConstArray, Node
from graphc.ir.types import TupleType

if TYPE_CHECKING:
    import networkx as nx
    import pydot

    Digraph = nx.DiGraph[str]

LABEL_WIDTH, MOST_LINES = 34, 3
"""The longest line of a label and the most lines of one attribute; what is cut ends in an ellipsis."""


FAMILIES = {"arithmetic": "elementwise", "comparison": "elementwise", "functions": "elementwise", "leaf": "const"}
"""Modules of graphc.ops whose ops belong together in a picture; any other module is a family of its own."""


def view(graph: Graph, *, brief: bool = False) -> Digraph:
    """The graph as a networkx digraph, nodes in program order.

    Keys are `n0`, `n1`, ... for values, `out0`, ... for the graph's outputs and `new0`, ... for the leaves it updates.
    Every node has the attributes `op`, `name`, `role`, `family`, `type` and `detail`, all text; an edge has `operands`,
    the positions at which the value is used.  A `brief` view, as pictures want it, leaves out two kinds of nodes: a
    constant that is one number is written into the `detail` of its users, and `item` stands for the group it reads.
    """
    import networkx as nx

    result: Digraph = nx.DiGraph(name=graph.name)
    keys: dict[Node, str] = {}
    nodes = [*(leaf for leaf in graph.leaves if leaf.attr("role") == "input"), *graph.nodes()]
    roots = set(graph.roots)
    for node in dict.fromkeys(nodes):
        if brief and _number(node) is not None and node not in roots:
            continue
        if brief and node.op == "item":
            keys[node] = keys[node.inputs[0]]
            continue
        keys[node] = key = f"n{len(result)}"
        result.add_node(key, **_attributes(node, brief))
        for position, operand in enumerate(node.inputs):
            if operand in keys:
                _connect(result, keys[operand], key, position)
    for index, (name, node) in enumerate(graph.outputs.items()):
        result.add_node(f"out{index}", op="output", name=name, role="output", family="output", type="", detail="")
        _connect(result, keys[node], f"out{index}", 0)
    for index, (leaf, node) in enumerate(graph.updates.items()):
        role, name = str(leaf.attr("role")), str(leaf.attr("name"))
        result.add_node(f"new{index}", op="update", name=name, role="update", family=role, type="", detail="")
        _connect(result, keys[node], f"new{index}", 0)
    return result


def _connect(result: Digraph, source: str, target: str, position: int) -> None:
    if result.has_edge(source, target):
        position_list = (*result.edges[source, target]["operands"], position)
        result.edges[source, target]["operands"] = position_list
    else:
        result.add_edge(source, target, operands=(position,))


def _attributes(node: Node, brief: bool) -> dict[str, str]:
    module = type(node.definition).__module__.rpartition(".")[2]
    family = FAMILIES.get(module, module)
    found = {"op": node.op, "name": "", "role": "", "family": family, "type": str(node.type), "detail": ""}
    if node.is_leaf:
        role = str(node.attr("role"))
        return found | {"role": role, "name": str(node.attr("name")), "family": role}
    if node.op == "fused":
        ops = {x.op for value in node.attrs_dict.values() if isinstance(value, Graph) for x in value.nodes()}
        is_reduction = any(op.startswith("reduce_") for op in ops)
        found["family"] = "fused contraction" if "contract" in ops else "fused reduction" if is_reduction else "fused"
    if isinstance(node.type, TupleType):
        found["type"] = " ".join(map(str, dict.fromkeys(node.type.items)))
    if node.op == "scan":
        return found | {"detail": _recurrence(node)}
    parts = [text for name, value in node.attrs if (text := _attribute(node, name, value))]
    numbers = [_number(x) for x in node.inputs] if brief else []
    if any(number is not None for number in numbers):
        parts.append(f"({', '.join(number or '·' for number in numbers)})")
    return found | {"detail": " ".join(parts)}


def _recurrence(node: Node) -> str:
    """A scan in words: over what it runs, how much it carries, and what one step does."""
    order, kept = " in reverse" if node.attr("reverse") else "", ", recomputed" if node.attr("recompute") else ""
    step = _attribute(node, "body", node.attr("body"))
    return f"over {node.attr('length')}{order}{kept}, {node.attr('carries')} carried: {step}"


def _attribute(node: Node, name: str, value: Any) -> str:
    """One attribute as text; none for those that the type or the inputs say already."""
    if isinstance(value, Graph):
        return " ".join(dict.fromkeys(_operations(value)))
    if value is None or name in ("dtype", "shape"):
        return ""
    if isinstance(value, ConstArray):
        return f"{len(value.data)} bytes"
    if isinstance(value, float):
        value = _text(value)
    if isinstance(value, tuple):
        value = f"[{', '.join(map(str, value))}]"
    return str(value) if node.op == "const" else f"{name}={value}"


def _operations(graph: Graph) -> Iterator[str]:
    """What a graph computes, in order; fused groups are seen through."""
    for node in graph.nodes():
        if node.op == "fused":
            yield from _operations(node.attr("body"))
        elif not node.is_leaf and node.op not in ("const", "item"):
            yield node.op


def _number(node: Node) -> str | None:
    """The text of a constant that is one number, spread over a shape or not; None for any other node."""
    while node.op == "broadcast":
        node = node.inputs[0]
    if node.op != "const" or isinstance(node.attr("value"), ConstArray):
        return None
    return _text(node.attr("value"))


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def lines(attributes: dict[str, str]) -> list[str]:
    """The lines of text that stand in a node's box: what it is, particulars, and its type."""
    if attributes["role"] == "output":
        head = f"→ {attributes['name']}"
    elif attributes["role"] == "update":
        head = f"{attributes['name']} ← new"
    elif attributes["role"]:
        head = attributes["name"]
    else:
        head = attributes["op"]
    found = [_short(head)]
    for text in (attributes["detail"], attributes["type"]):
        wrapped = wrap(text, LABEL_WIDTH, max_lines=MOST_LINES, placeholder=" …", break_on_hyphens=False)
        found += [_short(line) for line in wrapped]
    return found


def _short(line: str) -> str:
    return line if len(line) <= LABEL_WIDTH else line[: LABEL_WIDTH - 1] + "…"


def to_dot(graph: Graph) -> str:
    """The graph in the DOT language of Graphviz; every name and label is quoted, so that it is only text."""
    return str(_pydot(graph).to_string())


def _pydot(graph: Graph) -> pydot.Dot:
    import pydot

    from graphc.ir.picture import COLOURS, OTHER

    drawn = view(graph, brief=True)
    dot = pydot.Dot(quoted(graph.name), graph_type="digraph", rankdir="TB", bgcolor="white")
    dot.set_node_defaults(
        shape="box", style=quoted("rounded,filled"), fontname="Helvetica", fontsize="11", margin="0.12"
    )
    dot.set_edge_defaults(color=quoted("#8a94a6"), arrowsize="0.7")
    for key, attributes in drawn.nodes(data=True):
        fill, line = COLOURS.get(attributes["family"], OTHER)
        label = quoted("\n".join(lines(attributes)))
        dot.add_node(pydot.Node(quoted(key), label=label, fillcolor=quoted(fill), color=quoted(line)))
    for source, target in drawn.edges:
        dot.add_edge(pydot.Edge(quoted(source), quoted(target)))
    return dot


def quoted(text: str) -> str:
    r"""A DOT string: quotes and backslashes escaped, line ends as `\n`, control characters left out."""
    text = "".join(c for c in text if c.isprintable() or c == "\n")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def picture(graph: Graph, format: str = "svg") -> bytes:
    """The graph drawn, as the bytes of an `svg` or `png` file.

    Graphviz does the drawing where its `dot` command is installed; otherwise graphc's own layout does.  Raises
    NotAvailableError when a PNG needs matplotlib and it is not there, LimitError for a graph too large to be legible.
    """
    import shutil

    from graphc.ir.picture import draw

    if shutil.which("dot"):
        drawn: Any = _pydot(graph).create(prog="dot", format=format)  # bytes, though pydot's stubs say str
        return bytes(drawn)
    return draw(view(graph, brief=True), format)
