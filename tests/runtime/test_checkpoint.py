"""Checkpoints: what they hold, when they are written, and what is refused."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc
from graphc.runtime import rng
from graphc.runtime.artifact import Artifact
from graphc.runtime.errors import OptionError, WeightsError
from graphc.runtime.model import Model
from graphc.runtime.weights import load_tensors, save_tensors

NET = """\
use std.nn: batch_norm, dense
dim B, D = 4, C = 3
model net(x: f32[B, D]) -> (logits: f32[B, C]):
    param hidden = dense[O=8], norm = batch_norm, out = dense[O=C]
    logits = x |> hidden |> norm |> relu |> dropout(rate=0.2) |> out
train net:
    input k: i32[B]
    hyper lr: f32 = 1e-2
    loss = cross_entropy(logits, k)
    optimizer = momentum(lr = lr)
"""
DRAWS = np.random.default_rng(0)
DATA = {"x": DRAWS.standard_normal((50, 4)).astype(np.float32), "k": DRAWS.integers(0, 3, 50).astype(np.int32)}
FIT: dict[str, Any] = {"batch": 8, "epochs": 3, "validation": 0.1, "patience": 9, "progress": False}


@cache
def artifact(text: str) -> Artifact:
    return graphc.compile_source(text).artifact


def compiled(text: str = NET) -> Model:
    """A fresh model."""
    return Model(artifact(text))


@pytest.fixture
def net() -> Model:
    return compiled()


def halve(model: Model) -> Any:
    """A callback that changes a hyper-parameter, as a schedule does."""
    return lambda epoch, row: model.hyper.__setitem__("lr", model.hyper["lr"] / 2)


@pytest.mark.parametrize("every", [1, 4, 6, 7])
def test_every_checkpoint_resumes_to_the_same_bits(net: Model, every: int, tmp_path: Path) -> None:
    """Six steps an epoch: within an epoch, at its end, and across several. Each is restored and run to the end."""
    saved: list[int] = []

    def keep(step: int) -> None:
        newest = max((tmp_path / "run").iterdir())
        (tmp_path / f"{step}").mkdir()
        (tmp_path / f"{step}" / newest.name).write_bytes(newest.read_bytes())
        saved.append(step)

    history = net.fit(
        DATA, **FIT, callbacks=[halve(net)], checkpoint=tmp_path / "run", checkpoint_every=every, on_checkpoint=keep
    )
    assert saved == sorted({*range(every, 19, every), 18})
    for step in saved:
        other = compiled()
        other.restore(tmp_path / f"{step}")
        assert other.steps == step
        rest = other.fit(DATA, **FIT, callbacks=[halve(other)], resume=True)
        assert other.digest() == net.digest(), step
        if len(rest):
            assert rest["loss"] == history["loss"][-len(rest) :]
            assert rest["val_loss"] == history["val_loss"][-len(rest) :]
            assert rest.best_epoch == history.best_epoch


LSTM = """\
use std.nn: dense, embedding, lstm_cell
dim B, T, V = 11, H = 6, C = 3
model net(words: i32[B, T]) -> (logits: f32[B, C]):
    param table = embedding[V=V, E=5], cell = lstm_cell[H=H], out = dense[O=C]
    e = dropout(table(words), rate=0.2)
    scan t in T:
        carry h: f32[B, H] = zeros(), c: f32[B, H] = zeros()
        h, c = cell(e[:, t], h, c)
        emit hs: f32[B, T, H] = h
    logits = out(hs[:, T - 1])
train net:
    input k: i32[B]
    loss = cross_entropy(logits, k)
    optimizer = adam(lr = 1e-2)
