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

from graphc.codegen.entry import plan_entry
from graphc.codegen.memory import live_at_once
from graphc.codegen.target import host
from graphc.frontend.build import elaborate
from graphc.passes import levels
from graphc.source import Source

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


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_memory_plans_need_hardly_more_than_what_lives_at_once(case: Case) -> None:
    program, _ = elaborate(Source(case.name, case.text), load=lambda path: Source(path, ""), dims=case.dims)
    assert program is not None
    for name, graph in program.entries.items():
        code = plan_entry(name, levels.pipeline("O2").run(graph), host())
        least, _ = live_at_once(code.memory, {})
        assert least <= code.arena_bytes({}) <= 1.1 * least, name


def test_a_name_stands_for_all_of_its_kind() -> None:
    assert [case.name for case in select(["W2"])] == ["W2-b32", "W2-b128", "W2-b1024"]
    assert [case.name for case in select(["LSTM-T64", "W8-inf"])] == [
        *("W8-inf-b1", "W8-inf-b8", "LSTM-T64-inf", "LSTM-T64-train"),
    ]
    with pytest.raises(SystemExit, match="no workload W22"):
        select(["W22"])
