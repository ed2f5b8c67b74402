"""Calls made by the builtin: same results as in Python, and whatever is unusual is left to Python, untouched."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from linear_model import artifact, model

from graphc.runtime import call_path, entry
from graphc.runtime.errors import BusyError, GraphcError, IndexRangeError
from graphc.runtime.model import Model

X = np.arange(12, dtype=np.float32).reshape(4, 3)
K = np.array([0, 1, 2, 3], np.int32)

pytestmark = pytest.mark.skipif(call_path._python() is None, reason="this Python has no place for the builtin")


def ready(releases: bool | None = None) -> Model:
    """A model that has seen X and K; `releases`: whether other threads run while it computes."""
    net = model()
    for _ in range(call_path.TRIALS):
        net(x=X), net.step(x=X, k=K), net.evaluate(x=X, k=K)
    net.init(0)
    net.params["w"] = [1, 2, 3]
    if releases is not None:
        for bound in net._entries.values():
            for plan in bound._plans.values():
                plan.native._native.releases = releases
    return net


def step(net: Model, **given: Any) -> Any:
    """What the builtin makes of a step: None if it leaves it to Python."""
    return net._quick_step(None, given)


def state(net: Model) -> tuple[str, int, bool]:
    return net.digest(), net.steps, net._arena.busy


def test_this_python_is_known() -> None:
    assert call_path._arrays_are_known() and call_path._structures_are_known()


@pytest.mark.parametrize("releases", [False, True])
def test_same_bits_as_in_python(releases: bool) -> None:
    quick, slow = ready(releases), model()
    slow._quick_step = slow._quick_forward = slow._quick_evaluate = call_path.never
    random = np.random.default_rng(0)
    for _ in range(20):
        x, k = random.normal(size=(4, 3)).astype(np.float32), random.integers(0, 4, 4).astype(np.int32)
        figures = step(quick, x=x, k=k)
        assert figures == slow.step(x=x, k=k) and type(figures["loss"]) is float
        assert quick.evaluate(x=x, k=k) == slow.evaluate({"x": x, "k": k})
        outputs = quick._quick_forward({"x": x}, {})
        assert outputs["y"].tobytes() == slow(x=x)["y"].tobytes() and outputs["y"].flags.owndata
    assert quick.steps == slow.steps == 20 and quick.digest() == slow.digest()


def test_the_first_calls_are_made_in_python() -> None:
    net = model()
    taken = [step(net, x=X, k=K) is None and net.step(x=X, k=K) is not None for _ in range(call_path.TRIALS)]
    assert all(taken) and step(net, x=X, k=K) is not None


class Sub(np.ndarray[Any, Any]):
    pass


class OwnDict(dict[str, Any]):
    pass


def unaligned() -> Any:
    array = np.zeros(49, np.uint8)[1:].view(np.float32).reshape(4, 3)
    assert not array.flags.aligned
    return array


UNUSUAL: dict[str, Callable[[], Any]] = {
    "a list": lambda: X.tolist(),
    "None": lambda: None,
    "a number": lambda: 1.0,
    "an object": object,
    "a memoryview": lambda: memoryview(X),
    "another dtype": lambda: X.astype(np.float64),
    "another dtype of that size": lambda: X.view(np.int32),
    "another byte order": lambda: X.astype(">f4"),
    "columns first": lambda: np.asfortranarray(X),
    "every second row": lambda: np.repeat(X, 2, axis=0)[::2],
    "rows backwards": lambda: X[::-1],
    "one row again and again": lambda: np.broadcast_to(X[:1], (4, 3)),
    "unaligned": unaligned,
    "another class": lambda: X.view(Sub),
    "masked": lambda: np.ma.masked_array(X),
    "another rank": lambda: X.reshape(4, 3, 1),
    "flat": lambda: X.reshape(-1),
    "transposed sizes": lambda: X.reshape(3, 4),
    "another batch": lambda: X[:2],
    "no rows": lambda: X[:0],
    "a scalar": lambda: np.array(1.0, np.float32),
}


@pytest.mark.parametrize("make", UNUSUAL.values(), ids=UNUSUAL)
def test_the_unusual_is_left_to_python(make: Callable[[], Any]) -> None:
    net, value = ready(), make()
    before = state(net)
    assert step(net, x=value, k=K) is None and state(net) == before
    assert net._quick_forward({"x": value}, {}) is None and state(net) == before
    assert step(net, x=X, k=K) is not None


def test_names_and_arguments() -> None:
    net = ready()
    before = state(net)
    for inputs, named in (
        (None, {}),
        (None, {"x": X}),
        (None, {"x": X, "k": K, "z": X}),
        (None, {"x": X, "K": K}),
        ({"x": X, "k": K}, {"x": X}),
        ({"x": X, "k": K}, {"x": X, "k": K}),
        (OwnDict(x=X, k=K), {}),
        (None, OwnDict(x=X, k=K)),
        (None, None),
        ({"x": X, "k": K}, None),
        ([X, K], {}),
    ):
        assert net._quick_step(inputs, named) is None  # type: ignore[arg-type]
    for arguments in ((), (None,), (None, {"x": X, "k": K}, 3)):
        assert net._quick_step(*arguments) is None
    with pytest.raises(TypeError, match="no keyword arguments"):
        net._quick_step(x=X, k=K)  # type: ignore[call-arg]
    assert state(net) == before
    assert net._quick_step({"k": K, "x": X}, {}) is not None


def test_read_only_arrays_and_one_array_twice() -> None:
    x, k = X.copy(), K.copy()
    x.flags.writeable = k.flags.writeable = False
    net = ready()
    assert step(net, x=x, k=k) is not None and np.array_equal(x, X)
    assert net._quick_forward(None, {"x": x}) is not None


def test_views_of_variables_are_copied_in_python() -> None:
    net = ready()
    low = net._store.slab.low
    view = np.frombuffer((ctypes.c_char * 48).from_address(low), np.float32).reshape(4, 3)
    assert net._quick_forward(None, {"x": view}) is None
    assert net(x=view)["y"].shape == (4, 3)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # NumPy wants new views instead; some programs do this
def test_arrays_that_change_between_calls() -> None:
    net = ready()
    x = X.copy()
    assert step(net, x=x, k=K) is not None
    x.shape = (3, 4)
    assert step(net, x=x, k=K) is None
    x.resize((2, 3), refcheck=False)
    assert step(net, x=x, k=K) is None
    with pytest.raises(GraphcError, match=r"`k` has shape \(4,\)"):
        net.step(x=x, k=K)
    x.resize((4, 3), refcheck=False)
    assert step(net, x=x, k=K) is not None
    x.dtype = np.int32
    assert step(net, x=x, k=K) is None


def test_an_array_that_changes_during_the_lookup() -> None:
    """What hooks do before the arrays are looked at is noticed, and they cannot call the model."""
    net, x, heard = ready(), X.copy(), []

    class Key(str):
        def __hash__(self) -> int:
            return str.__hash__(self)

        def __eq__(self, other: object) -> bool:
            x.resize((1, 3), refcheck=False)
            try:
                net(x=X)
            except BusyError as error:
                heard.append(error)
            return str.__eq__(self, other)

    before = state(net)
    assert net._quick_step({"x": x, Key("k"): K}, {}) is None
    assert heard and state(net) == before


def test_a_key_that_raises() -> None:
    net = ready()

    class Key(str):
        def __hash__(self) -> int:
            return str.__hash__(self)

        def __eq__(self, other: object) -> bool:
            raise RuntimeError("no")

    assert net._quick_step({"x": X, Key("k"): K}, {}) is None
    assert step(net, x=X, k=K) is not None


def test_an_index_out_of_range() -> None:
    net = ready()
    before = state(net)
    wrong = np.array([0, 1, -1, 3], np.int32)
    assert step(net, x=X, k=wrong) is None and state(net) == before
    with pytest.raises(IndexRangeError, match=r"holds -1 at \[2\]"):
        net.step(x=X, k=wrong)


def test_more_shapes_than_it_keeps() -> None:
    net = model()
    shapes = range(1, call_path.PLANS + 4)
    arrays = {rows: np.ones((rows, 3), np.float32) for rows in shapes}
    for _ in range(call_path.TRIALS):
        for array in arrays.values():
            net(x=array)
    known = [rows for rows in shapes if net._quick_forward(None, {"x": arrays[rows]}) is not None]
    assert known == list(shapes)[-call_path.PLANS :]
    for _ in range(3):
        for rows in shapes:
            assert net(x=arrays[rows])["y"].tolist() == [[1, 2, 3]] * rows
    assert net._quick_forward(None, {"x": arrays[shapes[-1]]}) is not None


def test_more_shapes_than_an_entry_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The builtin may know a set of shapes that the entry has forgotten: what it reads of it is its own."""
    monkeypatch.setattr(entry, "MAX_PLANS", 4)
    net, array = model(), np.ones((7, 3), np.float32)
    for _ in range(call_path.TRIALS):
        net(x=array)
    plans = net._entries["forward"]._plans
    known = weakref.ref(next(iter(plans.values())).native)
    for rows in range(20, 24):
        net(x=np.ones((rows, 3), np.float32))
    assert ((7, 3),) not in plans
    plan = known()
    assert plan is not None and plan.is_known and list(plan._dims) == [7]
    others = [np.full(1, 1 << 40) for _ in range(1000)]  # what would lie where the sizes were
    outputs = net._quick_forward(None, {"x": array})
    assert outputs is not None and outputs["y"].tolist() == [[1, 2, 3]] * 7 and len(others) == 1000


