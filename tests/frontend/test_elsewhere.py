"""What those write who come from other languages and libraries: the error says what is written here instead."""

from __future__ import annotations

import pytest

from graphc.diagnostics import Diagnostic
from graphc.frontend.build import elaborate
from graphc.frontend.elsewhere import advice, standard_names
from graphc.frontend.functions import FUNCTIONS
from graphc.source import Source

HEAD = "use std.nn: conv2d\ndim B, C = 10\nmodel m(x: f32[B, 8]) -> (y: f32[B, 8]):\n    param w: f32[8, 8] = zeros()\n"
TRAIN = HEAD + "    y = x @ w\ntrain m:\n    input t: f32[B, 8], label: i32[B], real_label: f32[B]\n"
CONVOLUTION = "use std.nn: conv2d\nmodel m(x: {type}) -> (y: f32[2]):\n    param c = conv2d[K=5, O=8]\n    y = c(x)\n"
CASE = "Uppercase names are dimensions, lowercase names are values"


def errors(text: str) -> list[Diagnostic]:
    return elaborate(Source("m.gc", text), load=lambda path: Source(path, ""))[1]


def test_the_head_of_these_tests_is_right() -> None:
    assert errors(TRAIN + "    loss = mse(y, t)\n    optimizer = sgd(lr=0.1)\n") == []


@pytest.mark.parametrize(
    ("line", "help"),
    [
        ("y = torch.relu(x)", "write relu(x)"),
        ("y = F.relu(x)", "write relu(x)"),
        ("y = F.gobbledygook(x)", "functions have bare names: relu(x)"),
        ("y = ReLU(x)", "did you mean `relu`? Uppercase names are dimensions"),
        ("y = MaxPool2d(x)", "did you mean `max_pool`? Uppercase names are dimensions"),
        ("y = Dense(x)", "it is in the library: use std.nn: dense"),
        ("param d = Dense(8)", "it is in the library: use std.nn: dense"),
        ("param d = dense[O=8]", "it is in the library: use std.nn: dense"),
        ("param d = conv2d[C]", "sizes are given by name, such as O=C"),
        ("y = x |> dense[O=8]", "param name = block[O=...], and then name(x)"),
        ("y = matmul(x, w)", "a product of matrices is x @ w"),
        ("y = np.dot(x, w)", "a product of matrices is x @ w"),
        ("y = x.softmax()", "write softmax(x)"),
        ("y = x.view(-1, 8)", "did you mean `reshape`?"),
        ("y = x.T", "write transpose(x)"),
        ("y = x * x.shape[0]", "a size is its dimension, such as B"),
        ("y = softmax(x, dim=1)", "the axis of a function is named by axis="),
        ("y = x if x > 0.0 else w", "both ways are computed, and one is taken: y = where(condition, yes, no)"),
        ("y = x ^ 2", "a power: x ** 2"),
        ("y = x > 0.0 && x < 1.0", "both conditions: a and b"),
        ("y = x;", "a statement ends with its line"),
        ("y = x * .5", "write 0.5"),
        ("y = max(x w)", "is a comma missing before `w`?"),
        ("y == x", "to give it a value, write y = ..."),
        ("print(x)", "`probe name = value` makes an output of any value"),
        ("W = x", CASE),
        ("y = cumsum(x, reverse=True)", "write true"),
        ("y = float(x)", "to convert: cast(x, f32)"),
        ("y = x.float()", "to convert: cast(x, f32)"),
        ('y = einsum("bi,io->bo", x, w)', "write einsum(x[b, i] * w[i, o] -> [b, o])"),
        ("y = x[:, 8]", "the first element has the index 0, the last one -1"),
        ("y = x[:, -9]", "the first element has the index 0, the last one -1"),
        ("optimizer = adam()", "write it below `train NAME:`, with the model's name"),
        ('"""doubles"""', "a comment begins with #, one that belongs to a declaration with ##"),
    ],
)
def test_statements(line: str, help: str) -> None:
    found = errors(HEAD + f"    {line}\n")
    assert help in [one.help for one in found if one.span.first.line == 5]


@pytest.mark.parametrize(
    ("line", "help"),
    [
        ("loss = CrossEntropyLoss(y, label)", "did you mean `cross_entropy`? Uppercase names are dimensions"),
        ("loss = sparse_categorical_crossentropy(y, label)", "did you mean `cross_entropy`?"),
        ("loss = BCELoss(y, t)", "did you mean `binary_cross_entropy`? Uppercase names are dimensions"),
        ("loss = cross_entropy(y, real_label)", "declare them i32[B], or use cast(..., i32)"),
        ("hyper lr = 0.1", "say its type: lr: f32 = ..."),
        ("optimizer: adam(lr = 0.1)", "write optimizer = adam(lr = 1e-3)"),
        ("optimiser = adam(lr = 0.1)", "an optimizer is chosen in a train section: optimizer = adam(...)"),
    ],
)
def test_train_sections(line: str, help: str) -> None:
    assert help in [one.help for one in errors(TRAIN + f"    {line}\n") if one.span.first.line == 8]


