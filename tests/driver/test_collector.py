"""The collector of cyclic garbage is paused while a model is compiled, and is afterwards as it was."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import graphc
from graphc.collector import paused
from graphc.runtime.errors import CompileError


@pytest.fixture(autouse=True)
def switched_on() -> Iterator[None]:
    gc.enable()
    yield
    gc.enable()


def test_pauses_overlap_in_any_order() -> None:
    one, two = paused(), paused()
    one.__enter__()
    two.__enter__()
    one.__exit__(None, None, None)
    assert not gc.isenabled()
    two.__exit__(None, None, None)
    assert gc.isenabled()


def test_who_switched_it_off_finds_it_off() -> None:
    gc.disable()
    with paused():
        pass
    assert not gc.isenabled()


def test_a_child_that_is_forked_meanwhile_collects() -> None:
    script = "import gc, os\nfrom graphc.collector import paused\n"
    script += "pause = paused()\npause.__enter__()\nif os.fork() == 0:\n    os._exit(gc.isenabled())\n"
    script += "print(os.waitstatus_to_exitcode(os.wait()[1]), gc.isenabled())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "False"]


def test_it_runs_again_after_a_mistake_in_a_model() -> None:
    with pytest.raises(CompileError):
        graphc.compile_source("model m(x: f32) -> (y: f32):\n    y = z\n")
    assert gc.isenabled()


def test_it_is_off_while_a_model_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    from graphc import compiler

    seen = []
    real = compiler.elaborate

    def elaborate(*given: Any, **named: Any) -> Any:
        seen.append(gc.isenabled())
        return real(*given, **named)

    monkeypatch.setattr(compiler, "elaborate", elaborate)
    graphc.compile_source("model m(x: f32) -> (y: f32):\n    y = sin(x)\n")
    assert seen == [False] and gc.isenabled()