def test_a_larger_arena() -> None:
    net = ready()
    net(x=np.ones((90, 3), np.float32))  # the arena moves
    assert step(net, x=X, k=K) is not None


def test_references() -> None:
    """Nothing is kept, nothing given back twice; the results are the caller's alone."""
    net, x = ready(), X.copy()
    singles = [None, True, False, dict, np.ndarray, np.empty, x.dtype, "loss", net._lock]
    before = [sys.getrefcount(one) for one in singles]
    seen = weakref.ref(x)
    for i in range(2000):
        outputs = net._quick_forward(None, {"x": x})
        counts = sys.getrefcount(outputs), sys.getrefcount(outputs["y"])  # each has one owner, and getrefcount
        assert counts == (2, 2)
        assert step(net, x=x, k=K) is not None and step(net, x=x, k=X) is None and step(net, x=x) is None
        count = sys.getrefcount(x)
        assert count == 2, i
    del outputs
    assert all(abs(sys.getrefcount(one) - count) < 50 for one, count in zip(singles, before, strict=True))
    del x
    assert seen() is None


def test_results_own_their_memory() -> None:
    net = ready()
    first = net(x=X)["y"]
    kept = first.copy()
    for _ in range(50):
        assert net(x=X + 1)["y"] is not first
    del net
    gc.collect()
    assert np.array_equal(first, kept) and first.base is None


