"""Each workload of the benchmark compiles, and computes what its twins in PyTorch, JAX and NumPy compute."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from workloads import CASES, select
from workloads.candidates import compare
from workloads.case import Case

DIFFERENT = {(case.text, *case.small.items()): case for case in CASES}  # at their small sizes many are the same


@pytest.mark.parametrize("case", DIFFERENT.values(), ids=lambda case: case.name)
def test_twins_agree(case: Case) -> None:
    if case.numpy is None and find_spec("torch") is None:
        pytest.skip("neither a NumPy twin nor PyTorch")
    assert compare(case.at(case.small), threads=2, among=("numpy", "torch"))


# All cases in one process that is not ours: where JAX has run, Python warns about every `fork` of a later test.
WITH_JAX = """
import json
import sys
from workloads import select
from workloads.candidates import compare

found = {}
for name in sys.argv[1:]:
    [case] = select([name])
    try:
        found[name] = compare(case.at(case.small), threads=2, among=("jax",))
    except ValueError as error:
        found[name] = str(error)
print(json.dumps(found))
"""


@pytest.mark.skipif(find_spec("jax") is None, reason="JAX is not installed")
def test_twins_in_jax_agree() -> None:
    names = [case.name for case in DIFFERENT.values()]
    command = [sys.executable, "-c", WITH_JAX, *names]
    environment = {**os.environ, "XLA_FLAGS": "--xla_backend_optimization_level=0"}  # compiles in half the time
    child = subprocess.run(command, cwd=Path(__file__).parent, env=environment, capture_output=True, text=True)
    assert child.returncode == 0, child.stderr
    found = json.loads(child.stdout)
    assert {name: found[name] for name in names if list(found[name]) != ["jax"]} == {}


def test_a_name_stands_for_all_of_its_kind() -> None:
    assert [case.name for case in select(["W2"])] == ["W2-b32", "W2-b128", "W2-b1024"]
    assert [case.name for case in select(["LSTM-T64", "W8-inf"])] == [
        *("W8-inf-b1", "W8-inf-b8", "LSTM-T64-inf", "LSTM-T64-train"),
    ]
    with pytest.raises(SystemExit, match="no workload W22"):
        select(["W22"])
