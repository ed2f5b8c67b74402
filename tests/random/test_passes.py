"""Every pass keeps the meaning of random graphs: alone, all together, and in any order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from generate import Case, cut_down, random_case, reference, report

from graphc.ir.node import Node, make
from graphc.ir.rewrite import rewrite, rule
from graphc.ir.types import F32, F64
from graphc.passes.levels import LEVELS, PASSES, pipeline
from graphc.passes.pipeline import Pass, Pipeline

SEEDS = 500
TOLERANCE = {8: 1e-12, 4: 1e-4}  # of the largest element: sums are taken in another order
KEEPING = tuple(one for name, one in PASSES.items() if name != "simplify-fast-math")


def first_difference(case: Case, run: Pipeline, known: dict[str, Any] | None = None) -> str:
    """The first output in which the graph and its optimised form differ, or nothing; `known` is the reference."""
    graph = run.run(case.graph)
    if graph is case.graph:
        return ""
    before = known or reference(case)
    after = reference(Case(case.seed, graph, case.values, case.sizes))
    if list(before) != list(after):
        return f"outputs {list(after)}"
    for name, a in before.items():
        b = after[name]
        if a.dtype != b.dtype or a.shape != b.shape:
            return f"{name}: {a.dtype}{a.shape} became {b.dtype}{b.shape}"
        if not agree(a, b):
            return f"{name}: {a} became {b}"
    return ""


def agree(a: Any, b: Any) -> bool:
    """Integers and bools to the bit; floats up to the order of sums, NaN and infinities in their places."""
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    finite = np.isfinite(a)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return False
    scale = max(1.0, float(np.max(np.abs(a[finite]), initial=0.0)))
    return bool(np.all(np.abs(a[finite] - b[finite]) <= TOLERANCE[a.dtype.itemsize] * scale))


def check(seed: int, run: Pipeline, case: Case, known: dict[str, Any]) -> None:
    difference = first_difference(case, run, known)
    if difference:
        small = cut_down(case, lambda c: first_difference(c, run) != "")
        raise AssertionError(report(small, f"{run} of seed {seed}: {first_difference(small, run)} (was {difference})"))


@pytest.mark.parametrize("start", range(0, SEEDS, 10))
def test_passes_keep_the_meaning(start: int) -> None:
    for seed in range(start, start + 10):
        case = random_case(seed, F32 if seed % 4 == 3 else F64)
        known = reference(case)
        for one in KEEPING:
            check(seed, Pipeline((one,)), case, known)
        for level in LEVELS:
            check(seed, pipeline(level), case, known)
        order = np.random.default_rng(seed).permutation(len(KEEPING))
        check(seed, Pipeline(tuple(KEEPING[i] for i in order)), case, known)


def test_a_wrong_pass_is_caught_and_cut_down() -> None:
    """The comparison itself can fail: a rule that forgets the sign of a difference."""

    @rule("sub")
    def wrong(node: Node) -> Node | None:
        """a - b -> b - a"""
        a, b = node.inputs
        return None if b.op == "reverse" else make("sub", make("reverse", b, axes=()), make("reverse", a, axes=()))

    run = Pipeline((Pass("wrong", lambda graph: rewrite(graph, (wrong,)), "Wrong."),))
    with pytest.raises(AssertionError, match="wrong of seed"):
        for seed in range(10):  # not every graph has a difference that counts
            check(seed, run, random_case(seed), {})
