"""The model: calls, variables, files, threads, forks; made by hand from native code, without the compiler."""

from __future__ import annotations

import copy
import gc
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from linear_model import artifact, model

import graphc.runtime.model as model_module
from graphc.runtime.artifact import Artifact
from graphc.runtime.errors import (
    ArtifactError,
    BusyError,
    InputShapeError,
    InputTypeError,
    LimitError,
    NotAvailableError,
    OptionError,
    UnknownNameError,
    WeightsError,
)
from graphc.runtime.model import Model, load
from graphc.runtime.signature import Signature, Target

X = np.arange(12, dtype=np.float32).reshape(4, 3)
K = np.array([0, 1, 2, 3], np.int32)
MEAN = X.mean(axis=0)


def test_calls() -> None:
    net = model()
    w = np.array([1, 2, 3], np.float32)
    loss = float(MEAN @ w + K.mean())
    assert net.evaluate(x=X, k=K) == {"loss": loss}
    figures, grads = net.gradients(x=X, k=K)
    assert figures == {"loss": loss} and grads["w"].tolist() == MEAN.tolist()
    assert net.params["w"].tolist() == [1, 2, 3] and net.steps == 0
    assert net.step(x=X, k=K) == {"loss": loss} and isinstance(net.step({"x": X, "k": K})["loss"], float)
    assert np.array_equal(net.params["w"], w - 0.5 * MEAN - 0.5 * MEAN)
    assert net.steps == 2 and net.slots["m/w"] == 1 + 2  # the slot adds up the step numbers
    net.apply({"w": np.ones(3, np.float32)})
    assert np.array_equal(net.params["w"], w - MEAN - 0.5) and net.steps == 3
    with pytest.raises(InputTypeError, match="missing `w`"):
        net.apply({})
    for wrong in (None, [np.ones(3, np.float32)], 5):
        with pytest.raises(InputTypeError, match="one mapping by path"):
            net.apply(wrong)  # type: ignore[arg-type]
    assert net.steps == 3


def test_results_own_their_memory() -> None:
    net = model()
    first = net(x=X)["y"]
    kept = first.copy()
    net(x=X + 1)
    net.step(x=X, k=K)
    params = net.params["w"]
    del net
    gc.collect()
    assert np.array_equal(first, kept) and np.isfinite(params).all()


def test_any_batch_in_the_same_code() -> None:
    net = model(high=None)
    for rows in (1, 7, 32, 1000):
        x = np.random.default_rng(rows).standard_normal((rows, 3)).astype(np.float32)
        assert np.array_equal(net(x=x)["y"], x * np.array([1, 2, 3], np.float32))


def test_another_type_is_told_how_it_is_converted() -> None:
    net = model()
    with pytest.raises(InputTypeError, match=r'dtype int64; it should be float32: \.astype\("float32"\) converts it'):
        net(x=X.astype(np.int64))
    with pytest.raises(InputTypeError, match=r"dtype object; it should be float32$"):
        net(x=X.astype(object))


def test_predict() -> None:
    net = model()
    whole = net.predict(X)
    assert np.array_equal(whole, net(x=X)["y"]) and np.array_equal(net.predict(X, batch=3), whole)
    with pytest.raises(UnknownNameError, match="did you mean `y`"):
        net.predict(X, output="yy")
    with pytest.raises(InputTypeError, match="takes 1 input "):
        net.predict(X, X)
    with pytest.raises(OptionError, match="batch"):
        net.predict(X, batch=0)


def test_variables() -> None:
    net = model()
    net.params["w"] = [4, 5, 6]
    net.params["w"][0] = 7
    assert net(x=np.ones((1, 3), np.float32))["y"].tolist() == [[7, 5, 6]]
    assert list(net.params) == ["w"] and list(net.slots) == ["m/w"] and len(net.states) == 0
    with pytest.raises(InputShapeError, match=r"shape \(3,\), not \(2,\)"):
        net.params["w"] = [1, 2]
    with pytest.raises(InputTypeError):
        net.params["w"] = np.ones(3)
    with pytest.raises(UnknownNameError, match="no param `W`; did you mean `w`"):
        net.params["W"]
    assert net.params.get("none") is None and "none" not in net.params


