"""Files are written whole or not at all: full disks, limits, long names, vanished folders, several writers."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from linear_model import model

import graphc
from graphc.runtime.durable import sweep, write_durably
from graphc.runtime.errors import InputTypeError, OptionError
from graphc.runtime.model import load
from graphc.runtime.weights import load_tensors


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As if the disk were full behind so many bytes of a file."""
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1][1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before[1])
        signal.signal(signal.SIGXFSZ, before[0])


def test_a_file_too_large_for_the_disk_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "w"
    path.write_bytes(b"old")
    with files_of_at_most(100_000):
        with pytest.raises(OSError, match="too large") as error:
            write_durably(path, bytes(50_000), bytes(50_001))
        write_durably(tmp_path / "fits", bytes(50_000), bytes(50_000))
    assert error.value.filename == str(path)
    assert path.read_bytes() == b"old" and sorted(os.listdir(tmp_path)) == ["fits", "w"]


def test_training_on_a_full_disk_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    net, data = model(), {"x": np.ones((8, 3), np.float32), "k": np.zeros(8, np.int32)}
    net.fit(data, batch=4, checkpoint=tmp_path, progress=False)
    kept, saved = net.digest(), sorted(os.listdir(tmp_path))
    with files_of_at_most(64), pytest.raises(OSError, match="too large"):
        net.fit(data, batch=4, epochs=3, checkpoint=tmp_path, progress=False)
    assert sorted(os.listdir(tmp_path)) == saved
    again = model()
    again.restore(tmp_path)
    assert again.digest() == kept != net.digest()


def test_a_full_device(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(OSError, match="No space left"):
        model().save_weights("/dev/full")


def test_names_and_folders(tmp_path: Path) -> None:
    write_durably(tmp_path / ("n" * 255), b"data")
    with pytest.raises(OSError, match="too long"):
        write_durably(tmp_path / ("n" * 256), b"data")
    with pytest.raises(FileNotFoundError):
        write_durably(tmp_path / "gone" / "w", b"data")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError):
        model().save_checkpoint(tmp_path / "file")
    net, folder = model(), tmp_path / "run"
    net.save_checkpoint(folder)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    assert net.save_checkpoint(folder).exists()  # a folder that was removed is made again


@pytest.mark.parametrize("path", [5, None, ["w"], 1.5])
def test_what_is_no_path(path: Any) -> None:
    net = model()
    calls = (net.save, net.save_weights, net.load_weights, net.save_flat, net.load_flat, net.save_checkpoint)
    calls += (net.restore, load, graphc.compile)
    for call in calls:
        with pytest.raises(InputTypeError, match="a path must be a text or a Path"):
            call(path)
        with pytest.raises(OptionError, match="a path cannot hold a NUL"):
            call("a\0b")


def test_a_folder_that_cannot_be_made_is_known_before_training(tmp_path: Path) -> None:
    net, data = model(), {"x": np.ones((8, 3), np.float32), "k": np.zeros(8, np.int32)}
    (tmp_path / "file").write_bytes(b"")
    for folder, error in ((tmp_path / "file" / "run", OSError), ("a\0b", OptionError), (5, InputTypeError)):
        with pytest.raises(error):
            net.fit(data, checkpoint=folder, progress=False)  # type: ignore[arg-type]
    assert net.steps == 0


def test_only_the_files_of_dead_processes_are_swept(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = [f".graphc-{os.getpid()}-0a.tmp", f".graphc-{os.getppid()}-0a.tmp", ".graphc-x-0a.tmp", "mine.tmp"]
    for name in [*names, f".graphc-{dead.pid}-0a.tmp", ".graphc-999999999-0a.tmp"]:
        (tmp_path / name).write_bytes(b"")
    sweep(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(names)


WRITER = """\
import sys
sys.path.insert(0, sys.argv[1])
from linear_model import model
net = model()
for step in range(25):
    net.step(x=[[1.0, 2.0, 3.0]] * 4, k=[0, 1, 2, 3])
    net.save_checkpoint(sys.argv[2])
    net.save_weights(sys.argv[2] + "/weights")
"""


def test_processes_that_write_to_one_folder(tmp_path: Path) -> None:
    """Whatever they overwrite of each other's, every file is whole."""
    words = [sys.executable, "-c", WRITER, str(Path(__file__).parent), str(tmp_path)]
    writers = [subprocess.Popen(words, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for writer in writers:
        _, errors = writer.communicate(timeout=300)
        assert writer.returncode == 0, errors
    names = sorted(os.listdir(tmp_path))
    assert 2 <= len(names) <= 5 and "weights" in names, names
    for name in names:
        load_tensors(tmp_path / name, need_checksum=True)
    model().restore(tmp_path)
