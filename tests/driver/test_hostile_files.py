"""Model files that are no regular files, and what a whole file may ask of the driver."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import graphc

MODEL = "model m(x: f32[3]) -> (y: f32[3]):\n    y = x\n"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_a_pipe_or_device_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.gc")
    (tmp_path / "m.gc").write_text('use "./fifo.gc" as other\n' + MODEL)
    for path in (tmp_path / "fifo.gc", "/dev/zero"):
        with pytest.raises(OSError, match="not a regular file"):
            graphc.compile(path)
    with pytest.raises(graphc.CompileError, match=r'cannot read "\./fifo\.gc": a pipe or device'):
        graphc.compile(tmp_path / "m.gc")


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none"):
        graphc.compile(tmp_path / "none.gc")
    with pytest.raises(IsADirectoryError):
        graphc.compile(tmp_path)
