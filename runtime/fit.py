"""`model.fit`: epochs over arrays in memory.

    data        input name -> whole array; all the training inputs. Converted once, then rows are gathered natively.
    batch       rows a step. A last short batch is run too (its figures weigh by its rows); if the batch size was fixed
                at compile time, the rows that do not fill a batch are left out of that epoch.
    epochs      how many passes in all; with `resume`, those already done count.
    validation  a part such as 0.1 (the last round(rows * part) rows, at least one, of a permutation drawn from the
                seed), or a mapping like `data`. Its figures are `val_loss`, ...
    patience    stop after so many epochs without a lower `val_loss` (`loss` without validation). With patience the best
                weights are back in the model at the end (not after Ctrl-C); slots are those of the last epoch.
    callbacks   called with (epoch from 1, the row of figures); one that returns "stop" ends the training.
    shuffle     a new order each epoch, drawn from (seed, epoch).
    seed        of split and order; the model's own by default.
    progress    "auto" or True: a bar on a terminal, a line an epoch elsewhere; False: nothing.
    checkpoint  a folder; written after each epoch (and its callbacks), and on Ctrl-C.
    checkpoint_every  write it after every so many steps instead, also within an epoch, and at the end.
    on_checkpoint     called with the number of steps made, once a checkpoint is safely on the disk.
    resume      go on from where `model.restore` or an interrupted `fit` left off: bit for bit the same training.
                Within an epoch that takes the same data, batch and shuffle, or it is refused.

Everything is checked before the first step: names, dtypes, shapes, lengths, index ranges, finite numbers.
An epoch whose loss is NaN is the last one, for the parameters would stay NaN: `History.stopped` says so.
Ctrl-C is heard within about 0.1 s; the model is then as after the last whole batch.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graphc.runtime import rng
from graphc.runtime.dataset import Dataset
from graphc.runtime.epoch import BatchLoop
from graphc.runtime.errors import InputValueError, NonFiniteError, OptionError, counted, shown
from graphc.runtime.history import History
from graphc.runtime.interrupts import Interrupts
from graphc.runtime.options import check_count, check_path
from graphc.runtime.progress import Progress, make_progress
from graphc.runtime.store import Cursor

if TYPE_CHECKING:
    from graphc.runtime.model import Model


@dataclass(frozen=True)
class FitOptions:
    """The arguments of `fit`, as documented above."""

    batch: int
    epochs: int
    validation: float | Mapping[str, Any] | None
    patience: int | None
    callbacks: tuple[Callable[[int, dict[str, Any]], object], ...]
    shuffle: bool
    seed: int | None
    progress: bool | str
    checkpoint: str | os.PathLike[str] | None
    checkpoint_every: int | None
    on_checkpoint: Callable[[int], object] | None
    resume: bool

    def __post_init__(self) -> None:
        check_count("batch", self.batch)
        check_count("epochs", self.epochs)
        if self.patience is not None:
            check_count("patience", self.patience)
        if self.checkpoint is not None:
            check_path(self.checkpoint)
        if self.checkpoint_every is not None:
            check_count("checkpoint_every", self.checkpoint_every)
            if self.checkpoint is None:
                raise OptionError("checkpoint_every needs a folder, as checkpoint=...")
        for callback in (*self.callbacks, *([] if self.on_checkpoint is None else [self.on_checkpoint])):
            if not callable(callback):
                raise OptionError(f"a callback must be callable, not {type(callback).__name__}")


def fit(model: Model, data: Mapping[str, Any], options: FitOptions) -> History:
    """Train `model`; returns the history of this call."""
    training = Training(model, data, options)
    history = History()
    try:
        with training.interrupts:
            training.run(history)
    except NonFiniteError:
        training.mark()
        raise
    except KeyboardInterrupt:
        history.stopped = "interrupted"
        training.interrupted()
        raise
    finally:
        training.progress.close()
    return history


@dataclass(frozen=True)
class Held:
    """The loop over held-out rows, and which they are."""

    loop: BatchLoop
    rows: NDArray[np.int64]


class Training:
    """One call of `fit`: the loops over the training and validation rows, and the cursor."""

    def __init__(self, model: Model, data: Mapping[str, Any], options: FitOptions) -> None:
        self.model, self.options = model, options
        whole = model.dataset("step", data)
        _check_finite(whole)
        self.cursor = self._first_cursor()
        self.rows, held_out = self._split(whole)
        self.loop = model.batches("step", whole, options.batch, len(self.rows))
        self._check_place()
        self.held = self._held(data, held_out)
        if options.checkpoint is not None:  # that it cannot be made is better known before the first epoch
            Path(options.checkpoint).mkdir(parents=True, exist_ok=True)
        self.progress: Progress = make_progress(options.progress)
        self._inside: int | None = None  # the epoch that the loop stands in
        self._saved = -1  # the steps at the last checkpoint
        self.interrupts = Interrupts()

    def _held(self, data: Mapping[str, Any], rows: NDArray[np.int64] | None) -> Held | None:
        """The validation loop: over `rows` of the data, or over the arrays given for it."""
        if rows is None:
            return None
        given = self.options.validation if isinstance(self.options.validation, Mapping) else None
        judged = self.model.dataset("evaluate", data if given is None else given)
        _check_finite(judged)
        if given is not None:
            rows = np.arange(judged.rows, dtype=np.int64)
        return Held(self.model.batches("evaluate", judged, self.options.batch, len(rows)), rows)

    def _check_place(self) -> None:
        """Within an epoch the rest of its rows must be the rest of the same order in the same batches."""
        cursor, now = self.cursor, (len(self.rows), self.options.batch, bool(self.options.shuffle))
        then = (cursor.rows, cursor.batch, cursor.shuffle)
        if cursor.row and now != then:
            names = ("rows", "batch", "shuffle")
            said = ", ".join(f"{n} was {a}, is {b}" for n, a, b in zip(names, then, now, strict=True) if a != b)
            raise OptionError(f"the training to resume stands within epoch {cursor.epoch + 1}: {said}")
        is_place = cursor.row <= self.loop.rows and (cursor.row % now[1] == 0 or cursor.row == self.loop.rows)
        if cursor.row and not (is_place and len(cursor.sums) == len(self.loop.names)):
            raise OptionError("the training to resume was of another model: it stands where this one cannot")

    def _first_cursor(self) -> Cursor:
        store, options = self.model.store, self.options
        seed = rng.check_seed(options.seed) if options.seed is not None else store.seed
        if options.resume and store.cursor is not None:
            if options.seed is not None and seed != store.cursor.seed:
                raise OptionError(f"seed {seed} is not that of the training to resume, {store.cursor.seed}")
            return store.cursor
        store.best = None
        return Cursor(seed)

    def _split(self, whole: Dataset) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
        """Rows to train on, and rows held out (empty when validation has data of its own, None without validation)."""
        part = self.options.validation
        rows = np.arange(whole.rows, dtype=np.int64)
        if isinstance(part, Mapping):
            return rows, rows[:0]
        if part is None or (isinstance(part, int | float) and not isinstance(part, bool) and part == 0):
            return rows, None
        if isinstance(part, bool) or not isinstance(part, int | float) or not 0 < part < 1:
            raise OptionError(f"validation must be a part between 0 and 1 or a mapping of arrays, not {shown(part)}")
        count = max(1, round(whole.rows * part))
        if count >= whole.rows:
            raise OptionError(f"validation={part} of {whole.rows} rows leaves none to train on")
        order = rng.permutation(self.cursor.seed, "validation", whole.rows)
        return np.sort(order[:-count]), np.sort(order[-count:])

    def run(self, history: History) -> None:
        """All epochs that are left."""
        patience, store = self.options.patience, self.model.store
        while self.cursor.epoch < self.options.epochs:
            if patience is not None and self.cursor.waited >= patience:
                history.stopped = f"no better for {counted(patience, 'epoch')}"
                break
            row = self._epoch()
            history.rows.append(row)
            self.progress.end(row)
            self._advance(row)
            told_to_stop = self._is_told_to_stop(row)  # before the checkpoint: a callback may change hyper-parameters
            every = self.options.checkpoint_every
            if every is None or self.model.steps % every == 0:
                self._save()
            if told_to_stop:
                history.stopped = "stopped by a callback"
                break
            if math.isnan(row.get("loss", 0.0)):
                history.stopped = "the loss is nan"
                break
        if len(history) and self.model.steps != self._saved:
            self._save()
        if patience is not None and store.best is not None:
            history.best_epoch = self.cursor.best_epoch
            self.model.use_best()

    def _epoch(self) -> dict[str, Any]:
        """The rest of the epoch the cursor stands in, and its figures."""
        started = time.perf_counter()
        cursor, order = self.cursor, self.rows
        if self.options.shuffle:
            order = order[rng.permutation(cursor.seed, f"epoch {cursor.epoch}", len(order))]
        self.loop.begin(order, cursor.row, cursor.sums)
        self.model.store.cursor = cursor
        self._inside = cursor.epoch
        self.progress.begin(cursor.epoch + 1, self.options.epochs, self.loop.rows)
        self.progress.advance(cursor.row, self.loop.means())
        self._train()
        row: dict[str, Any] = {"epoch": cursor.epoch + 1, **self.loop.means()}
        if self.held is not None:
            self.held.loop.begin(self.held.rows)
            self.model.run_batches(self.held.loop, lambda rows: self.interrupts.check())
            row |= {f"val_{name}": value for name, value in self.held.loop.means().items()}
        row["seconds"] = time.perf_counter() - started
        return row

    def _train(self) -> None:
        """The steps of an epoch, with the checkpoints that fall within it."""
        every = self.options.checkpoint_every
        while not self.loop.is_done:
            batches = None if every is None else every - self.model.steps % every
            self.model.run_batches(self.loop, self._tell, batches)
            if not self.loop.is_done:  # at the end of the epoch, what follows it comes first
                self.mark()
                self._save()

    def _tell(self, rows: int) -> None:
        """Between two native calls of an epoch."""
        self.interrupts.check()
        self.progress.advance(rows, self.loop.means())

    def mark(self) -> None:
        """The cursor to the last whole batch, so that the training can be resumed exactly."""
        store = self.model.store
        if store.cursor is not None and store.cursor.epoch == self._inside:  # else it is between two epochs
            store.cursor = replace(
                self.cursor, row=self.loop.position, sums=self.loop.sums, rows=len(self.rows),
                batch=self.loop.batch, shuffle=bool(self.options.shuffle),
            )  # fmt: skip

    def _save(self) -> None:
        """A checkpoint, if there is a folder for it."""
        if self.options.checkpoint is None:
            return
        steps = self.model.steps
        self.model.save_checkpoint(self.options.checkpoint)
        self._saved = steps
        if self.options.on_checkpoint is not None:
            self.options.on_checkpoint(steps)

    def _advance(self, row: dict[str, Any]) -> None:
        """The cursor to the next epoch; keeps the best weights."""
        watched = row.get("val_loss", row.get("loss", math.nan))
        cursor = replace(self.cursor, epoch=self.cursor.epoch + 1, row=0, sums=())
        if self.options.patience is not None:
            if watched == watched and (cursor.best is None or watched < cursor.best):
                cursor = replace(cursor, best=float(watched), best_epoch=cursor.epoch, waited=0)
                self.model.store.keep_best()
            else:
                cursor = replace(cursor, waited=cursor.waited + 1)
        self.model.store.cursor = cursor  # first: an interrupt may come between the two
        self.cursor = cursor

    def _is_told_to_stop(self, row: dict[str, Any]) -> bool:
        answers = [callback(row["epoch"], dict(row)) for callback in self.options.callbacks]
        return any(isinstance(answer, str) and answer == "stop" for answer in answers)

    def interrupted(self) -> None:
        """After Ctrl-C: the model is as after the last whole batch, and so are the cursor and the checkpoint."""
        self.mark()
        self._save()


def _check_finite(data: Dataset) -> None:
    """NaN or infinity in the data would poison all parameters in one step: `InputValueError` with the place."""
    for name, array in data.arrays.items():
        if array.dtype.kind == "f" and array.size and not np.isfinite(array).all():
            at = [int(i) for i in np.argwhere(~np.isfinite(array))[0]]
            raise InputValueError(f"`{name}` holds {array[tuple(at)]} at {at}; training needs finite numbers")
