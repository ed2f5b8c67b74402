"""Views of a graph: the networkx digraph, DOT text, the layout and the pictures."""

from __future__ import annotations

import xml.dom.minidom
from itertools import pairwise

import networkx as nx
import pytest

import graphc.ops  # noqa: F401  fills the registry
from graphc.ir.dims import symbol
from graphc.ir.graph import Graph
from graphc.ir.layout import layout
from graphc.ir.node import constant, leaf, make
from graphc.ir.picture import MOST_NODES, compose, draw, svg
from graphc.ir.types import F32, I32, TensorType
from graphc.ir.view import quoted, to_dot, view
from graphc.ops.scan import build_scan
from graphc.runtime.errors import LimitError, OptionError

B = symbol("B")


def dense_layer() -> Graph:
    x = leaf("input", "x", TensorType(F32, (B, 4)))
    w = leaf("param", "w", TensorType(F32, (4, 3)))
    y = make("relu", make("contract", x, w, spec="bi,ij->bj") * 0.5)
    return Graph("layer", (x, w), {"y": y, "square": y * y}, {w: w * 0.9})


def chain(length: int) -> Graph:
    x = leaf("input", "x", TensorType(F32, (4,)))
    y = x
    for _ in range(length):
        y = make("tanh", y)
    return Graph("chain", (x,), {"y": y})


def test_view_holds_every_node_with_its_attributes() -> None:
    graph = dense_layer()
    seen = view(graph)
    assert nx.is_directed_acyclic_graph(seen)
    assert seen.number_of_nodes() == len(graph.nodes()) + len(graph.outputs) + len(graph.updates)
    by_op = {attributes["op"]: attributes for _, attributes in seen.nodes(data=True)}
    assert by_op["contract"] == {
        "op": "contract",
        "name": "",
        "role": "",
        "family": "contraction",
        "type": "f32[B, 3]",
        "detail": "spec=bi,ij->bj",
    }
    roles = sorted(attributes["role"] for _, attributes in seen.nodes(data=True) if attributes["role"])
    assert roles == ["input", "output", "output", "param", "update"]
    square = [edge for edge in seen.edges(data=True) if edge[2]["operands"] == (0, 1)]
    assert len(square) == 1, "y * y uses y twice: one edge that says so"


def test_numbers_move_into_their_users_in_pictures() -> None:
    seen = view(dense_layer(), brief=True)
    assert "const" not in {attributes["op"] for _, attributes in seen.nodes(data=True)}
    assert "(·, 0.5)" in {attributes["detail"] for _, attributes in seen.nodes(data=True)}


def test_an_output_that_is_a_number_stays_visible() -> None:
    one = constant(1.0, TensorType(F32))
    seen = view(Graph("one", (), {"y": one}), brief=True)
    assert [attributes["op"] for _, attributes in seen.nodes(data=True)] == ["const", "output"]


def test_an_input_that_nothing_uses_is_shown() -> None:
    x, unused = (leaf("input", name, TensorType(F32, (2,))) for name in ("x", "unused"))
    seen = view(Graph("g", (x, unused), {"y": make("neg", x)}))
    assert "unused" in {attributes["name"] for _, attributes in seen.nodes(data=True)}


def test_dot_is_only_text_whatever_the_names_are() -> None:
    hostile = 'x"]; } digraph evil { a [label="\\'
    x = leaf("input", hostile, TensorType(F32, (2,)))
    dot = to_dot(Graph(hostile, (x,), {hostile: make("neg", x)}))
    assert dot.count("digraph ") == 1 + dot.count("digraph evil")
    outside = []
    in_string = escaped = False
    for character in dot:
        if in_string:
            in_string = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            in_string = True
        else:
            outside.append(character)
    assert not in_string
    assert "evil" not in "".join(outside)


def test_quoted() -> None:
    assert quoted('a"b\\c\nd\x00') == '"a\\"b\\\\c\\nd"'