@pytest.mark.parametrize(
    ("head", "help"),
    [
        ("model m(x: float[3]) -> (y: f32[3]):", "write f32"),
        ("model m(x: uint8[3]) -> (y: u8[3]):", "write u8"),
        ("model m(x) -> (y: f32[3]):", "say its type: x: f32[B]"),
        ("model m(x: f32[3]) -> f32[3]:", "outputs have names: -> (y: f32[B])"),
        ("model m(x: f32[3 4]) -> (y: f32[3]):", "is a comma missing before `4`?"),
        ("// a comment", "a comment begins with #, one that belongs to a declaration with ##"),
    ],
)
def test_heads(head: str, help: str) -> None:
    assert errors(head + "\n    y = x\n")[0].help == help


def test_tabs_are_one_error_and_the_rest_of_the_file_is_read() -> None:
    lines = ["model m(x: f32[3]) -> (y: f32[3]):", "\ta = x", "\tb = missing", "    y = a + b"]
    found = errors("\n".join(lines) + "\n")
    assert [(one.code, one.span.first.line) for one in found] == [("GC0006", 2)]
    lines[1] = "    a = x"
    lines[3] = "    y = a + gone"
    found = errors("\n".join(lines) + "\n")
    assert [(one.code, one.span.first.line) for one in found] == [("GC0006", 3)]


def test_spaces_of_other_kinds_are_read_as_spaces() -> None:
    lines = ["model m(x: f32[3]) -> (y: f32[3]):", "\u00a0   a = x", "\u00a0   b\u2003= a", "    y = b"]
    found = errors("\n".join(lines) + "\n")
    assert [(one.code, one.span.first.line, one.title) for one in found] == [
        ("GC0006", 2, "U+00A0 NO-BREAK SPACE in the indentation"),
        ("GC0005", 3, "U+2003 EM SPACE between words"),
    ]


def test_a_name_of_ones_own_is_no_library() -> None:
    text = "dim F = 3\nmodel m(nn: f32[F]) -> (y: f32[F]):\n    y = nn + nn.softmax\n"
    assert [one.title for one in errors(text)] == ["f32[3] has no `softmax`"]


def test_advice_names_what_there_is() -> None:
    known = {*FUNCTIONS, *standard_names()}
    assert {"dense", "conv2d", "adam"} <= set(standard_names())
    for name in (
        "Linear",
        "Conv2d",
        "BatchNorm2d",
        "LayerNorm",
        "LSTM",
        "GRU",
        "Embedding",
        "MultiheadAttention",
        "Adam",
    ):
        text = advice(name, FUNCTIONS)
        assert any(text.endswith(f" {one}") or f" {one}(" in text for one in known), (name, text)
    assert advice("gobbledygook", FUNCTIONS) == "" and advice("x", FUNCTIONS) == ""


def test_what_fails_in_the_library_is_shown_at_the_call() -> None:
    text = CONVOLUTION.format(type="f32[2, 1, 28, 28]")
    (found,) = errors(text)
    assert (found.span.source.name, found.span.first.line, found.labels[0].text) == (
        "m.gc",
        4,
        "in this call of `conv2d`",
    )
    assert found.labels[1].span.source.name == "std/nn.gc"
    assert found.help == "an image is [batch, spatial axes .., channels]"


def test_a_block_called_with_another_rank_says_so() -> None:
    text = CONVOLUTION.format(type="f32[2, 28, 28]")
    (found,) = errors(text)
    assert found.title == "`x` of `conv2d` is real[B, H, W, I], not f32[2, 28, 28]"
    assert found.help == "an axis of size 1 is added by reshape(x, [2, 28, 28, 1])"


def test_an_unmet_requirement_of_a_block_is_its_only_error() -> None:
    head = "use std.nn: attention\nmodel m(x: f32[7, 9, 30]) -> (y: f32[7, 9, 30]):\n"
    (found,) = errors(head + "    param a = attention[A=8]\n    y = a(x)\n")
    assert (found.code, found.span.first.line) == ("GC0310", 4)
    assert found.title == "the width D must be a multiple of the number of heads A"


def test_a_loop_over_a_dimension_is_a_scan() -> None:
    found = errors(HEAD + "    for t in C:\n        y = x\n")
    assert "a loop at run time is `scan t in C:`" in [one.help for one in found]


def test_none_is_one_error() -> None:
    assert [one.code for one in errors(HEAD + "    y = x + sum(x, axis=None)\n")] == ["GC0206"]
