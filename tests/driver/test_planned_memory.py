"""One compiled model takes every length and every batch, and needs the memory that its plan says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

MODEL = Path(__file__).parents[2] / "examples" / "lstm_sentiment" / "lstm_sentiment.gc"
SLACK = 4.0  # MiB: of Python's own, beside a plan of 36

SCRIPT = """
import sys
from pathlib import Path
import numpy as np
import graphc
from graphc.runtime.model import Model

model = Model(graphc.compile(sys.argv[1], model="lstm_sentiment").artifact, threads=1)
model.init(seed=0)
rng = np.random.default_rng(0)

def step(batch, length):
    tokens = rng.integers(0, 500, (batch, length)).astype("i4")
    lengths = rng.integers(1, length + 1, batch).astype("i4")
    model.step(tokens=tokens, length=lengths, label=rng.integers(0, 2, batch).astype("u1"))

def resident(kind):
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith(kind)) / 1024

import llvmlite.binding
def refuse(*given):
    raise AssertionError("compiled again")
llvmlite.binding.parse_assembly = refuse
step(1, 1)
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
before = resident("VmRSS")
for length in (100, 400):
    step(32, length)
grown = resident("VmHWM") - before
for length in range(1, 401, 3):
    step(int(rng.integers(1, 33)), length)
plan = model._entry("step").arena_bytes({"B": 32, "T": 400}) / 2**20
print(plan, grown, resident("VmHWM") - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak of a process is read from /proc")
def test_every_length_runs_in_the_planned_memory_without_compiling_again() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(MODEL)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    plan, grown, after = map(float, done.stdout.split())
    assert plan > 30
    assert abs(grown - plan) < SLACK
    assert after < plan + SLACK
