"""What a training run reports: one row of figures an epoch."""

from __future__ import annotations

import csv
import io
import os
from typing import Any

from graphc.runtime.durable import write_durably
from graphc.runtime.errors import counted


class History:
    """`rows`: a dictionary an epoch: epoch (from 1), the figures, `val_` figures, seconds. `stopped`: why it ended."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.stopped = "all epochs done"
        self.best_epoch: int | None = None

    def __getitem__(self, name: str) -> list[Any]:
        """A column; empty if there is none of that name."""
        return [row[name] for row in self.rows if name in row]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def columns(self) -> list[str]:
        """Names of all columns in order of appearance."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def csv(self) -> str:
        """The rows as CSV with a header; floats in full precision."""
        out = io.StringIO()
        writer = csv.DictWriter(out, self.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return out.getvalue()

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write `csv()` to a file, whole or not at all."""
        write_durably(path, self.csv().encode())

    def __repr__(self) -> str:
        if not self.rows:
            return "History of 0 epochs"
        return f"History of {counted(len(self), 'epoch')} ({self.stopped}); last: {show_figures(self.rows[-1])}"


def show_figures(row: dict[str, Any]) -> str:
    """`loss 0.1234  accuracy 0.9712`, without epoch and seconds."""
    return "  ".join(f"{name} {value:.4g}" for name, value in row.items() if name not in ("epoch", "seconds"))
