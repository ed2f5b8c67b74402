"""Each workload of the benchmark compiles, and computes what its twins in PyTorch and NumPy compute."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from workloads import CASES, select
from workloads.candidates import compare
from workloads.case import Case

DIFFERENT = {(case.text, *case.small.items()): case for case in CASES}  # at their small sizes many are the same


@pytest.mark.parametrize("case", DIFFERENT.values(), ids=lambda case: case.name)
def test_twins_agree(case: Case) -> None:
    if case.numpy is None and find_spec("torch") is None:
        pytest.skip("no peer is installed")
    assert compare(case.at(case.small), threads=2)


def test_a_name_stands_for_all_of_its_kind() -> None:
    assert [case.name for case in select(["W2"])] == ["W2-b32", "W2-b128", "W2-b1024"]
    with pytest.raises(SystemExit, match="no workload W22"):
        select(["W22"])
