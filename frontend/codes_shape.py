"""GC02xx and GC03xx: types, shapes and dimensions."""

from __future__ import annotations

from graphc.diagnostics import Explanation as E

HEAD = "model m(x: f32[3]) -> (y: f32[3]):\n"
BATCH = "dim B, D = 784, C = 10\nmodel m(x: f32[B, D]) -> (y: f32[B, C]):\n"

SHAPE_CODES = (
    E(
        "GC0201",
        "shapes that do not join",
        "`@` joins the last axis of its left side with the first of its right side (the last but one, if it has more\n"
        "than two). Elementwise operators need equal shapes; the shorter may be the suffix of the longer; a scalar\n"
        "broadcasts; of two different sizes one must be an axis written `_`. A size that happens to be "
        "1 does not stretch.",
        BATCH + "    param w: f32[C, D] = zeros()\n    y = x @ w\n",
        BATCH + "    param w: f32[D, C] = zeros()\n    y = x @ w\n",
    ),
    E(
        "GC0202",
        "an operation does not take this type",
        "For example `/` and `exp` work on floats, and `not` on truth values. Convert with cast.",
        "model m(x: i32[3]) -> (y: f32[3]):\n    y = exp(x)\n",
        "model m(x: i32[3]) -> (y: f32[3]):\n    y = exp(cast(x, f32))\n",
    ),
    E(
        "GC0203",
        "different element types",
        "Types are never converted by themselves. Only a literal takes the type of the other operand: "
        "an integer where it\n"
        "is exact, a decimal where that is a float.",
        "model m(x: f32[3], n: i32[3]) -> (y: f32[3]):\n    y = x * n\n",
        "model m(x: f32[3], n: i32[3]) -> (y: f32[3]):\n    y = x * cast(n, f32)\n",
    ),
    E(
        "GC0204",
        "a value has another shape than it is declared with",
        "Declared shapes are checked, never adapted; only scalars and axes written `_` broadcast to them.",
        "dim B\nmodel m(x: f32[B, 4]) -> (y: f32[B, 3]):\n    y = x\n",
        "dim B\nmodel m(x: f32[B, 4]) -> (y: f32[B, 3]):\n    y = x[:, 0:3]\n",
    ),
    E(
        "GC0205",
        "the number of names and values differs",
        "`a, b = f(x)` needs as many names as f has outputs.",
        HEAD + "    a, b = x\n    y = a\n",
        HEAD + "    a, b = x, x + 1.0\n    y = a + b\n",
    ),
    E(
        "GC0206",
        "this is no value",
        "Blocks, functions, modules and optimizers are called; they cannot be added, assigned or passed on.",
        HEAD + "    y = x + relu\n",
        HEAD + "    y = x + relu(x)\n",
    ),
    E(
        "GC0207",
        "a constant that cannot be computed",
        "Arithmetic on literals happens at compile time: division by zero and results beyond f64 are errors.",
        HEAD + "    y = x * (1 / 0)\n",
        HEAD + "    y = x * inf\n",
    ),
    E(
        "GC0301",
        "not a dimension",
        "Dimensions are made of integers and Uppercase names with + - * / // %. Lowercase names are values, and the\n"
        "values of tensors are not known when shapes are.",
        "dim C = 1.5\n",
        "dim C = 3\n",
    ),
    E(
        "GC0302",
        "a division of dimensions fails",
        "`/` on dimensions must be exact; `//` rounds down.",
        "dim D = 10, K = D / 4\n",
        "dim D = 10, K = D // 4\n",
    ),
    E(
        "GC0303",
        "`...` or `_` where it cannot stand",
        "`...` (any leading axes) stands in the types of a block's arguments and outputs; parameters have neither.",
        "model m(x: f32[..., 3]) -> (y: f32[3]):\n    y = x\n",
        HEAD + "    y = x\n",
    ),
    E(
        "GC0304",
        "a size that is not possible",
        "Dimensions are at least 1. Bounds `low..high` begin at 1 or more and are not empty.",
        "dim C = 0\n",
        "dim C = 1\n",
    ),
    E(
        "GC0305",
        "a dimension is not known",
        "The dimensions of a block follow from its arguments; what does not is given in brackets at the declaration.",
        "use std.nn: dense\n" + HEAD + "    param l = dense\n    y = l(x)\n",
        "use std.nn: dense\n" + HEAD + "    param l = dense[O=3]\n    y = l(x)\n",
    ),
    E(
        "GC0306",
        "no such axis",
        "An axis is named by its dimension, or counted from 0 (from -1 at the end).",
        "model m(x: f32[3]) -> (y: f32):\n    y = sum(x, axis=1)\n",
        "model m(x: f32[3]) -> (y: f32):\n    y = sum(x, axis=0)\n",
    ),
    E(
        "GC0307",
        "a size must be known at compile time",
        "Parameters and states have fixed sizes, and so has the number of instances. Give the dimension a value.",
        "dim N\nmodel m(x: f32[N]) -> (y: f32[N]):\n    param b: f32[N] = zeros()\n    y = x + b\n",
        "dim N = 8\nmodel m(x: f32[N]) -> (y: f32[N]):\n    param b: f32[N] = zeros()\n    y = x + b\n",
    ),
    E(
        "GC0308",
        "an instance is used with two sizes",
        "Calling an instance twice shares its parameters, so both calls need the same sizes.",
        "use std.nn: dense\nmodel m(x: f32[2, 3]) -> (y: f32[2, 4]):\n    param l = dense[O=4]\n    y = l(l(x))\n",
        "use std.nn: dense\nmodel m(x: f32[2, 3]) -> (y: f32[2, 4]):\n"
        "    param l = dense[O=4], k = dense[O=4]\n    y = k(l(x))\n",
    ),
    E(
        "GC0309",
        "not a requirement",
        "`require` takes comparisons of dimensions, joined by `and`.",
        "dim D = 4\nmodel m(x: f32[D]) -> (y: f32[D]):\n    require D\n    y = x\n",
        "dim D = 4\nmodel m(x: f32[D]) -> (y: f32[D]):\n    require D % 2 == 0\n    y = x\n",
    ),
    E(
        "GC0310",
        "a requirement does not hold",
        "The text of the requirement says what the author expects. What depends on run-time sizes is "
        "checked at the call.",
        'dim D = 5\nmodel m(x: f32[D]) -> (y: f32[D]):\n    require D % 2 == 0, "D must be even"\n    y = x\n',
        'dim D = 4\nmodel m(x: f32[D]) -> (y: f32[D]):\n    require D % 2 == 0, "D must be even"\n    y = x\n',
    ),
    E(
        "GC0311",
        "a subscript that does not fit",
        "Indices and slices stay within the axis; negative ones count from its end. Steps are positive.",
        "model m(x: f32[3]) -> (y: f32[2]):\n    y = x[2:4]\n",
        "model m(x: f32[3]) -> (y: f32[2]):\n    y = x[1:3]\n",
    ),
    E(
        "GC0312",
        "a wrong einsum",
        "Each term has a label for every axis; the labels of the result stand in some term, each once.",
        "model m(x: f32[3, 4]) -> (y: f32[3]):\n    y = einsum(x[i, j] -> [k])\n",
        "model m(x: f32[3, 4]) -> (y: f32[3]):\n    y = einsum(x[i, j] -> [i])\n",
    ),
    E(
        "GC0313",
        "the elements do not divide up",
        "A reshape keeps the number of elements; a split uses up its axis.",
        "model m(x: f32[6]) -> (y: f32[4]):\n    y = reshape(x, [4])\n",
        "model m(x: f32[6]) -> (y: f32[2, 3]):\n    y = reshape(x, [2, -1])\n",
    ),
)
