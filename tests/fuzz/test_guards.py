"""Code of random graphs touches only its buffers. GRAPHC_FUZZ_GUARDS=2000: the long run; GRAPHC_FUZZ_SEED: others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

COUNT = int(os.environ.get("GRAPHC_FUZZ_GUARDS", "8"))
SEED = int(os.environ.get("GRAPHC_FUZZ_SEED", "0"))


def test_random_graphs_between_guard_pages() -> None:
    """In a process of its own, which a wild access ends."""
    words = [sys.executable, str(Path(__file__).parent / "guarded_graphs.py"), str(SEED * 1_000_000), str(COUNT)]
    done = subprocess.run(words, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert lines[-1:] == ["done"], f"{lines[-1:]}: status {done.returncode}\n{done.stderr[-2000:]}"
