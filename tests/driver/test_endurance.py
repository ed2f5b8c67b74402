"""Long use: no leak, and Ctrl-C while compiling."""

from __future__ import annotations

import gc
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import graphc

NET = """\
use std.nn: dense
dim B, D = 8
model net(x: f32[B, D]) -> (y: f32[B, D]):
    param l = dense[O=D]
    y = tanh(l(x))
train net:
    input t: f32[B, D]
    loss = mean((y - t) ** 2.0)
    optimizer = adam(lr = 1e-3)
"""


def resident() -> int:
    """Bytes of memory in use now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def test_calls_leak_nothing() -> None:
    model = graphc.compile_source(NET)
    inputs = {rows: np.ones((rows, 8), np.float32) for rows in (1, 5, 32)}

    def use(count: int) -> None:
        for _ in range(count):
            for x in inputs.values():
                model(x=x)
                model.step(x=x, t=x)
            model.gradients(x=inputs[5], t=inputs[5])

    use(300)
    before = resident()
    use(1500)  # 10,500 calls
    assert resident() - before <= 4 << 20


def test_models_that_are_compiled_and_dropped_leak_nothing() -> None:
    def use(first: int, count: int) -> None:
        for number in range(first, first + count):  # each is a text that LLVM has not seen
            graphc.compile_source(f"dim B\nmodel m(x: f32[B]) -> (y: f32[B]):\n    y = x * {number}.0\n")

    use(0, 20)
    gc.collect()
    before = resident()
    use(20, 40)
    gc.collect()
    assert resident() - before <= 4 << 20


def test_ctrl_c_ends_a_compilation(tmp_path: Path) -> None:
    lines = [f"    x{i + 1} = tanh(x{i} + {i % 7}.5)\n" for i in range(6000)]
    source = "dim B\nmodel long(x0: f32[B]) -> (x6000: f32[B]):\n" + "".join(lines)
    (tmp_path / "long.gc").write_text(source)
    process = subprocess.Popen(
        [sys.executable, "-m", "graphc", "compile", "long.gc"], cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background has it ignored
    )  # fmt: skip
    maps = Path(f"/proc/{process.pid}/maps")
    while process.poll() is None and "libllvmlite" not in maps.read_text():
        time.sleep(0.01)  # until the command is at work
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130, errors
    assert errors.endswith("error: interrupted\n") and "Traceback" not in errors
    assert os.listdir(tmp_path) == ["long.gc"]
