"""Random graphs as native code: with passes and without, equal to the reference interpreter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from generate import Case, random_case, reference

from graphc.graph_function import compile_graph
from graphc.ir.types import F32, F64

SEEDS = 500
TOLERANCE = {8: 1e-9, 4: 2e-4}  # of the largest element, at least 1: sums are taken in another order


def difference(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    """The first output that differs, or nothing: integers to the bit, floats near, NaN and infinities in place."""
    for name, b in wanted.items():
        a, b = np.asarray(found[name]), np.asarray(b)
        if a.dtype != b.dtype or a.shape != b.shape:
            return f"{name}: {a.dtype}{a.shape}, not {b.dtype}{b.shape}"
        if a.dtype.kind != "f":
            if not np.array_equal(a, b):
                return f"{name}: {a}, not {b}"
            continue
        finite = np.isfinite(b)
        scale = max(1.0, float(np.max(np.abs(b[finite]), initial=0.0)))
        special = np.array_equal(a[~finite], b[~finite], equal_nan=True) and bool(np.isfinite(a[finite]).all())
        if not special or not np.all(np.abs(a[finite] - b[finite]) <= TOLERANCE[a.dtype.itemsize] * scale):
            return f"{name}: {a}, not {b}"
    return ""


def check(case: Case, passes: str) -> None:
    wanted = reference(case)
    outputs, updates = compile_graph(case.graph, passes)(case.values, case.sizes)
    found = {**outputs, **{f"update.{name}": value for name, value in updates.items()}}
    known = {name: value for name, value in wanted.items() if name in found}
    assert set(outputs) <= set(known), f"seed {case.seed}: outputs {list(outputs)}"
    wrong = difference(found, known)
    assert not wrong, f"seed {case.seed} with {passes}: {wrong}\n{case.graph}"


@pytest.mark.parametrize("start", range(0, SEEDS, 20))
def test_native_code_means_what_the_reference_means(start: int) -> None:
    for seed in range(start, start + 20):
        case = random_case(seed, F32 if seed % 3 == 2 else F64)
        for passes in ("O0", "O2"):
            check(case, passes)
