"""GC05xx: scans."""

from __future__ import annotations

from graphc.diagnostics import Explanation as E

HEAD = "dim T\nmodel m(x: f32[T, 3]) -> (y: f32[3]):\n"
SUM = HEAD + "    scan t in T:\n        carry y: f32[3] = zeros()\n        y = y + x[t]\n"

SCAN_CODES = (
    E(
        "GC0501",
        "a name from outside changes inside a scan",
        "What the body of a scan binds lives for one step. A value that goes from step to step is declared in the\n"
        "body by `carry`; a value of every step is collected by `emit`.",
        HEAD
        + "    y = x[0]\n    scan t in T:\n        carry n: f32 = 0.0\n        n = n + 1.0\n        y = y + x[t]\n",
        SUM,
    ),
    E(
        "GC0502",
        "an emit does not have the axis of its scan once",
        "`emit hs: f32[B, T, H] = h` in `scan t in T` collects the h of every step along T. The declared type is that\n"
        "of all steps together and has T exactly once, at any place.",
        SUM + "        emit all_sums: f32[3] = y\n",
        SUM + "        emit all_sums: f32[T, 3] = y\n",
    ),
    E(
        "GC0503",
        "a scan without carry and emit",
        "Nothing comes out of a scan but what it carries and emits.",
        HEAD + "    scan t in T:\n        h = x[t]\n    y = x[0]\n",
        SUM,
    ),
    E(
        "GC0504",
        "what cannot stand inside a scan",
        "A state changes once a step of training, and a probe is one value of a call: neither can be had once for\n"
        "each step of a scan. Emit the value, and probe or store what becomes of it behind the scan.",
        SUM + "        probe size = sum(y)\n",
        SUM + "        emit sums: f32[T] = sum(y)\n    probe sizes = sums\n",
    ),
    E(
        "GC0505",
        "a carry that no step changes (a warning)",
        "The body never assigns it, so it is the same at every step: an ordinary value, or a forgotten assignment.",
        HEAD + "    scan t in T:\n        carry y: f32[3] = zeros(), h: f32 = 2.0\n        y = y + h * x[t]\n",
        SUM,
    ),
)
