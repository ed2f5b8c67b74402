"""The graph text: printing, reading back to the same nodes, and errors with a line."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest

import graphc.ops  # noqa: F401  fills the registry
from graphc.ir.dims import symbol
from graphc.ir.graph import Graph
from graphc.ir.node import ConstArray, Node, constant, leaf, make
from graphc.ir.text import GraphTextError, parse_dim, parse_graph, print_dim, print_graph, print_node
from graphc.ir.types import BOOL, F32, F64, I32, TensorType

B, T = symbol("B"), symbol("T", 2, 64)


def roundtrip(graph: Graph) -> Graph:
    text = print_graph(graph)
    again = parse_graph(text)
    assert print_graph(again) == text
    assert again.leaves == graph.leaves
    assert list(again.outputs) == list(graph.outputs)
    assert list(again.updates) == list(graph.updates)
    return again


def assert_same(graph: Graph) -> None:
    again = roundtrip(graph)
    assert all(a is b for a, b in zip(again.roots, graph.roots, strict=True))


def test_reads_like_a_program() -> None:
    x, w = leaf("input", "x", TensorType(F32, (B, 784))), leaf("param", "w", TensorType(F32, (784, 10)))
    h = make("contract", x, w, spec="mk,kn->mn")
    graph = Graph("mlp", (x, w), {"logits": make("max", h, constant(0.0, h.type))}, {w: w * 0.5})
    assert (
        print_graph(graph)
        == """graph mlp {
  dim B
  input %x: f32[B, 784]
  param %w: f32[784, 10]
  %0 = contract %x, %w {spec="mk,kn->mn"} : f32[B, 10]
  %1 = const 0.0 : f32[B, 10]
  %2 = max %0, %1 : f32[B, 10]
  %3 = const 0.5 : f32[784, 10]
  %4 = mul %w, %3 : f32[784, 10]
  return logits = %2
  update %w = %4
}
"""
    )
    assert_same(graph)


def test_every_kind_of_attribute() -> None:
    x = leaf("input", "x", TensorType(F64, (T, 6)))
    r = make("reshape", x, shape=(T * 2, 3))
    nodes = {
        "a": make("broadcast", r, shape=(B // 2, T * 2, 3, B + 1), axes=(1, 2)),
        "b": make("cast", r, dtype=I32),
        "c": make("slice", x, start=(0, 1), stop=(T - 1, 6), step=(1, 2)),
        "d": make("pad", x, low=(0, B), high=(1, 0), interior=(0, 1), value=-0.0),
        "e": make("iota", dtype=I32, shape=(B, 3), axis=0),
        "f": make("dim", dim=2 * B * T - (T // 3)),
        "g": make("reduce_sum", x, axes=()),
        "h": make("transpose", x, perm=(1, 0)),
    }
    assert_same(Graph("attrs", (x,), nodes))


@pytest.mark.parametrize(
    "value",
    [0.0, -0.0, 1.0, 0.1, -1e300, 5e-324, float("inf"), float("-inf"), float("nan")]
    + [struct.unpack(">d", bytes.fromhex(bits))[0] for bits in ("fff8000000000000", "7ff8000000000123")],
)
def test_floats_are_exact(value: float) -> None:
    x = constant(value, TensorType(F64, (2,)))
    again = parse_graph(print_graph(Graph("g", (), {"y": x}))).outputs["y"]
    assert again is x
    assert struct.pack("<d", again.attr("value")) == struct.pack("<d", value)


def test_constants_of_different_kinds_stay_apart() -> None:
    nodes = {
        "i": constant(1, TensorType(I32)),
        "f": constant(1, TensorType(F64)),
        "b": constant(1, TensorType(BOOL)),
        "z": constant(0.0, TensorType(F32)),
        "n": constant(-0.0, TensorType(F32)),
    }
    assert_same(Graph("g", (), nodes))


@pytest.mark.parametrize("count", [0, 1, 3, 16, 17, 1000])
def test_arrays(count: int) -> None:
    floats = struct.pack(f"<{count}f", *(0.1 * i for i in range(count)))
    ints = struct.pack(f"<{count}i", *(i - 7 for i in range(count)))
    bools = bytes(i % 3 == 0 for i in range(count))
    odd = struct.pack(f"<{count}d", *([float("nan"), -0.0, float("-inf")] * count)[:count])
    arrays = {"f": (F32, floats), "i": (I32, ints), "b": (BOOL, bools), "o": (F64, odd)}
    nodes = {k: constant(ConstArray(t, (count,), data), TensorType(t, (count,))) for k, (t, data) in arrays.items()}
    assert_same(Graph("g", (), nodes))


def test_short_arrays_are_readable() -> None:
    data = struct.pack("<3f", 0.1, -0.0, 1e10)
    node = constant(ConstArray(F32, (3,), data), TensorType(F32, (3,)))
    assert "const [0.1, -0.0, 10000000000.0] : f32[3]" in print_graph(Graph("g", (), {"y": node}))


@pytest.mark.parametrize(
    "name", ["x y", 'q"u\\o', "%0", "0", "graph", "f32", "ä", "\n", "a.b.0", "layer/0", "@", "\u202e"]
)
def test_names_are_only_data(name: str) -> None:
    d = symbol(name, 3)
    x = leaf("input", name, TensorType(F32, (d, 2 * d + 1)))
    assert_same(Graph(name, (x,), {name: -x}))
    assert print_graph(Graph(name, (x,), {name: -x})).isascii()


def test_one_name_in_two_roles() -> None:
    w, g = leaf("param", "w", TensorType(F32, (3,))), leaf("gradient", "w", TensorType(F32, (3,)))
    graph = Graph("apply", (w, g), {}, {w: w - g})
    assert "gradient %w@gradient: f32[3]" in print_graph(graph)
    assert_same(graph)


def fused_graph() -> Graph:
    t = TensorType(F32, (B, 4))
    x, a, b = leaf("input", "x", t), leaf("input", "a", t), leaf("input", "b", t)
    body = Graph("body", (a, b), {"r0": a + b, "r1": make("tanh", a)})
    group = make("fused", x, -x, body=body)
    return Graph("g", (x,), {"y": make("item", group, index=0), "z": make("item", group, index=1)})


def test_inner_graphs_are_indented() -> None:
    text = print_graph(fused_graph())
    assert "  %1 = fused %x, %0 {body=graph body {\n    input %a: f32[B, 4]\n" in text
    assert "    return r0 = %0, r1 = %1\n  }} : (f32[B, 4], f32[B, 4])\n" in text
    assert_same(fused_graph())


def test_same_text_whatever_the_history() -> None:
    """The text depends on the graph alone, not on when nodes were made."""
    x = leaf("input", "x", TensorType(F32, (2,)))
    late = make("exp", x)
    early = make("log", x)
    first = print_graph(Graph("g", (x,), {"y": early + late}))
    del late, early
    assert print_graph(Graph("g", (x,), {"y": make("log", x) + make("exp", x)})) == first


def test_a_diamond_and_a_chain_are_linear() -> None:
    x = leaf("input", "x", TensorType(F32, ()))
    y: Node = x
    for _ in range(64):
        y = y + y
    assert len(print_graph(Graph("d", (x,), {"y": y})).splitlines()) == 64 + 4
    for _ in range(5000):
        y = make("tanh", y)
    assert_same(Graph("c", (x,), {"y": y}))


def test_comments_and_missing_types_are_accepted() -> None:
    graph = parse_graph("# a head\ngraph g { # name\n input %x: f32[2]\n %0 = exp %x # no type\n return y = %0\n}")
    assert graph.outputs["y"] is make("exp", leaf("input", "x", TensorType(F32, (2,))))


@pytest.mark.parametrize(
    ("line", "message", "text"),
    [
        (1, "expected 'graph'", "grap g {}"),
        (1, "expected a name", "graph {"),
        (1, "unexpected character '?'", "graph g ? {}"),
        (2, "unknown op nope", "graph g {\n %0 = nope\n}"),
        (2, "%x is not defined above", "graph g {\n return y = %x\n}"),
        (3, "%x is defined twice", "graph g {\n input %x: f32\n input %x: f32\n}"),
        (2, "dimension B is not declared", "graph g {\n input %x: f32[B]\n}"),
        (3, "dimension B is declared twice", "graph g {\n dim B\n dim B\n}"),
        (2, "no room between 5 and 2", "graph g {\n dim B >= 5, <= 2\n}"),
        (2, "leaf: 'nobody' is not one of input, param", "graph g {\n nobody %x: f32\n}"),
        (2, "unknown element type f16", "graph g {\n input %x: f16\n}"),
        (3, "exp gives f32, not f64", "graph g {\n input %x: f32\n %0 = exp %x : f64\n}"),
        (4, "add needs equal shapes", "graph g {\n input %x: f32[2]\n input %y: f32[3]\n %0 = add %x, %y\n}"),
        (3, "add: ", "graph g {\n input %x: f32\n %0 = add %x\n}"),
        (3, "given twice", "graph g {\n input %x: f32[2]\n %0 = reduce_sum %x {axes=[0], axes=[0]}\n}"),
        (2, "const needs its type", "graph g {\n %0 = const 1.0\n}"),
        (2, "does not fit", "graph g {\n %0 = const 1 : f32\n}"),
        (2, "2 elements for f32[3]", "graph g {\n %0 = const [1.0, 2.0] : f32[3]\n}"),
        (2, "does not fit", "graph g {\n %0 = const [300] : i8[1]\n}"),
        (2, "there is no data @3", "graph g {\n %0 = const @3 : f32[3]\n}"),
        (4, "is not base64", 'graph g {\n %0 = const @0 : f32[3]\n}\ndata @0 = "!!"'),
        (2, "has 3 bytes", 'graph g {\n %0 = const @0 : f32[3]\n}\ndata @0 = "AAAA"'),
        (2, "too large a number", "graph g {\n %0 = const 1e999 : f32\n}"),
        (2, "more than 40 digits", "graph g {\n %0 = const " + "9" * 5000 + " : i32\n}"),
        (2, "divided by a positive one", "graph g {\n dim B input %x: f32[B // (B - 1)]\n}"),
        (3, "returned twice", "graph g {\n input %x: f32\n return y = %x, y = %x\n}"),
        (2, "malformed escape", 'graph g {\n input %"\\q": f32\n}'),
        (1, "expected the end", "graph g {} graph h {}"),
        (1, "found the end", "graph g {"),
        (2, "more than 1000 terms", "graph g { dim A dim B dim C dim D\n input %x: f32[A" + "*(A + B + C + D)" * 30),
        (1, "nested deeper", "graph g { input %x: f32[" + "(" * 5000),
    ],
)
def test_errors_name_the_line(line: int, message: str, text: str) -> None:
    with pytest.raises(GraphTextError) as caught:
        parse_graph(text)
    assert message in str(caught.value)
    assert caught.value.line == line


def test_every_truncation_is_an_error_of_our_own() -> None:
    text = print_graph(fused_graph()).rstrip()
    for end in range(len(text)):
        with pytest.raises(GraphTextError):
            parse_graph(text[:end])


def test_mutants_are_read_or_refused() -> None:
    """A few characters changed: another graph or a GraphTextError, nothing else."""
    signs = ("{", "}", "[", "(", ",", "=", ":", "%0", "%x", "1", "-1", "1.5", "nan", "true")
    words = ("none", "f32", "B", '"s"', "@0", "//", "graph", "dim", "return", "update", "data", "const", "add", "axes")
    texts = [path.read_text() for path in sorted((Path(__file__).parents[1] / "filetests").rglob("*.graph"))]
    rng = random.Random(0)
    refused = 0
    for _ in range(600):
        text = rng.choice(texts)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(text))
            end = at + rng.randint(0, 9)
            text = text[:at] + rng.choice([*signs, *words, "", chr(rng.randrange(32, 127))]) + text[end:]
        try:
            parse_graph(text)
        except GraphTextError:
            refused += 1
    assert 200 < refused < 600


@pytest.mark.parametrize(
    "text",
    [
        *("0", "7", "-3", "B", "2*B + 1", "(B // 2)", "B*B*T - 4", "-B + T", "2*(B // 2)*T", "(B + T - 1) // (T + 1)"),
        *("(-B + 70) // 3", "T // (2*B)", "(2*B + 1) // 2 // T", "(B // (B // 2 + 1))"),
    ],
)
def test_dimensions(text: str) -> None:
    sizes = {"B": B, "T": T}
    dim = parse_dim(text, sizes)
    assert parse_dim(print_dim(dim), sizes) == dim


def test_dimension_arithmetic() -> None:
    sizes = {"B": B, "T": T}
    assert parse_dim("2*(B + 3) - B", sizes) == B + 6
    assert parse_dim("(4*B + 2) // 2", sizes) == 2 * B + 1
    assert parse_dim("-(2 - 5)", sizes) == 3


def test_print_node() -> None:
    x = leaf("input", "x", TensorType(F32, (B, 4)))
    node = make("reduce_sum", make("exp", x), axes=(1,))
    assert print_node(node) == "reduce_sum(exp: f32[B, 4]) {axes=[1]} : f32[B]"