def test_hyper() -> None:
    net = model()
    assert dict(net.hyper) == {"lr": 0.5}
    net.hyper["lr"] = np.float64(0.25)
    net.step(x=X, k=K)
    assert np.array_equal(net.params["w"], np.array([1, 2, 3], np.float32) - np.float32(0.25) * MEAN)
    net.init(3)
    assert net.hyper["lr"] == 0.25  # init leaves hyper-parameters alone
    for bad in ("1", None, True, [1.0], 1j):
        with pytest.raises(InputTypeError, match="`lr`"):
            net.hyper["lr"] = bad  # type: ignore[assignment]
    for wrong in (float("nan"), float("inf"), 1e39, 10**400):
        with pytest.raises(OptionError, match="`lr`"):
            net.hyper["lr"] = wrong
    with pytest.raises(UnknownNameError):
        net.hyper["rate"] = 1.0


def test_init() -> None:
    a, b = Model(artifact()), Model(artifact())
    assert np.array_equal(a.params["w"], b.params["w"]) and a.params["w"].any()
    b.step(x=X, k=K)
    b.init(seed=1)
    assert b.steps == 0 and b.slots["m/w"] == 0 and b.seed == 1
    assert not np.array_equal(a.params["w"], b.params["w"])
    b.init(2**64 - 1)
    assert b._store.slab.arrays["seed"] == -1  # the same bits, for random ops
    b.init()
    assert np.array_equal(a.params["w"], b.params["w"])
    with pytest.raises(OptionError):
        b.init(seed=-1)


def test_save_and_load(tmp_path: Path) -> None:
    net = model()
    net.save(tmp_path / "m.gca")
    net.save_weights(tmp_path / "w.safetensors")
    again = load(tmp_path / "m.gca")
    again.load_weights(tmp_path / "w.safetensors")
    assert np.array_equal(again(x=X)["y"], net(x=X)["y"])
    again.save(tmp_path / "n.gca")
    assert (tmp_path / "m.gca").read_bytes() == (tmp_path / "n.gca").read_bytes()
    with pytest.raises(NotAvailableError, match="loaded from an artifact"):
        again.text("backward")


def _with(change: dict[str, Any]) -> Artifact:
    made = artifact()
    data = made.builds[0].signature.to_json()
    data.update(change)
    return Artifact.of(Signature.from_json(data), made.builds[0].image)


def test_unusable_artifacts(tmp_path: Path) -> None:
    made = artifact()
    triple = made.builds[0].signature.target.triple
    for target, message in (
        (
            Target("far", "aarch64-unknown-linux-gnu" if "x86" in triple else "x86_64-unknown-linux-gnu"),
            "target triple",
        ),
        (Target("new", triple, ("avx1024",)), "lacks avx1024"),
    ):
        path = tmp_path / "x.gca"
        data = made.builds[0].signature.to_json() | {
            "target": {"name": target.name, "triple": target.triple, "features": list(target.features)}
        }
        Artifact.of(Signature.from_json(data), made.builds[0].image).save(path)
        with pytest.raises(ArtifactError, match=rf"x\.gca: {message}|{message}"):
            load(path)
    with pytest.raises(ArtifactError, match="cannot be loaded"):
        Model(Artifact.of(made.builds[0].signature, b"not an ELF file"))
    with pytest.raises(ArtifactError, match="cannot be loaded"):
        Model(_with({"epoch": "missing_symbol"}))


def test_without_training() -> None:
    made = artifact()
    data = made.builds[0].signature.to_json()
    data["entries"] = {"forward": data["entries"]["forward"]}
    net = Model(Artifact.of(Signature.from_json(data), made.builds[0].image))
    assert net(x=X)["y"].shape == (4, 3)
    for call in (net.step, net.evaluate, net.gradients):
        with pytest.raises(NotAvailableError, match="no `train` section"):
            call(x=X, k=K)
    with pytest.raises(NotAvailableError, match="no `train` section"):
        net.fit({"x": X, "k": K})


def test_memory_limit() -> None:
    net = model(high=None)
    net.arena_limit = 1 << 20
    with pytest.raises(LimitError, match="limit"):
        net(x=np.zeros((1 << 17, 3), np.float32))
    net(x=X)


def test_not_copied_or_pickled() -> None:
    net = model()
    for copier in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled"):
            copier(net)


def test_display() -> None:
    bundle = model()._repr_mimebundle_()
    assert "x: f32[B, 3]" in bundle["text/plain"] and "<table>" in bundle["text/html"]


