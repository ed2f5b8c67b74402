"""The two forms of a diagnostic, to the letter."""

from __future__ import annotations

import json

from graphc.diagnostics import WIDTH, Diagnostic, Label, render, render_all, to_json
from graphc.source import Source, Span

SOFTMAX = Source(
    "softmax.gc",
    "## Softmax regression.\n"
    "dim B, D = 784, C = 10\n"
    "model m(x: f32[B, D]) -> (logits: f32[B, C]):\n"
    "    param w: f32[C, D] = zeros(), b: f32[C] = zeros()\n"
    "    logits = x @ w + b\n",
)


def span(source: Source, text: str, after: str = "") -> Span:
    start = source.text.index(text, source.text.index(after))
    return source.span(start, start + len(text))


def test_the_example_of_the_language_contract() -> None:
    x = span(SOFTMAX, "x", "logits = ")
    diagnostic = Diagnostic(
        "GC0201",
        "`@` joins 784 with 10",
        (
            Label(span(SOFTMAX, "@"), "the last axis of x (D = 784) must equal the first axis of w (C = 10)"),
            Label(span(SOFTMAX, "f32[C, D]"), "w is f32[10, 784]  (C = 10, D = 784)"),
            Label(x),
        ),
        "write f32[D, C], or einsum(x[b, d] * w[c, d] -> [b, c])",
        place=x,
    )
    assert render(diagnostic) == (
        "error[GC0201]: `@` joins 784 with 10\n"
        "  --> softmax.gc:5:14\n"
        "   |\n"
        " 4 |     param w: f32[C, D] = zeros(), b: f32[C] = zeros()\n"
        "   |              --------- w is f32[10, 784]  (C = 10, D = 784)\n"
        " 5 |     logits = x @ w + b\n"
        "   |              - ^ the last axis of x (D = 784) must equal the first axis of w (C = 10)\n"
        "   = help: write f32[D, C], or einsum(x[b, d] * w[c, d] -> [b, c])\n"
    )


def test_several_texts_on_a_line_and_gaps() -> None:
    source = Source("a.gc", "a = 1\n\n\nb = 2\nc = a + b\n")
    labels = (
        Label(span(source, "a + b"), "the whole"),
        Label(span(source, "b", "+"), "right"),
        Label(span(source, "a = 1"), "here"),
    )
    assert render(Diagnostic("GC0001", "title", labels)) == (
        "error[GC0001]: title\n"
        "  --> a.gc:5:5\n"
        "   |\n"
        " 1 | a = 1\n"
        "   | ----- here\n"
        "...\n"
        " 5 | c = a + b\n"
        "   |     ^^^^^ right\n"
        "   |     the whole\n"
    )


def test_other_files_follow() -> None:
    other = Source("std/nn.gc", "block dense:\n")
    source = Source("a.gc", "use std.nn: dense\n")
    labels = (Label(span(source, "dense"), "used here"), Label(span(other, "dense"), "declared here"))
    text = render(Diagnostic("GC0001", "title", labels, severity="warning"))
    assert text.startswith("warning[GC0001]: title\n  --> a.gc:1:13\n")
    assert "  ::: std/nn.gc:1:7\n" in text


def test_long_lines_are_cut_and_hidden_characters_shown() -> None:
    source = Source("a.gc", "x" * 1_000_000 + "\x1b\u202e!" + "y" * 1_000_000)
    text = render(Diagnostic("GC0003", "bad \x1b[31m", (Label(source.span(1_000_000, 1_000_002), "here"),)))
    assert max(len(line) for line in text.splitlines()) < WIDTH + 20
    assert "\x1b" not in text and "\u202e" not in text
    code, marks = text.splitlines()[3:5]
    assert code[marks.index("^") : marks.rindex("^") + 1] == "\\x1b\\u{202e}"


def test_columns_survive_tabs_and_wide_characters() -> None:
    source = Source("a.gc", "é\t漢字 x")
    code, marks = render(Diagnostic("GC0001", "t", (Label(span(source, "x")),))).splitlines()[3:5]
    assert code == " 1 | é    漢字 x"
    assert marks == "   |           ^"  # a tab is four columns, the two wide characters four


def test_spans_over_lines_and_past_the_end() -> None:
    source = Source("a.gc", "a(\n  b)\n")
    assert "   | ^^\n" in render(Diagnostic("GC0001", "t", (Label(source.span(0, 7)),)))
    assert render(Diagnostic("GC0001", "t", (Label(source.span(8, 9)),)))
    assert render(Diagnostic("GC0001", "t", (Label(Source("e.gc", "").span(0, 0)),)))


def test_json_has_the_fields_of_the_contract() -> None:
    diagnostic = Diagnostic("GC0201", "a `b`", (Label(span(SOFTMAX, "@"), "text"), Label(span(SOFTMAX, "w:"))), "do")
    fields = json.loads(to_json(diagnostic))
    assert fields == {
        "code": "GC0201",
        "severity": "error",
        "message": "a `b`",
        "file": "softmax.gc",
        "line": 5,
        "column": 16,
        "end_line": 5,
        "end_column": 17,
        "labels": [
            {"line": 5, "column": 16, "end_line": 5, "end_column": 17, "text": "text"},
            {"line": 4, "column": 11, "end_line": 4, "end_column": 13, "text": ""},
        ],
        "help": "do",
    }
    assert "\n" not in to_json(diagnostic)


def test_all_in_order_without_repeats() -> None:
    first, second = (Diagnostic("GC0001", "t", (Label(SOFTMAX.span(at, at + 1)),)) for at in (3, 9))
    assert render_all([second, first, second]) == render(first) + "\n" + render(second)


def test_labels_of_other_files_are_not_in_json() -> None:
    """A label has no file there: an editor would mark the same lines of the wrong one."""
    library = Source("std/nn.gc", "block dense[I, O](x: real[..., I]) -> (y: real[..., O]):\n")
    here, there = span(SOFTMAX, "x", "logits = "), span(library, "dense")
    diagnostic = Diagnostic("GC0402", "`dense` needs `x`", (Label(here), Label(there, "declared here")))
    assert [one["text"] for one in json.loads(to_json(diagnostic))["labels"]] == [""]
    assert "declared here" in render(diagnostic)
