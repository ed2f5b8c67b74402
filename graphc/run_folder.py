"""The folder a training run leaves behind: artifact, weights, metrics, learning curves and pictures of the graph."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from graphc.pictures import curves
from graphc.runtime.errors import LimitError, NotAvailableError

if TYPE_CHECKING:
    from graphc.ir.graph import Graph
    from graphc.runtime.model import Model

Columns = Mapping[str, Sequence[float]]


def write_run_folder(
    folder: str | os.PathLike[str], model: Model, history: Columns, graphs: Mapping[str, Graph] | None = None
) -> list[str]:
    """Writes everything a run leaves and says what, one line for each file or for each that could not be made.

    `history` maps the name of a figure to its value after each epoch; each of `graphs` is drawn under its name.
    Pictures need matplotlib (SVG ones do not); without it the lines say so, and the rest is written.
    """
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    name = model.signature.name
    model.save(root / f"{name}.gca")
    model.save_weights(root / "weights.safetensors")
    write_metrics(root / "metrics.csv", history)
    said = [f"{name}.gca              the compiled model", "weights.safetensors     its parameters"]
    said.append("metrics.csv             every figure after every epoch")
    said += _pictures(root, name, history, graphs or {})
    return said


def write_metrics(path: Path, history: Columns) -> None:
    """One row an epoch: its number from 1, then the figures in order; what an epoch lacks is left empty."""
    names = [name for name in history if name != "epoch"]
    rows = max((len(history[name]) for name in names), default=0)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", *names])
        for row in range(rows):
            values = [history[name][row] if row < len(history[name]) else "" for name in names]
            writer.writerow([row + 1, *(f"{value:.9g}" if value != "" else "" for value in values)])


def _pictures(root: Path, name: str, history: Columns, graphs: Mapping[str, Graph]) -> list[str]:
    """Draws what can be drawn; a line for each file or reason."""
    from graphc.ir.view import picture

    said = []
    try:
        (root / "curves.png").write_bytes(curves(history, name))
        said.append("curves.png              the learning curves")
    except NotAvailableError as error:
        said.append(f"no curves.png: {error}")
    for title, graph in graphs.items():
        for format in ("svg", "png"):
            file = f"{title}.{format}"
            try:
                (root / file).write_bytes(picture(graph, format))
                said.append(f"{file:23} the graph of {graph.name}")
            except (LimitError, NotAvailableError) as error:
                said.append(f"no {file}: {error}")
    return said
