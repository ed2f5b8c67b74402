"""The parser: positions, recovery, limits, hostile texts. No text may end in anything but diagnostics."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from graphc.diagnostics import Diagnostic, render_all
from graphc.frontend import syntax as s
from graphc.frontend.limits import Limits
from graphc.frontend.parser import parse, parse_bytes
from graphc.source import Source

MODELS = sorted((Path(__file__).parent / "models").glob("*.gc"))
BODY = "model m(x: f32[3]) -> (y: f32[3]):\n"


def tree(text: str) -> s.Module:
    module, diagnostics = parse(Source("m.gc", text))
    assert module is not None, render_all(diagnostics)
    assert not diagnostics
    return module


def faults(text: str | bytes) -> list[tuple[str, int, int]]:
    module, diagnostics = parse_bytes("m.gc", text) if isinstance(text, bytes) else parse(Source("m.gc", text))
    assert module is None
    assert render_all(diagnostics)
    return [where(diagnostic) for diagnostic in diagnostics]


def where(diagnostic: Diagnostic) -> tuple[str, int, int]:
    return diagnostic.code, diagnostic.span.first.line, diagnostic.span.first.column


def expression(text: str) -> s.Expression:
    block = tree(f"{BODY}    y = {text}\n").declarations[0]
    assert isinstance(block, s.Block)
    assign = block.body[0]
    assert isinstance(assign, s.Assign)
    return assign.value


def shown(node: s.Expression) -> str:
    match node:
        case s.Name(name=name) | s.DimensionName(name=name):
            return name
        case s.Number(value=value):
            return str(value)
        case s.Unary(operator=operator, operand=operand):
            return f"({operator} {shown(operand)})"
        case s.Binary(operator=operator, left=left, right=right):
            return f"({shown(left)} {operator} {shown(right)})"
        case s.Pipe(left=left, right=right):
            return f"({shown(left)} |> {shown(right)})"
        case s.Call(function=function, arguments=arguments):
            return f"{shown(function)}({', '.join(shown(a.value) for a in arguments)})"
        case s.Subscript(base=base, items=items):
            return f"{shown(base)}[{', '.join(shown(item) for item in items)}]"
        case s.Slice(start=start, stop=stop, step=step):
            parts = [shown(part) if part else "" for part in (start, stop)]
            return ":".join(parts) + (f":{shown(step)}" if step else "")
        case s.Attribute(base=base, name=part):
            return f"{shown(base)}.{part.name}"
        case s.NoneLiteral():
            return "None"
        case s.EllipsisLiteral():
            return "..."
        case s.Sequence(items=items, brackets=brackets):
            inside = ", ".join(shown(item) for item in items)
            return f"[{inside}]" if brackets else f"<{inside}>"
    raise AssertionError(type(node))


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_contract_files_parse(path: Path) -> None:
    module, diagnostics = parse_bytes(path.name, path.read_bytes())
    assert module is not None, render_all(diagnostics)
    assert len(module.declarations) >= 4


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("a + b * c ** -d ** e", "(a + (b * (c ** (- (d ** e)))))"),
        ("-a ** 2", "(- (a ** 2))"),
        ("a - b - c", "((a - b) - c)"),
        ("a @ b + c", "((a @ b) + c)"),
        ("not a == b and c or d", "(((not (a == b)) and c) or d)"),
        ("x |> f |> g(a)", "((x |> f) |> g(a))"),
        ("x[:, None, 0:T, ::2, ...]", "x[:, None, 0:T, ::2, ...]"),
        ("l.0.w", "l.0.w"),
        ("f([(1, 2), (3, 4),], a=inf)", "f([<1, 2>, <3, 4>], inf)"),
        ("(a + b) // C % 2", "(((a + b) // C) % 2)"),
    ],
)
def test_expressions(text: str, meaning: str) -> None:
    assert shown(expression(text)) == meaning


def test_spans_count_code_points_and_include_brackets() -> None:
    value = expression('f("äöü", (a + b))')
    assert value.span.text == 'f("äöü", (a + b))'
    assert isinstance(value, s.Call)
    assert value.arguments[1].value.span.text == "(a + b)"
    assert value.arguments[1].value.span.first.column == 18


def test_declarations_share_lines_and_keep_docs() -> None:
    module = tree(
        "## The file.\n\n## Widths.\ndim B, D = 784, T = 1..400\n"
        + BODY
        + "    ## Weights.\n    param w: f32[3], v = f[O=3](a=1)\n    y = x\n"
    )
    assert module.doc == "The file."
    first, second, third, model = module.declarations
    assert isinstance(first, s.Dimension) and first.value is None
    assert isinstance(second, s.Dimension) and isinstance(second.value, s.Number)
    assert isinstance(third, s.Dimension) and third.bounds is not None
    assert isinstance(model, s.Block)
    weight, instance, _ = model.body
    assert isinstance(weight, s.ParamTensor) and weight.doc == "Weights." and weight.value is None
    assert isinstance(instance, s.ParamInstance) and str(instance.block) == "f"


def test_annotations_may_stand_above() -> None:
    module = tree("@recompute\nblock f(x: f32) -> (y: f32):\n    @frozen param w: f32 = zeros()\n    y = x\n")
    block = module.declarations[0]
    assert isinstance(block, s.Block) and block.annotations[0].name.name == "recompute"


def test_all_statements() -> None:
    module = tree(
        BODY
        + "    scan t in reverse T:\n        carry h: f32 = zeros(), c: f32 = zeros()\n        emit hs: f32[T] = h\n"
        "    for one in layers:\n        x = one(x)\n    grad x = d(y)\n    when training:\n        probe p = x\n"
        '    state r: f32 = zeros()\n    require D % A == 0, "text"\n    y = einsum(x[i] * w.v[i, j] -> [j])\n'
        "train m:\n    input a: f32, b: f32\n    hyper lr: f32 = 0.1\n    loss = a\n    clip = global_norm(1.0)\n"
        '    optimizer = sgd()\n    optimizer for "e.*" = sgd(lr=lr)\n    metric z = a\n'
        "optimizer sgd(p, g, lr: f32 = 0.1):\n    slot m = zeros(), v = zeros()\n    p = p - lr * g\n"
        'use "./a.gc" as a\nuse std.nn: dense, conv2d\n'
        "precision params = f32, compute = f64\nconst k: f32[2] = [1.0, 2.0]\n"
    )
    kinds = [type(one).__name__ for one in module.declarations]
    assert kinds == ["Block", "Train", "Optimizer", "Use", "Use", "Precision", "Constant"]
    model, train, *_ = module.declarations
    assert isinstance(model, s.Block) and isinstance(train, s.Train)
    kinds = [type(one).__name__ for one in model.body]
    assert kinds == ["Scan", "For", "GradientRule", "When", "State", "Require", "Assign"]
    assert [type(one).__name__ for one in train.body] == [
        *("Input", "Input", "Hyper", "Assign", "Assign", "OptimizerUse", "OptimizerUse", "Metric")
    ]


def test_soft_words_are_names_elsewhere() -> None:
    assert shown(expression("input + metric * hyper + loss + clip(step)"))


def test_every_error_of_a_file_is_reported() -> None:
    text = (
        "modle a(x: f32) -> (y: f32):\n    y = x +\n"
        "model b(x: f32) -> (y: f32)\n    y = x $ 1\n    z = (x\n    y = x\n"
        "x = 3\nmodel c(x: f32) -> (y: f32):\n    block = 1\n    y = x < 1 < 2\n"
    )
    found = faults(text)
    assert found == [
        ("GC0005", 4, 11),
        ("GC0008", 5, 9),
        ("GC0011", 1, 1),
        ("GC0010", 2, 12),
        ("GC0010", 3, 28),
        ("GC0010", 7, 1),
        ("GC0010", 9, 5),
        ("GC0012", 10, 15),
    ]


@pytest.mark.parametrize(
    ("text", "code", "line", "column"),
    [
        (b"\xff\xfed\x00", "GC0001", 1, 1),
        (b"dim B\n# \xc3\x28", "GC0001", 2, 3),
        ("dim B\x00", "GC0003", 1, 6),
        ("dim B # \x1b[31m", "GC0003", 1, 9),
        ("dim B # \u202e", "GC0003", 1, 9),
        ("dim B\rdim C", "GC0003", 1, 6),
        (BODY + "    y = \u0430", "GC0005", 2, 9),
        (BODY + "\ty = x", "GC0006", 2, 1),
        (BODY + "    y = x\n      z = x", "GC0006", 3, 7),
        (BODY + '    y = "abc', "GC0007", 2, 9),
        (BODY + "    y = (x]", "GC0008", 2, 11),
        (BODY + "    y = x)", "GC0008", 2, 10),
        (BODY + "    y = 1e999", "GC0005", 2, 9),
        (BODY + "    y = 1e-400", "GC0005", 2, 9),
        (BODY + "    y = 0x1p-1074", "GC0005", 2, 9),
        (BODY + "    y = .5", "GC0010", 2, 9),
        (BODY + "dim B", "GC0010", 1, 1),
        (BODY, "GC0010", 1, 1),
    ],
)
def test_wrong_texts(text: str | bytes, code: str, line: int, column: int) -> None:
    assert faults(text) == [(code, line, column)]


@pytest.mark.parametrize(
    "text",
    ["", "\n\n", "# only a comment", "\ufeffdim B", "dim B\r\ndim C\r\n", "dim B # x\tx", "dim\tB"],
)
def test_accepted_texts(text: str) -> None:
    tree(text)
    module, diagnostics = parse_bytes("m.gc", text.encode())
    assert module is not None and not diagnostics


@pytest.mark.parametrize(
    "text",
    [
        BODY + "    y = " + "(" * 100_000 + "x" + ")" * 100_000,
        BODY + "    y = " + "[" * 100_000,
        BODY + "    y = " + "-" * 100_000 + "x",
        BODY + "    y = " + "not " * 100_000 + "x",
        BODY + "    y = " + "x ** " * 10_000 + "x",
        BODY + "    y = x" + "(1)" * 10_000,
        BODY + "    y = x" + "[0]" * 10_000,
        BODY + "    y = " + "a" * 1_000_000,
        BODY + '    y = "' + "a" * 1_000_000 + '"',
        BODY + "    y = " + "1" * 1_000_000,
        BODY + "".join(" " * (4 + k) + "when training:\n" for k in range(300)) + " " * 304 + "y = x\n",
        " " * 10_000_000,
        "model " * 10_000,
        "@a " * 10_000,
        ")" * 100_000,
        "$" * 100_000,
    ],
    ids=range(16),
)
def test_hostile_texts_end_in_diagnostics(text: str) -> None:
    start = time.process_time()
    module, diagnostics = parse(Source("m.gc", text))
    assert module is None
    assert 1 <= len(diagnostics) <= 200
    assert len(render_all(diagnostics)) < 100_000
    assert time.process_time() - start < 20.0


def test_a_long_flat_expression_is_no_nesting() -> None:
    value = expression("a" + " + a" * 100_000)
    assert value.depth == 2
    assert expression("x" + " |> f" * 10_000).depth == 2


def test_limits_can_be_set() -> None:
    module, diagnostics = parse(Source("m.gc", BODY + "    y = (((x)))"), Limits(nesting=2))
    assert module is None
    assert [where(diagnostic) for diagnostic in diagnostics] == [("GC0004", 2, 11)]
