"""Running an example as its page says, in a process and a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def run_example(tmp_path: Path) -> Callable[..., str]:
    """run_example(NAME, words...) -> what examples/NAME/NAME.py prints; it runs in `tmp_path` and must end well.

    The test is skipped without matplotlib, which the examples draw with.
    """
    pytest.importorskip("matplotlib")

    def run(name: str, *words: object) -> str:
        command = [sys.executable, str(EXAMPLES / name / f"{name}.py"), *map(str, words)]
        environment = {**os.environ, "GRAPHC_CACHE": "1"}  # as users run it
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
