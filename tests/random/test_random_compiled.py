"""Random graphs compiled, without passes and with all of them, against the reference.

GRAPHC_RANDOM_GRAPHS=10000 for the long run, which compiles each graph both ways in f64 and in f32. Otherwise a graph is
compiled without passes in one of them, and with all in the other.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from generate import Case, cut_down, random_case, reference, report

from graphc.graph_function import compile_graph
from graphc.ir.types import F32, F64, DType

LONG = "GRAPHC_RANDOM_GRAPHS" in os.environ
COUNT = int(os.environ.get("GRAPHC_RANDOM_GRAPHS", "300"))
START = int(os.environ.get("GRAPHC_RANDOM_START", "0"))
TOLERANCE = {F64: 1e-9, F32: 2e-4}


def distance(found: Any, expected: Any) -> float:
    """The largest difference, in units of the largest element, at least 1; infinite where exact values differ."""
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return np.inf
    if expected.dtype.kind != "f":
        return 0.0 if np.array_equal(found, expected) else np.inf
    if not np.array_equal(np.isfinite(found), np.isfinite(expected)):
        return np.inf
    finite = np.isfinite(expected)
    scale = max(1.0, float(np.abs(expected[finite]).max(initial=0)))
    return float(np.abs(found[finite] - expected[finite]).max(initial=0)) / scale


def worst(case: Case, level: str) -> tuple[float, str]:
    """The largest distance of a compiled result from the reference, and which result it is."""
    expected = reference(case)
    outputs, updates = compile_graph(case.graph, level)(case.values, case.sizes)
    found = outputs | {f"update.{name}": value for name, value in updates.items()}
    return max((distance(found[name], value), name) for name, value in expected.items())


@pytest.mark.parametrize("dtype", [F64, F32], ids=str)
@pytest.mark.parametrize("seed", range(START, START + COUNT))
def test_compiled_results_are_those_of_the_reference(seed: int, dtype: DType) -> None:
    case = random_case(seed, dtype)
    for level in ("O0", "O2") if LONG else ("O0",) if (dtype == F64) == (seed % 2 == 0) else ("O2",):
        error, name = worst(case, level)
        if error > TOLERANCE[dtype]:
            small = cut_down(case, lambda c, level=level: worst(c, level)[0] > TOLERANCE[dtype])
            raise AssertionError(report(small, f"{level}: {name} is {error:.2e} from the reference"))
