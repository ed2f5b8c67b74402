"""The folder a training run leaves behind: artifact, weights, metrics, learning curves and pictures of the graph."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphc.pictures import curves
from graphc.runtime.errors import DataError, LimitError, NotAvailableError

if TYPE_CHECKING:
    from graphc.ir.graph import Graph
    from graphc.runtime.history import History
    from graphc.runtime.model import Model


METRICS = "metrics.csv"


class Metrics:
    """The figures of a run, earlier epochs of a resumed one included, and their file.

    A line an epoch is added to the file, so that a run that is killed leaves the figures of what it has done.
    """

    def __init__(self, folder: str | os.PathLike[str], history: History) -> None:
        self.path, self.history = Path(folder) / METRICS, history
        self._columns: list[str] = []

    def record(self, epoch: int, row: dict[str, Any]) -> None:
        """A callback of `fit`."""
        self.history.rows.append(row)
        if self._columns != list(row):  # the first line of this run: the file is written anew
            self.history.to_csv(self.path)
            self._columns = list(row) if self.history.columns == list(row) else []
            return
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerow(row.values())


def read_metrics(folder: str | os.PathLike[str], before: int | None = None) -> History:
    """The epochs that an earlier run wrote to its folder, or the first `before` of them; none if there is no file.

    A last line without an end was cut short when the run was killed, and is left out.
    """
    from graphc.runtime.history import History

    history = History()
    path = Path(folder) / METRICS
    if path.exists():
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        for row in csv.DictReader(line for line in lines if line.endswith("\n")):
            figures = {name: _figure(text, path) for name, text in row.items() if text}
            history.rows.append({**figures, "epoch": _whole(figures.get("epoch", len(history) + 1), path)})
    history.rows = [row for row in history.rows if before is None or row["epoch"] <= before]
    return history


def _whole(figure: float, path: Path) -> int:
    if not 0 < figure < 1 << 53 or figure != int(figure):
        raise DataError(f"{path}: `{figure}` is no epoch; this file was not written by graphc")
    return int(figure)


def _figure(text: str, path: Path) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        raise DataError(f"{path}: `{text}` is no number; this file was not written by graphc") from None


def write_run_folder(
    folder: str | os.PathLike[str], model: Model, history: History, graphs: Mapping[str, Graph] | None = None
) -> list[str]:
    """Writes what a run leaves; returns a line about each file, or why it could not be made.

    Each of `graphs` is drawn under its name. Learning curves and PNG pictures need matplotlib; without it all the rest
    is written. Raises OSError when the folder cannot be written.
    """
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    model.save(root / f"{model.name}.gca")
    model.save_weights(root / "weights.safetensors")
    history.to_csv(root / METRICS)
    lines = [
        f"{model.name + '.gca':22} the compiled model, for graphc.load and `graphc run`",
        f"{'weights.safetensors':22} its parameters",
        f"{METRICS:22} the figures of every epoch",
    ]
    return lines + list(_pictures(root, model.name, history, graphs or {}))


def _pictures(root: Path, name: str, history: History, graphs: Mapping[str, Graph]) -> Iterator[str]:
    """Draws what can be drawn."""
    from graphc.ir.view import picture

    try:
        (root / "curves.png").write_bytes(curves({column: history[column] for column in history.columns}, name))
        yield f"{'curves.png':22} the learning curves"
    except NotAvailableError as error:
        yield f"no curves.png: {error}"
    for title, graph in graphs.items():
        made = []
        for format in ("svg", "png"):
            try:
                (root / f"{title}.{format}").write_bytes(picture(graph, format))
                made.append(f"{title}.{format}")
            except (LimitError, NotAvailableError) as error:
                yield f"no {title}.{format}: {error}"
        if made:
            yield f"{', '.join(made):22} the graph of `{graph.name}`"
