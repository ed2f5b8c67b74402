"""The folder a training run leaves behind: artifact, weights, metrics, learning curves and pictures of the graph."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from graphc.pictures import curves
from graphc.runtime.errors import DataError, LimitError, NotAvailableError

if TYPE_CHECKING:
    from graphc.ir.graph import Graph
    from graphc.runtime.history import History
    from graphc.runtime.model import Model


METRICS = "metrics.csv"


def read_metrics(folder: str | os.PathLike[str]) -> History:
    """The epochs that an earlier run wrote to its folder; none if there is no such file."""
    from graphc.runtime.history import History

    history = History()
    path = Path(folder) / METRICS
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                figures = {name: _figure(text, path) for name, text in row.items() if text}
                history.rows.append({**figures, "epoch": int(figures.get("epoch", len(history) + 1))})
    return history


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
