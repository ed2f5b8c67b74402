"""GC00xx: what is wrong with the text before it has a meaning."""

from __future__ import annotations

from graphc.diagnostics import Explanation as E

HEAD = "model m(x: f32[3]) -> (y: f32[3]):\n"
RIGHT = HEAD + "    y = x + 1.0\n"

TEXT_CODES = (
    E(
        "GC0001",
        "the file is not UTF-8",
        "A model file is UTF-8 text, with or without a byte order mark.",
        "\\xff\\xfed",
        "dim B\n",
    ),
    E(
        "GC0002",
        "the file is too large",
        "A model file has at most 1 MiB. Large tables of numbers belong into parameters.",
        "# (more than 1 MiB of text)",
        RIGHT,
    ),
    E(
        "GC0003",
        "a control or invisible character",
        "Control characters, invisible format characters and bidirectional overrides are not allowed "
        "anywhere, not even\n"
        "in comments: what is read must be what is shown. Tabs may stand between words, not in the indentation.",
        HEAD + "    y = x  # \x07\n",
        HEAD + "    y = x  # bell\n",
    ),
    E(
        "GC0004",
        "a limit of the text is exceeded",
        "Names have at most 200 characters, numbers 100, strings 4,000; brackets, blocks and operators nest at most\n"
        "200 deep. A sum of 100,000 terms is not nesting and is allowed.",
        HEAD + "    y = x + " + "1" * 101 + "\n",
        RIGHT,
    ),
    E(
        "GC0005",
        "text that is no word, number or sign of the language",
        "Names are made of ASCII letters, digits and `_`. Numbers are written 12, 0.5 or 1e-3; `1_000`, "
        "`0x10` and `.5`\n"
        "are not numbers. Strings have double quotes. A literal beyond the range of f64 is an error, never inf or 0.",
        HEAD + "    y = x + 1_000\n",
        HEAD + "    y = x + 1000.0\n",
    ),
    E(
        "GC0006",
        "wrong indentation",
        "The lines of a body are indented equally, by spaces, and deeper than their head.",
        HEAD + "    h = x\n      y = h\n",
        HEAD + "    h = x\n    y = h\n",
    ),
    E(
        "GC0007",
        "a string without end",
        "A string ends on the line it begins on.",
        'use "./a.gc as a\n',
        "use std.nn as nn\n",
    ),
    E(
        "GC0008",
        "brackets that do not match",
        "Every bracket is closed by its own kind. Inside brackets a line may be continued on the next.",
        HEAD + "    y = (x + 1.0]\n",
        HEAD + "    y = (x +\n         1.0)\n",
    ),
    E(
        "GC0010",
        "the line does not fit the grammar",
        "The message says what was found and what could have stood there. The other lines are still checked.",
        HEAD.replace("):\n", ")\n") + "    y = x\n",
        HEAD + "    y = x\n",
    ),
    E(
        "GC0011",
        "an unknown keyword",
        "The line begins with two words, and the first is not a keyword.",
        RIGHT.replace("model", "modle"),
        RIGHT,
    ),
    E(
        "GC0012",
        "comparisons do not chain",
        "`a < b < c` is not allowed, because elsewhere it means several things. Join two comparisons with `and`.",
        "model m(x: f32[3]) -> (y: bool[3]):\n    y = 0.0 < x < 1.0\n",
        "model m(x: f32[3]) -> (y: bool[3]):\n    y = 0.0 < x and x < 1.0\n",
    ),
    E(
        "GC0013",
        "a statement in the wrong place",
        "`input`, `hyper`, `metric` and the choice of an optimizer belong into a train section, `slot` "
        "into an optimizer,\n"
        "`param` and `state` into a model or block, `carry` and `emit` into a scan.",
        HEAD + "    slot v = zeros()\n    y = x\n",
        HEAD + "    y = x\n",
    ),
)
