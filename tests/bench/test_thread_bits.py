"""Workloads are trained to the same bits on any number of threads, in any process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from thread_bits import COUNTS, SIZES

FULL = os.environ.get("GRAPHC_FULL_WORKLOADS", "") == "1"  # at their own sizes: some minutes
PROCESSES = 3 if FULL else 2


def hashes(name: str) -> list[str]:
    """By a process of its own."""
    script = Path(__file__).with_name("thread_bits.py")
    command = [sys.executable, str(script), name, *(["--full"] if FULL else [])]
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": root}, capture_output=True, text=True, timeout=1200, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("name", SIZES)
def test_the_bits_of_a_workload_do_not_depend_on_threads(name: str) -> None:
    found = [hashes(name) for _ in range(PROCESSES)]
    assert all(line[0] == name and len(line) == 1 + len(COUNTS) for line in found)
    assert len({bits for line in found for bits in line[1:]}) == 1
