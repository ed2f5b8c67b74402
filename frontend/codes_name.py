"""GC01xx: names."""

from __future__ import annotations

from graphc.diagnostics import Explanation as E

HEAD = "model m(x: f32[3]) -> (y: f32[3]):\n"

NAME_CODES = (
    E(
        "GC0101",
        "an unknown name",
        "Nothing of that name is visible here. A block is closed: it sees its dimensions, its arguments and the\n"
        "declarations of its file, not the values of its caller.",
        HEAD + "    y = relv(x)\n",
        HEAD + "    y = relu(x)\n",
    ),
    E(
        "GC0102",
        "an unknown dimension",
        "Dimensions are declared by `dim` at the beginning of a file or in a body, or in the brackets of a block.",
        "block f[B](x: f32[B, D]) -> (y: f32[B, D]):\n    y = x\n",
        "block f[B, D](x: f32[B, D]) -> (y: f32[B, D]):\n    y = x\n",
    ),
    E(
        "GC0103",
        "a name is declared twice",
        "Values may be rebound; parameters, instances, dimensions, blocks and arguments have one meaning.",
        "dim C = 3\ndim C = 4\n",
        "dim C = 3\ndim K = 4\n",
    ),
    E(
        "GC0104",
        "an unknown element type",
        "The element types are f64 f32 i64 i32 i8 u8 bool, and `real`, the float type of the file.",
        "model m(x: float32[3]) -> (y: f32[3]):\n    y = x\n",
        HEAD + "    y = x\n",
    ),
    E(
        "GC0105",
        "a module or one of its names is not found",
        '`use std.nn: dense` takes names of the standard library; `use "./common.gc" as common` reads a file\n'
        "relative to this one. There is no search path.",
        "use std.nn: desne\n",
        "use std.nn: dense\n",
    ),
    E(
        "GC0106",
        "files use each other in a circle",
        "A file cannot use itself, also not through others. Move what both need into a third file.",
        'use "./m.gc" as me\n',
        "use std.nn as nn\n",
    ),
    E(
        "GC0107",
        "an unknown precision",
        "`precision` sets params, compute and accumulate to f32 or f64, and compute also to bf16.",
        "precision weights = f32\n",
        "precision params = f32, compute = f64\n",
    ),
    E(
        "GC0108",
        "a built-in name cannot be used",
        "Built-in functions and inf, nan, true and false keep their meaning everywhere.",
        HEAD + "    mean = x\n    y = mean\n",
        HEAD + "    average = x\n    y = average\n",
    ),
    E(
        "GC0109",
        "an unknown annotation",
        "A parameter can be `@frozen` (not trained), a block or a scan `@recompute` (computed again in the backward\n"
        "pass).",
        "@frosen\nblock f(x: f32) -> (y: f32):\n    y = x\n",
        "@recompute\nblock f(x: f32) -> (y: f32):\n    y = x\n",
    ),
    E(
        "GC0110",
        "not an initialiser",
        "A parameter starts as zeros ones constant uniform normal truncated_normal glorot_uniform glorot_normal\n"
        "he_uniform he_normal lecun_normal orthogonal, or as a number.",
        HEAD + "    param b: f32[3] = zeroes()\n    y = x + b\n",
        HEAD + "    param b: f32[3] = zeros()\n    y = x + b\n",
    ),
    E(
        "GC0111",
        "no model, or several, to compile (a warning)",
        "`graphc compile` builds one model: the only one of the file, the only one with a train "
        "section, or the one that\n"
        "--model names.",
        "block f(x: f32) -> (y: f32):\n    y = x\n",
        HEAD + "    y = x\n",
    ),
    E(
        "GC0112",
        "an instance that is never called (a warning)",
        "The parameters of an instance come to be when it is called, for then its dimensions are known.",
        "use std.nn: dense\n" + HEAD + "    param l = dense[O=3], unused = dense[O=3]\n    y = l(x)\n",
        "use std.nn: dense\n" + HEAD + "    param l = dense[O=3]\n    y = l(x)\n",
    ),
)
