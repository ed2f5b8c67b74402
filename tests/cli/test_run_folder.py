"""What a training run leaves behind, with and without matplotlib."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import graphc
from graphc.cli_train import print_fact
from graphc.driver import stage_graph
from graphc.pictures import curves
from graphc.run_folder import read_metrics, write_run_folder
from graphc.runtime.errors import DataError, NotAvailableError
from graphc.runtime.history import History

MODEL = """\
dim B
model double(x: f32[B]) -> (y: f32[B]):
    y = x + x
"""


def history(epochs: int) -> History:
    made = History()
    made.rows = [{"epoch": k, "loss": 1.0 / k, "val_loss": 1.5 / k, "seconds": 0.1} for k in range(1, epochs + 1)]
    return made


@pytest.fixture
def without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine where the extra `pictures` is not installed."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)


def test_curves_are_a_picture() -> None:
    pytest.importorskip("matplotlib")
    columns = {name: history(5)[name] for name in history(5).columns}
    assert curves(columns, "title").startswith(b"\x89PNG")
    assert curves({"epoch": [1]}).startswith(b"\x89PNG"), "a run without figures is no reason to fail"


def test_curves_name_the_extra(without_matplotlib: None) -> None:
    with pytest.raises(NotAvailableError, match=r"graphc\[pictures\]"):
        curves({"loss": [1.0]})


def test_a_run_folder_without_matplotlib(without_matplotlib: None, tmp_path: Path) -> None:
    (tmp_path / "double.gc").write_text(MODEL)
    model = graphc.compile(tmp_path / "double.gc")
    graphs = {"graph": stage_graph(tmp_path / "double.gc", "graph")}
    lines = write_run_folder(tmp_path / "run", model, history(3), graphs)
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert files == {"double.gca", "weights.safetensors", "metrics.csv", "graph.svg"}
    assert [line.partition(":")[0] for line in lines if line.startswith("no ")] == ["no curves.png", "no graph.png"]


def test_a_line_for_programs_is_written_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """With PYTHONUNBUFFERED every write goes out by itself, and a process may be killed between two."""
    pieces: list[str] = []
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(write=pieces.append, flush=lambda: None))
    print_fact("saved", 825)
    assert pieces == ["saved 825\n"]


def test_metrics_are_read_back(tmp_path: Path) -> None:
    history(3).to_csv(tmp_path / "metrics.csv")
    assert read_metrics(tmp_path).rows == history(3).rows
    assert read_metrics(tmp_path / "elsewhere").rows == []
    for epoch in ("nan", "inf", "1.5", "0", "-1", "1e300"):
        (tmp_path / "metrics.csv").write_text(f"epoch,loss\n{epoch},0.5\n")
        with pytest.raises(DataError, match="is no epoch"):
            read_metrics(tmp_path)
    (tmp_path / "metrics.csv").write_text("epoch,loss\n1,high\n")
    with pytest.raises(DataError, match="`high` is no number"):
        read_metrics(tmp_path)