"""


def test_a_recurrent_network_goes_on_within_an_epoch(tmp_path: Path) -> None:
    draws = np.random.default_rng(1)
    data = {"words": draws.integers(0, 11, (40, 7)).astype(np.int32), "k": draws.integers(0, 3, 40).astype(np.int32)}
    whole, first, second = compiled(LSTM), compiled(LSTM), compiled(LSTM)
    whole.fit(data, batch=6, epochs=3, progress=False)

    def stop(step: int) -> None:
        if step == 10:  # the third of seven steps of the second epoch
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first.fit(data, batch=6, epochs=3, progress=False, checkpoint=tmp_path, checkpoint_every=5, on_checkpoint=stop)
    second.restore(tmp_path)
    assert second.store.cursor is not None and (second.store.cursor.epoch, second.store.cursor.row) == (1, 18)
    second.fit(data, batch=6, epochs=3, progress=False, resume=True)
    assert second.digest() == whole.digest() and second.steps == 21


def test_the_digest_is_of_all_that_training_changes(net: Model) -> None:
    found = [net.digest()]
    net.step({name: array[:8] for name, array in DATA.items()})
    found.append(net.digest())
    net.hyper["lr"] = 0.5
    found.append(net.digest())
    net.states["norm.running_mean"][0] = 3.0
    found.append(net.digest())
    slot = next(iter(net.slots.values()))
    slot.flat[0] += 1.0
    found.append(net.digest())
    assert len(set(found)) == len(found)
    slot.flat[0] -= 1.0
    assert len(set(found)) == len(found)


def test_checkpoints_need_a_folder_and_a_count(net: Model, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="checkpoint_every needs a folder"):
        net.fit(DATA, checkpoint_every=3, progress=False)
    for wrong in (0, -1, 1.5, True, "3"):
        with pytest.raises(OptionError, match="checkpoint_every must be a positive whole number"):
            net.fit(DATA, checkpoint=tmp_path, checkpoint_every=wrong, progress=False)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="a callback must be callable"):
        net.fit(DATA, checkpoint=tmp_path, on_checkpoint=3, progress=False)  # type: ignore[arg-type]


def within_an_epoch(folder: Path) -> Model:
    """A model restored to step 4 of 7."""

    class Enough(Exception):
        pass

    def stop(step: int) -> None:
        raise Enough

    with pytest.raises(Enough):
        compiled().fit(
            DATA, batch=8, progress=False, checkpoint=folder, checkpoint_every=4, on_checkpoint=stop, shuffle=True
        )
    model = compiled()
    model.restore(folder)
    assert model.steps == 4
    return model


def test_within_an_epoch_other_batches_are_refused(tmp_path: Path) -> None:
    model = within_an_epoch(tmp_path)
    before = model.digest()
    fewer = {name: array[:40] for name, array in DATA.items()}
    for data, options, said in (
        (DATA, {"batch": 10}, "batch was 8, is 10"),
        (DATA, {"batch": 8, "shuffle": False}, "shuffle was True, is False"),
        (fewer, {"batch": 8}, "rows was 50, is 40"),
        (DATA, {"batch": 8, "validation": 0.2}, "rows was 50, is 40"),
    ):
        with pytest.raises(OptionError, match=said):
            model.fit(data, epochs=2, progress=False, resume=True, **options)  # type: ignore[arg-type]
        assert model.digest() == before
    model.fit(DATA, batch=8, epochs=2, progress=False, resume=True)
    assert model.steps == 14


OTHERS = {
    "another optimiser": (NET.replace("momentum(lr = lr)", "adam(lr = lr)"), ["missing `slot.m/"]),
    "another shape": (NET.replace("O=8", "O=9"), ["`hidden.w` is float32[4, 8] in the file, float32[4, 9]"]),
    "another layer": (NET.replace("|> norm ", "").replace(", norm = batch_norm", ""), []),
    "another graph of the same parameters": (NET.replace("relu", "tanh"), ["its model file had another text"]),
    "another name": (NET.replace("net", "web"), ["it is of the model `net`, this is `web`"]),
    "other hyper-parameters": (NET.replace("lr: ", "rate: ").replace("lr = lr", "lr = rate"), ["missing `hyper.rate`"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", OTHERS)
def test_another_model_gets_the_list_of_differences_and_stays(kind: str, net: Model, tmp_path: Path) -> None:
    text, expected = OTHERS[kind]
    net.fit(DATA, **FIT, checkpoint=tmp_path)  # with the best weights, which are compared too
    other = compiled(text)
    other.step({name: array[:8] for name, array in DATA.items()})
    before, cursor = other.digest(), other.store.cursor
    with pytest.raises(WeightsError) as error:
        other.restore(tmp_path)
    message = str(error.value)
    assert "nothing was loaded" in message and "another text" in message
    assert [part for part in expected if part not in message] == []
    assert other.digest() == before and other.store.cursor is cursor and other.store.best is None


def test_another_text_may_be_asked_for(net: Model, tmp_path: Path) -> None:
    net.save_checkpoint(tmp_path)
    changed = compiled(NET + "# a comment\n")
    changed.restore(tmp_path, other_source=True)
    assert changed.digest() == net.digest()
    with pytest.raises(WeightsError, match="missing `slot"):
        compiled(OTHERS["another optimiser"][0]).restore(tmp_path, other_source=True)


def test_the_last_two_that_are_whole_are_kept(net: Model, tmp_path: Path) -> None:
    for _ in range(3):
        net.save_checkpoint(tmp_path)
    newest = max(tmp_path.iterdir())
    newest.write_bytes(newest.read_bytes()[:-7])  # torn
    again = compiled()
    with pytest.warns(RuntimeWarning, match=r"older checkpoint is used: .*000003"):
        again.restore(tmp_path)
    again.save_checkpoint(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["checkpoint-000002.safetensors", "checkpoint-000004.safetensors"]


@pytest.mark.parametrize("wrong", [
    {"step": -1}, {"step": 1 << 63}, {"seed": 1 << 64}, {"seed": -1}, {"step": 1.5}, {"step": True}, {"more": 1},
    {"cursor": {"seed": 1}}, {"cursor.row": -1}, {"cursor.epoch": 1 << 70}, {"cursor.seed": -1},
    {"cursor.sums": [None]},
])  # fmt: skip
def test_wrong_numbers_in_the_metadata(net: Model, wrong: dict[str, Any], tmp_path: Path) -> None:
    net.fit(DATA, **FIT, checkpoint=tmp_path)
    path = max(tmp_path.iterdir())
    tensors, metadata = load_tensors(path)
    for key, value in wrong.items():
        first, _, second = key.partition(".")
        if second:
            metadata[first] = {**metadata[first], second: value}
        else:
            metadata[first] = value
    save_tensors(path, tensors, metadata)
    other = compiled()
    before = other.digest()
    with pytest.raises(WeightsError, match="metadata"):
        other.restore(tmp_path)
    assert other.digest() == before


def test_a_place_that_no_training_reaches_is_refused(net: Model, tmp_path: Path) -> None:
    within_an_epoch(tmp_path)
    path = max(tmp_path.iterdir())
    tensors, metadata = load_tensors(path)
    for change in ({"row": 33}, {"row": 56}, {"sums": []}):
        save_tensors(path, tensors, {**metadata, "cursor": {**metadata["cursor"], **change}})
        net.restore(tmp_path)
        with pytest.raises(OptionError, match="stands where this one cannot"):
            net.fit(DATA, batch=8, epochs=2, progress=False, resume=True)


def test_the_order_of_an_epoch_is_a_function_of_seed_and_epoch() -> None:
    orders = [rng.permutation(5, f"epoch {epoch}", 100).tolist() for epoch in (0, 1, 0)]
    assert orders[0] == orders[2] != orders[1]
