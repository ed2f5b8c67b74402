"""Model files that are no regular files, and what a whole file may ask of the driver."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

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


def test_a_source_that_is_no_text_and_dims_that_are_no_mapping() -> None:
    for text in (None, MODEL.encode(), Path("m.gc")):
        with pytest.raises(graphc.GraphcError, match="must be a text"):
            graphc.compile_source(text)  # type: ignore[arg-type]
    for dims in ("B=2", {3: 2}, [("B", 2)]):
        with pytest.raises(graphc.GraphcError, match="dims must map"):
            graphc.compile_source(MODEL, dims=dims)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"model": 3}, {"model": b"m"}, {"passes": "simplify"}, {"passes": 3}])
def test_options_of_another_type(options: dict[str, Any]) -> None:
    with pytest.raises(graphc.GraphcError, match=f"{next(iter(options))} must be"):
        graphc.compile_source(MODEL, **options)


def test_an_option_that_there_is_not() -> None:
    with pytest.raises(TypeError, match=r"compile_source.*dim"):
        graphc.compile_source(MODEL, dim={"B": 2})  # type: ignore[call-arg]


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="no /dev/full here")
def test_saving_to_a_device_folder_or_nowhere_names_it_and_leaves_it(tmp_path: Path) -> None:
    """A copy of /dev/full: a rename over it, which root may do, would leave a regular file there."""
    model = graphc.compile_source(MODEL)
    full = tmp_path / "full"
    try:
        os.mknod(full, 0o20666, os.makedev(1, 7))
        full.open("wb").close()
    except PermissionError:
        pytest.skip("only root makes devices")
    for save in (model.save, model.save_weights):
        with pytest.raises(OSError, match=r"No space left.*full"):
            save(full)
        assert full.is_char_device()
        with pytest.raises(IsADirectoryError, match=str(tmp_path)):
            save(tmp_path)
        with pytest.raises(FileNotFoundError, match="nowhere/m"):
            save(tmp_path / "nowhere" / "m")
        save("/dev/null")
    assert Path("/dev/null").is_char_device()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["full"]


@pytest.mark.parametrize("text", ["", "dim B\n", MODEL + MODEL.replace("model m", "model n")])
def test_a_file_without_the_one_model_is_an_error_to_compile(text: str) -> None:
    with pytest.raises(graphc.CompileError, match=r"^error\[GC0111\]"):
        graphc.compile_source(text)