def test_layout_keeps_boxes_apart_and_edges_downwards() -> None:
    graph = view(dense_layer(), brief=True)
    sizes = dict.fromkeys(graph.nodes, (80.0, 30.0))
    placed = layout(graph, sizes)
    centres = list(placed.centres.values())
    for i, (x0, y0) in enumerate(centres):
        for x1, y1 in centres[:i]:
            assert abs(x0 - x1) >= 80.0 or abs(y0 - y1) >= 30.0
    for route in placed.routes.values():
        assert all(upper[1] <= lower[1] for upper, lower in pairwise(route))
    assert all(x - 40 >= 0 and x + 40 <= placed.width + 1e-6 for x, _ in centres)
    assert all(y - 15 >= 0 and y + 15 <= placed.height + 1e-6 for _, y in centres)


def test_layout_is_deterministic() -> None:
    assert svg(compose(view(dense_layer()))) == svg(compose(view(dense_layer())))


def test_long_chain_is_laid_out_without_recursion() -> None:
    graph = view(chain(1200))
    placed = layout(graph, dict.fromkeys(graph.nodes, (60.0, 20.0)))
    assert len({x for x, _ in placed.centres.values()}) == 1, "a chain is a straight line"


def test_svg_is_well_formed_and_shows_every_name() -> None:
    text = draw(view(dense_layer(), brief=True), "svg").decode()
    document = xml.dom.minidom.parseString(text)
    shown = {"".join(n.data for n in e.childNodes) for e in document.getElementsByTagName("text")}
    assert {"x", "w", "contract", "f32[B, 3]", "→ y", "w ← new"} <= shown


def test_svg_escapes_names() -> None:
    x = leaf("input", "<script>&", TensorType(F32, (2,)))
    text = draw(view(Graph("g", (x,), {"y": make("neg", x)})), "svg").decode()
    assert "<script>" not in text
    xml.dom.minidom.parseString(text)


def test_png() -> None:
    pytest.importorskip("matplotlib")
    data = draw(view(dense_layer(), brief=True), "png")
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(data) > 5000


def test_pictures_that_cannot_be_are_refused() -> None:
    with pytest.raises(LimitError, match="not be legible"):
        draw(view(chain(MOST_NODES)), "svg")
    with pytest.raises(OptionError, match="svg or png"):
        draw(view(chain(2)), "bmp")


def test_an_empty_graph_can_be_drawn() -> None:
    xml.dom.minidom.parseString(draw(view(Graph("empty", (), {})), "svg"))


def test_groups_say_what_they_hold_and_items_are_passed_through_in_pictures() -> None:
    from graphc.passes import levels

    x = leaf("input", "x", TensorType(F32, (B, 4)))
    y = make("softmax", x, axis=1)
    graph = levels.pipeline("O2").run(Graph("g", (x,), {"y": y, "z": make("exp", y)}))
    drawn = view(graph, brief=True)
    groups = [attributes for _, attributes in drawn.nodes(data=True) if attributes["op"] == "fused"]
    assert [group["family"] for group in groups] == ["fused reduction"]
    assert "reduce_max" in groups[0]["detail"]
    assert "item" not in {attributes["op"] for _, attributes in drawn.nodes(data=True)}
    assert nx.is_weakly_connected(drawn)


def test_a_scan_says_over_what_it_runs() -> None:
    row = TensorType(F32, (B,))
    t, h, x = leaf("index", "t", TensorType(I32)), leaf("carry", "h", row), leaf("input", "x", row)
    (last,), (rows,) = build_scan(symbol("T"), True, t, [(h, constant(0.0, row), make("tanh", h * x))], [h])
    shown = view(Graph("g", (x,), {"last": last, "rows": rows}), brief=True)
    (box,) = [attributes for _, attributes in shown.nodes(data=True) if attributes["op"] == "scan"]
    assert box["detail"] == "over T in reverse, 1 carried: mul tanh"
    assert box["type"] == "f32[B] f32[T, B]"
