"""Showing how training goes: one plain line an epoch, a bar before it on a terminal, or nothing."""

from __future__ import annotations

import shutil
import sys
from typing import Any, Protocol

from graphc.runtime.errors import OptionError, shown
from graphc.runtime.history import show_figures


class Progress(Protocol):
    """What `fit` tells."""

    def begin(self, epoch: int, epochs: int, rows: int) -> None: ...
    def advance(self, rows: int, figures: dict[str, float]) -> None: ...
    def end(self, row: dict[str, Any]) -> None: ...
    def close(self) -> None: ...


class Silent:
    """Says nothing."""

    def begin(self, epoch: int, epochs: int, rows: int) -> None:
        """An epoch begins."""

    def advance(self, rows: int, figures: dict[str, float]) -> None:
        """So many rows of it are done."""

    def end(self, row: dict[str, Any]) -> None:
        """It ended with these figures."""

    def close(self) -> None:
        """Training is over."""


class Lines(Silent):
    """One line an epoch on standard error: for pipes, logs and CI."""

    def __init__(self) -> None:
        self._epochs = 0

    def begin(self, epoch: int, epochs: int, rows: int) -> None:
        self._epochs = epochs

    def end(self, row: dict[str, Any]) -> None:
        seconds = f"{row['seconds']:.2f} s"
        sys.stderr.write(f"epoch {row['epoch']}/{self._epochs}  {show_figures(row)}  {seconds}\n")
        sys.stderr.flush()


class Bar(Lines):
    """tqdm's bar on standard error while an epoch runs, then its line. It uses no colours, so NO_COLOR holds."""

    def __init__(self) -> None:
        from tqdm import tqdm

        super().__init__()
        self._tqdm = tqdm
        self._bar: Any = None

    def begin(self, epoch: int, epochs: int, rows: int) -> None:
        super().begin(epoch, epochs, rows)
        self.close()
        text = "{desc} {percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}]{postfix}"
        self._bar = self._tqdm(
            total=rows,
            desc=f"epoch {epoch}/{epochs}",
            unit_scale=True,
            bar_format=text,
            dynamic_ncols=True,
            leave=False,
        )

    def advance(self, rows: int, figures: dict[str, float]) -> None:
        self._bar.set_postfix_str(show_figures(figures), refresh=False)
        self._bar.update(rows)

    def end(self, row: dict[str, Any]) -> None:
        """The bar gives way to the epoch's line: all figures, and a full bar if there is room for it."""
        self.close()
        head, tail = f"epoch {row['epoch']}/{self._epochs}", f"{show_figures(row)}  {row['seconds']:.2f} s"
        room = min(20, shutil.get_terminal_size().columns - len(f"{head} 100%||  {tail}") - 1)
        bar = f" 100%|{'█' * room}|" if room > 4 else ""
        sys.stderr.write(f"{head}{bar}  {tail}\n")
        sys.stderr.flush()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def make_progress(choice: object) -> Progress:
    """`"auto"` and True: a bar on a terminal, lines elsewhere; False: nothing."""
    if choice is False:
        return Silent()
    if choice is not True and choice != "auto":
        raise OptionError(f'progress must be True, False or "auto", not {shown(choice)}')
    if not sys.stderr.isatty():
        return Lines()
    try:
        return Bar()
    except ImportError:  # the bar is a convenience
        return Lines()
