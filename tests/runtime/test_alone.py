"""A program that only uses an artifact: the modules it loads, the files it opens, and that its bits are the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc

SOURCE = """
use std.nn: dense
dim B, C = 4
model net(x: f32[B, 6]) -> (logits: f32[B, C]):
    param one = dense[O=16], two = dense[O=C]
    logits = x |> one |> tanh |> two
train net:
    input y: i32[B]
    loss = cross_entropy(logits, y)
    optimizer = adam(lr = 1e-2)
"""

SCRIPT = """
import json, sys
import numpy as np
import numpy.random
before = set(sys.modules)
import graphc
load = graphc.load  # its modules are loaded here
opened = []
events = ("open", "import", "socket.connect", "subprocess.Popen", "os.exec", "os.fork", "os.listdir")
sys.addaudithook(lambda event, values: event in events and opened.append((event, str(values[0]))))
model = load(sys.argv[1])
log = list(opened)
rng = np.random.default_rng(0)
x, y = rng.normal(size=(50, 6)).astype("f4"), rng.integers(0, 4, 50).astype("i4")
model.init(seed=3)
losses = [model.step(x=x, y=y)["loss"] for _ in range(5)]
history = model.fit({"x": x, "y": y}, batch=16, epochs=2, seed=1, progress=False)
shown = repr(model)
logits = model(x=x)["logits"]
print(json.dumps({
    "losses": losses, "logits": logits.tobytes().hex(), "opened": log,
    "modules": sorted(set(sys.modules) - before),
}))
"""


def train(model: graphc.Model) -> tuple[list[float], str]:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 6)).astype("f4"), rng.integers(0, 4, 50).astype("i4")
    model.init(seed=3)
    losses = [float(model.step(x=x, y=y)["loss"]) for _ in range(5)]
    model.fit({"x": x, "y": y}, batch=16, epochs=2, seed=1, progress=False)
    return losses, model(x=x)["logits"].tobytes().hex()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a fresh process says that loads, trains and predicts, and the path of its artifact."""
    path = tmp_path_factory.mktemp("alone") / "net.gca"
    model = graphc.compile_source(SOURCE)
    model.save(path)
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    losses, logits = train(model)
    return {**json.loads(done.stdout), "path": str(path), "expected": (losses, logits)}


def test_the_same_bits_as_in_the_compiling_process(report: dict[str, Any]) -> None:
    assert (report["losses"], report["logits"]) == report["expected"]


def test_neither_llvm_nor_the_compiler_is_loaded(report: dict[str, Any]) -> None:
    """Only numpy, the standard library, `graphc` itself and its runtime."""
    ours = {name for name in report["modules"] if name.split(".")[0] == "graphc"}
    assert {name for name in ours if name != "graphc" and not name.startswith("graphc.runtime")} == set()
    assert {name.split(".")[0] for name in report["modules"]} - {"graphc", "numpy", *sys.stdlib_module_names} == set()


def test_loading_opens_that_file_only(report: dict[str, Any]) -> None:
    files = [path for event, path in report["opened"] if event == "open" and not path.isdigit()]
    assert files == [report["path"]]
    assert [event for event, _ in report["opened"] if event != "open"] == []


@pytest.mark.skipif(not os.path.exists("/usr/bin/strace"), reason="no strace here")
def test_the_system_sees_no_other_file_either(report: dict[str, Any], tmp_path: Path) -> None:
    """System calls between two marks, which are attempts to open files that are not there."""
    script = "import sys, os\nimport graphc\nload = graphc.load\n"
    script += "def mark(name):\n    try:\n        os.stat(name)\n    except OSError:\n        pass\n"
    script += "mark('/begin-load')\nmodel = load(sys.argv[1])\nmark('/end-load')\n"
    log = tmp_path / "trace"
    calls = "trace=%file,%network,%process,memfd_create"
    command = ["strace", "-f", "-o", str(log), "-e", calls, sys.executable, "-c", script, report["path"]]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("strace may not trace here")
    lines = log.read_text().splitlines()
    marks = [i for i, line in enumerate(lines) if "/begin-load" in line or "/end-load" in line]
    between = [line for line in lines[marks[0] + 1 : marks[1]] if "AT_EMPTY_PATH" not in line]  # of open files
    assert len(between) == 1 and "open" in between[0] and report["path"] in between[0]
