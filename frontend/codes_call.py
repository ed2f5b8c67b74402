"""GC04xx: calls of functions, blocks and instances."""

from __future__ import annotations

from graphc.diagnostics import Explanation as E

HEAD = "model m(x: f32[3]) -> (y: f32[3]):\n"
DENSE = "use std.nn: dense\n" + HEAD

CALL_CODES = (
    E(
        "GC0401",
        "this cannot be called",
        "Functions, blocks and instances are called. `|>` takes a function or a call on its right side.",
        HEAD + "    y = x(1.0)\n",
        HEAD + "    y = x * 1.0\n",
    ),
    E(
        "GC0402",
        "the wrong number of arguments",
        "The help line shows the arguments.",
        HEAD + "    y = clip(x)\n",
        HEAD + "    y = clip(x, 0.0, 1.0)\n",
    ),
    E(
        "GC0403",
        "no argument of that name",
        "Arguments may be given by name; dimensions stand in brackets and are Uppercase.",
        "model m(x: f32[3]) -> (y: f32):\n    y = sum(x, axes=0)\n",
        "model m(x: f32[3]) -> (y: f32):\n    y = sum(x, axis=0)\n",
    ),
    E(
        "GC0404",
        "an argument is given twice",
        "Once by position and once by name counts as twice.",
        HEAD + "    y = clip(x, 0.0, 1.0, low=0.5)\n",
        HEAD + "    y = clip(x, 0.5, 1.0)\n",
    ),
    E(
        "GC0405",
        "an argument has a value that does not fit",
        "The message names the argument and what it must be.",
        "model m(x: f32[3, 2], c: i32[3]) -> (y: f32):\n    y = cross_entropy(x, c, smoothing=1.5)\n",
        "model m(x: f32[3, 2], c: i32[3]) -> (y: f32):\n    y = cross_entropy(x, c, smoothing=0.1)\n",
    ),
    E(
        "GC0406",
        "this cannot be looped over",
        "`for` runs over an array of instances, at compile time. Over time steps runs `scan`.",
        HEAD + "    for one in x:\n        y = one\n    y = x\n",
        "use std.nn: dense\n"
        + HEAD
        + "    param layers[2] = dense[O=3]\n    for one in layers:\n        x = one(x)\n    y = x\n",
    ),
    E(
        "GC0407",
        "a block with parameters is called without an instance",
        "Parameters belong to an instance, declared with `param`, which gives them their path.",
        DENSE + "    y = dense(x)\n",
        DENSE + "    param l = dense[O=3]\n    y = l(x)\n",
    ),
    E(
        "GC0408",
        "an output is never assigned",
        "Every output of a block or model is assigned in its body, outside of a loop over nothing.",
        HEAD + "    z = x\n",
        HEAD + "    y = x\n",
    ),
)