def test_the_builtin_keeps_what_it_needs() -> None:
    net = ready()
    call, slab = net._quick_forward, weakref.ref(net._store.slab.memory)
    expected = net(x=X)["y"]
    del net
    gc.collect()
    assert np.array_equal(call(None, {"x": X})["y"], expected)
    del call
    gc.collect()
    assert slab() is None


def test_a_dropped_model_goes_without_the_collector() -> None:
    gc.disable()
    try:
        slab = weakref.ref(ready()._store.slab)
        assert slab() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("releases", [False, True])
def test_eight_threads(releases: bool) -> None:
    """Steps of integers: in whatever order they are made, the parameters are the same in the end."""
    net = ready(releases)
    net.hyper["lr"] = 0.5
    inputs = [np.full((4, 3), n, np.float32) for n in range(8)]
    wrong: list[Any] = []

    def work(n: int) -> None:
        for _ in range(100):
            net.step(x=inputs[n], k=K)
            y = net(x=inputs[n])["y"]
            if not np.array_equal(y, np.broadcast_to(y[:1], y.shape)):
                wrong.append(y)

    workers = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == [] and net.steps == 800
    assert net.params["w"].tolist() == [start - 100 * 0.5 * sum(range(8)) for start in (1, 2, 3)]


def test_waits_while_another_thread_holds_the_lock() -> None:
    net, held, go = ready(), threading.Event(), threading.Event()

    def hold() -> None:
        with net._lock:
            held.set()
            go.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    assert step(net, x=X, k=K) is None
    go.set()
    holder.join()
    assert net.step(x=X, k=K) is not None


def test_busy() -> None:
    net = ready()
    net._arena.busy = True
    assert step(net, x=X, k=K) is None
    with pytest.raises(BusyError):
        net.step(x=X, k=K)
    net._arena.busy = False
    assert step(net, x=X, k=K) is not None


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_fork() -> None:
    net = ready()
    with net._lock:
        net._arena.busy = True  # as if another thread were in a call
        child = os.fork()
        if child == 0:
            os._exit(0 if step(net, x=X, k=K) is not None else 1)
        assert os.waitpid(child, 0)[1] == 0
        net._arena.busy = False


def test_watched_calls_are_made_in_python() -> None:
    net = ready()
    net.check = "bounds"
    assert step(net, x=X, k=K) is None and net.step(x=X, k=K)["loss"] > 0
    net.check = None
    assert step(net, x=X, k=K) is not None


def test_without_the_builtin(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = ready()(x=X)["y"]
    monkeypatch.setattr("graphc.runtime.call_path._python", lambda: None)
    net = model()
    for _ in range(call_path.TRIALS + 2):
        assert np.array_equal(net(x=X)["y"], expected) and net.step(x=X, k=K).keys() == {"loss"}
        net.params["w"] = [1, 2, 3]
    assert net._quick_step is call_path.never


def test_figures_of_every_kind() -> None:
    """The numbers that native code leaves become Python's."""
    from graphc.runtime.entry import _CTYPES
    from graphc.runtime.library import Library

    library = Library(artifact().builds[0].image, ["graphc_call"])
    values = {"f32": 0.5, "f64": -0.1, "i64": -(2**63), "i32": -7, "i8": -128, "u8": 255, "bool": True}
    path = call_path.call_path(library, "graphc_call")
    assert path is not None
    numbers = {name: _CTYPES[name](value) for name, value in values.items()}

    @ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_void_p] * 4)
    def entry(table: int, dims: int, arena: int, team: int) -> int:
        return 0

    lock, team = threading.RLock(), (ctypes.c_int64 * 5)(1, 0, 1, 0, 1)
    methods = lock.acquire, lock.release
    shared = call_path.Shared(0, 0, 0, *map(id, methods))
    address = ctypes.cast(entry, ctypes.c_void_p).value or 0
    path.bind(address, 0, shared, ctypes.addressof(team), (0, 0), [entry, methods, team])
    path.takes([])
    path.gives([], False, [(name, ctypes.addressof(value), name) for name, value in numbers.items()])
    path.remember(call_path.NativePlan([], 0, [], []))
    found = path.call(None, {})
    assert found == values and [type(one) for one in found.values()] == [float, float, int, int, int, int, bool]