def test_first_values_are_drawn_when_they_are_needed(tmp_path: Path) -> None:
    eager, path = Model(artifact()), tmp_path / "w.safetensors"
    eager.init(0)
    eager.step(x=X, k=np.zeros(4, np.int32))
    eager.save_weights(path)
    loaded = Model(artifact())
    assert not loaded._store.is_drawn
    with pytest.raises(WeightsError):
        loaded.load_weights(tmp_path / "none")
    assert not loaded._store.is_drawn
    loaded.load_weights(path)
    assert loaded._store.is_drawn and loaded.params["w"].tobytes() == eager.params["w"].tobytes()
    assert loaded.slots["m/w"] == 0
    first = eager
    first.init(0)
    uses: list[Callable[[Model], Any]] = [
        lambda one: one(x=X)["y"].tobytes(),
        lambda one: one.params["w"].tobytes(),
        lambda one: one.step(x=X, k=np.zeros(4, np.int32)),
        lambda one: one.gradients(x=X, k=np.zeros(4, np.int32))[0],
        lambda one: one.digest(),
        lambda one: one.store.weights()["w"].tobytes(),
        lambda one: one.evaluate(x=X, k=np.zeros(4, np.int32), batch=2),
        lambda one: one.save_weights(path) or path.read_bytes(),
        lambda one: one.save_flat(path) or path.read_bytes(),
        lambda one: one.save_checkpoint(tmp_path / "c").read_bytes(),
        lambda one: one.fit({"x": X, "k": np.zeros(4, np.int32)}, batch=2, progress=False)["loss"],
    ]
    for use in uses:
        first.init(0)
        assert use(Model(artifact())) == use(first)


def test_threads() -> None:
    net = model()
    inputs = [np.full((n + 1, 3), n, np.float32) for n in range(8)]
    right: list[int] = []

    def work(n: int) -> None:
        expected = inputs[n] * np.array([1, 2, 3], np.float32)
        right.append(sum(np.array_equal(net(x=inputs[n])["y"], expected) for _ in range(200)))

    workers = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert right == [200] * 8


def test_called_from_inside() -> None:
    class Calls:
        """An input that calls the model while it is being converted."""

        def __array__(self, *_: Any, **__: Any) -> Any:
            return net(x=X)["y"]

    net = model()
    with pytest.raises(InputTypeError, match="from inside one of its own calls"):
        net(x=Calls())
    net._arena.busy = True
    with pytest.raises(BusyError):
        net(x=X)
    net._arena.busy = False
    assert net(x=X)["y"].shape == (4, 3)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_fork() -> None:
    net = model()
    with net._lock:  # as if another thread were in a call
        children = []
        for _ in range(4):
            children.append(os.fork())
            if children[-1] == 0:
                os._exit(0 if net(x=X)["y"].shape == (4, 3) else 1)
        assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4


def test_dropping_models_frees_memory() -> None:
    made = artifact()
    refs = []
    for _ in range(50):
        net = Model(made)
        net(x=X)
        refs.append(net._store.slab)
    del net, refs
    gc.collect()
    assert len(model_module._models) < 50


def test_weights_differ(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    net = model()
    path = tmp_path / "w.safetensors"
    save_file({"w": np.ones(4, np.float32), "extra": np.ones(1)}, path)
    with pytest.raises(WeightsError) as error:
        net.load_weights(path)
    assert "unknown `extra`" in str(error.value) and "`w` is float32[4] in the file, float32[3]" in str(error.value)
    save_file({}, path)
    with pytest.raises(WeightsError, match="missing `w`"):
        net.load_weights(path)
    assert net.params["w"].tolist() == [1, 2, 3]
    save_file({"w": np.full(3, 9, np.float32)}, path)  # another program's file
    net.load_weights(path)
    assert net.params["w"].tolist() == [9, 9, 9]


def test_damaged_weights(tmp_path: Path) -> None:
    net = model()
    path = tmp_path / "w.safetensors"
    net.save_weights(path)
    whole = path.read_bytes()
    net.save_weights(path)
    assert path.read_bytes() == whole
    net.params["w"] = [5, 5, 5]
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(WeightsError):
            net.load_weights(path)
    for at in range(len(whole)):
        for mask in (1, 4, 32, 255):
            damaged = bytearray(whole)
            damaged[at] ^= mask
            path.write_bytes(bytes(damaged))
            with pytest.raises(WeightsError):
                net.load_weights(path)
            assert net.params["w"].tolist() == [5, 5, 5]
    path.write_bytes(whole + b"\0")
    with pytest.raises(WeightsError):
        net.load_weights(path)
