"""Training in native batches: the same as a loop over `step`, whatever the batch, and resumed exactly."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from linear_model import model

from graphc.codegen import epoch as emitted
from graphc.runtime import epoch, rng
from graphc.runtime.errors import (
    IndexRangeError,
    InputShapeError,
    InputTypeError,
    InputValueError,
    OptionError,
    WeightsError,
)
from graphc.runtime.history import History
from graphc.runtime.model import Model

RNG = np.random.default_rng(0)
N = 210
X = RNG.standard_normal((N, 3)).astype(np.float32)
K = RNG.integers(0, 4, N).astype(np.int32)
DATA = {"x": X, "k": K}


def state(net: Model) -> tuple[Any, ...]:
    return net.params["w"].tolist(), net.slots["m/w"].tolist(), net.steps


def by_hand(net: Model, batch: int, epochs: int, rows: Any, shuffle: bool = True) -> list[float]:
    """What `fit` means, with `step`; the mean loss of each epoch."""
    losses = []
    for number in range(epochs):
        order = rows[rng.permutation(net.seed, f"epoch {number}", len(rows))] if shuffle else rows
        total = 0.0
        for start in range(0, len(order), batch):
            part = order[start : start + batch]
            total += float(np.float32(net.step(x=X[part], k=K[part])["loss"])) * len(part)
        losses.append(total / len(order))
    return losses


def test_job_layout() -> None:
    assert tuple(name for name, _ in emitted._FIELDS) == tuple(name for name, *_ in epoch.Job._fields_)


@pytest.mark.parametrize("batch", [1, 7, 32, 70, 100])
@pytest.mark.parametrize("shuffle", [True, False])
def test_fit_is_a_loop_over_step(batch: int, shuffle: bool) -> None:
    a, b = model(), model()
    history = a.fit(DATA, batch=batch, epochs=3, shuffle=shuffle, progress=False)
    assert history["loss"] == by_hand(b, batch, 3, np.arange(N), shuffle)
    assert state(a) == state(b)
    assert history["epoch"] == [1, 2, 3] and history.stopped == "all epochs done"


def test_validation_split() -> None:
    a, b = model(), model()
    history = a.fit(DATA, batch=32, epochs=2, validation=0.2, progress=False)
    order = rng.permutation(0, "validation", N)
    rows, held = np.sort(order[:-42]), np.sort(order[-42:])
    by_hand(b, 32, 2, rows)
    assert state(a) == state(b)
    assert history["val_loss"][-1] == pytest.approx(b.evaluate(x=X[held], k=K[held])["loss"], rel=1e-6)
    assert set(rows) | set(held) == set(range(N))


def test_validation_data() -> None:
    net = model()
    history = net.fit(DATA, batch=50, epochs=1, validation={"x": X[:10], "k": K[:10]}, progress=False)
    assert history["val_loss"][0] == pytest.approx(net.evaluate(x=X[:10], k=K[:10])["loss"], rel=1e-6)


def test_evaluate_in_batches() -> None:
    net = model(high=None)
    assert net.evaluate(DATA, batch=32)["loss"] == pytest.approx(net.evaluate(DATA)["loss"], rel=1e-6)
    assert net.steps == 0


def test_patience_restores_the_best() -> None:
    net = model()
    net.hyper["lr"] = -0.5  # the loss can only rise
    seen: list[Any] = []
    history = net.fit(
        DATA, batch=100, epochs=20, patience=3, validation=0.1, progress=False, shuffle=False,
        callbacks=[lambda number, row: seen.append((number, net.params["w"].copy(), row["val_loss"]))],
    )  # fmt: skip
    best = min(seen, key=lambda one: one[2])
    assert history.best_epoch == best[0] and history.stopped == "no better for 3 epochs"
    assert len(history) == best[0] + 3 and np.array_equal(net.params["w"], best[1])


def test_callbacks() -> None:
    class Stop:
        def __call__(self, number: int, row: dict[str, Any]) -> str | None:
            return "stop" if number == 2 else None

    history = model().fit(DATA, epochs=10, callbacks=[Stop()], progress=False)
    assert len(history) == 2 and history.stopped == "stopped by a callback"


def test_one_callback_needs_no_list() -> None:
    told: list[int] = []
    model().fit(DATA, epochs=2, progress=False, callbacks=lambda epoch, row: told.append(epoch))  # type: ignore[arg-type]
    assert told == [1, 2]
    with pytest.raises(OptionError, match="a callback must be callable, not int"):
        model().fit(DATA, callbacks=3, progress=False)  # type: ignore[arg-type]


def test_a_loss_of_nan_is_the_last_epoch() -> None:
    net = model()
    net.params["w"][...] = np.nan
    history = net.fit(DATA, epochs=5, progress=False)
    assert len(history) == 1
    assert history.stopped == "the loss is nan"


def test_history(tmp_path: Path) -> None:
    history = model().fit(DATA, epochs=2, validation=0.1, progress=False)
    assert history.columns == ["epoch", "loss", "val_loss", "seconds"]
    history.to_csv(tmp_path / "h.csv")
    lines = (tmp_path / "h.csv").read_text().splitlines()
    assert lines[0] == "epoch,loss,val_loss,seconds" and float(lines[2].split(",")[1]) == history["loss"][1]
    assert "2 epochs" in repr(history) and repr(History()) == "History of 0 epochs"


def test_progress_lines(capsys: pytest.CaptureFixture[str]) -> None:
    model().fit(DATA, epochs=2)
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("epoch 1/2  loss ") and captured.err.count("\n") == 2


def test_progress_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    model().fit(DATA, epochs=2, validation=0.1)
    text = capsys.readouterr().err
    assert "epoch 2/2" in text and "100%" in text and "val_loss" in text and "\x1b[3" not in text


@pytest.mark.parametrize("value", [0, -1, 1.5, "3", None, True, 10**18])
@pytest.mark.parametrize("option", ["batch", "epochs", "patience"])
def test_bad_counts(option: str, value: Any) -> None:
    if option == "patience" and value is None:
        return
    with pytest.raises(OptionError, match=option):
        model().fit(DATA, **{option: value})


@pytest.mark.parametrize("value", [1.0, -0.1, 1.5, float("nan"), "0.1", True, 0.999])
def test_bad_validation(value: Any) -> None:
    with pytest.raises(OptionError, match="validation"):
        model().fit(DATA, validation=value)


def test_bad_options() -> None:
    with pytest.raises(OptionError, match="progress"):
        model().fit(DATA, progress="yes")
    with pytest.raises(OptionError, match="callable"):
        model().fit(DATA, callbacks=[3])  # type: ignore[list-item]
    with pytest.raises(OptionError, match="seed"):
        model().fit(DATA, seed=-1)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ({"x": X}, InputTypeError, "missing `k`"),
        ({**DATA, "z": X}, InputTypeError, "unknown `z`"),
        ({"x": X, "k": K[:-1]}, InputShapeError, "210 in `x`, 209 in `k`"),
        ({"x": X[:0], "k": K[:0]}, InputShapeError, "no rows"),
        ({"x": X.astype("f8"), "k": K}, InputTypeError, "float64"),
        ({"x": X[:, :2], "k": K}, InputShapeError, r"axis 1 is 2, not 3"),
        ({"x": X, "k": K[:, None]}, InputShapeError, "rank"),
        ({"x": X, "k": np.where(np.arange(N) == 77, 4, K).astype(np.int32)}, IndexRangeError, r"holds 4 at \[77\]"),
        (
            {"x": np.where(np.arange(N)[:, None] == 5, np.nan, X).astype(np.float32), "k": K},
            InputValueError,
            r"\[5, 0\]",
        ),
        (X, InputTypeError, "mapping"),
    ],
)
def test_checked_before_training(data: Any, error: type[Exception], message: str) -> None:
    net = model()
    with pytest.raises(error, match=message):
        net.fit(data, progress=False)
    assert state(net) == state(model())


def test_batch_beyond_the_bound() -> None:
    with pytest.raises(InputShapeError, match="from 1 to 100"):
        model().fit(DATA, batch=101)
    with pytest.raises(InputShapeError, match="13 is unlucky"):  # the last batch: 213 = 2 * 100 + 13
        model().fit({"x": np.zeros((213, 3), np.float32), "k": np.zeros(213, np.int32)}, batch=100)


def test_fixed_batch() -> None:
    net = model(fixed=32)
    with pytest.raises(OptionError, match="fixed to 32"):
        net.fit(DATA, batch=16)
    with pytest.raises(InputShapeError, match="fewer than the batch"):
        net.fit({"x": X[:10], "k": K[:10]}, batch=32)
    net.fit(DATA, batch=32, epochs=2, progress=False)
    assert net.steps == 2 * (N // 32)


def test_checkpoint_resumes_exactly(tmp_path: Path) -> None:
    whole, first, second = model(), model(), model()
    history = whole.fit(DATA, batch=32, epochs=6, validation=0.1, patience=2, seed=5, progress=False)
    first.fit(DATA, batch=32, epochs=3, validation=0.1, patience=2, seed=5, checkpoint=tmp_path, progress=False)
    assert len(os.listdir(tmp_path)) == 2  # the last two
    second.hyper["lr"] = 9.0  # the checkpoint has the right one
    second.restore(tmp_path)
    rest = second.fit(DATA, batch=32, epochs=6, validation=0.1, patience=2, resume=True, progress=False)
    assert history["loss"][3:] == rest["loss"] and history["val_loss"][3:] == rest["val_loss"]
    assert state(whole) == state(second)
    with pytest.raises(OptionError, match="seed"):
        second.fit(DATA, epochs=9, seed=6, resume=True)


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """SIGINT as in a terminal: a shell that runs the tests in the background has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_interrupt_and_resume(ctrl_c: None, tmp_path: Path) -> None:
    rows = 100_000
    data = {"x": np.ones((rows, 3), np.float32), "k": np.zeros(rows, np.int32)}
    net, whole = model(), model()
    for one in (net, whole):
        one.hyper["lr"] = 1e-7
    timer = threading.Timer(0.01, signal.raise_signal, [signal.SIGINT])

    def begin(epoch: int, row: dict[str, Any]) -> None:
        if epoch == 1:
            timer.start()

    with pytest.raises(KeyboardInterrupt):
        net.fit(data, batch=1, epochs=10_000, progress=False, checkpoint=tmp_path, callbacks=[begin])
    timer.join()
    cursor = net.store.cursor
    assert cursor is not None and net.steps == cursor.epoch * rows + cursor.row
    again = model()
    again.restore(tmp_path)
    assert state(again) == state(net) and again.store.cursor == cursor
    epochs = cursor.epoch + 1
    again.fit(data, batch=1, epochs=epochs, resume=True, progress=False)
    whole.fit(data, batch=1, epochs=epochs, progress=False)
    assert state(again) == state(whole)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_that_python_discards_is_heard_all_the_same(ctrl_c: None) -> None:
    class Finalised:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    def drop(epoch: int, row: dict[str, Any]) -> None:
        if epoch == 2:
            Finalised()

    net = model()
    with pytest.raises(KeyboardInterrupt):
        net.fit(DATA, batch=32, epochs=100_000, callbacks=[drop], progress=False)
    assert net.store.cursor is not None and net.store.cursor.epoch == 2
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_damaged_checkpoints(tmp_path: Path) -> None:
    net = model()
    with pytest.raises(WeightsError, match="no checkpoint"):
        net.restore(tmp_path / "none")
    net.save_checkpoint(tmp_path)
    net.step(x=X[:4], k=K[:4])
    newest = net.save_checkpoint(tmp_path)
    whole = newest.read_bytes()
    newest.write_bytes(whole[:-8] + bytes(8))  # a lost write
    other = model()
    with pytest.warns(RuntimeWarning, match="older checkpoint"):
        other.restore(tmp_path)
    assert other.steps == 0
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    with pytest.raises(WeightsError, match="header length"):
        other.restore(tmp_path)


def test_checkpoint_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = model()
    (tmp_path / ".graphc-999999999-ab.tmp").write_bytes(b"left by a killed process")
    for _ in range(5):
        net.save_checkpoint(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["checkpoint-000004.safetensors", "checkpoint-000005.safetensors"]
    monkeypatch.setattr(os, "fsync", _full_disk)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(OSError, match="No space"):
        net.save_checkpoint(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def _full_disk(descriptor: int) -> None:
    raise OSError(28, "No space left on device")
