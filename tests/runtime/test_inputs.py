"""What may be passed to a model: right values without touching the input, or an error that names it."""

from __future__ import annotations

import array
import decimal
import itertools
from typing import Any

import numpy as np
import pytest
from linear_model import model

from graphc.runtime.buffers import aligned_array, as_input, slab_places
from graphc.runtime.errors import GraphcError, IndexRangeError, InputShapeError, InputTypeError, OutOfMemoryError
from graphc.runtime.model import Model
from graphc.runtime.signature import Leaf

X = np.arange(12, dtype=np.float32).reshape(4, 3)
Y = X * np.array([1, 2, 3], np.float32)


@pytest.fixture(scope="module")
def net() -> Model:
    return model()


class Interface:
    """Only `__array_interface__`."""

    def __init__(self, of: Any) -> None:
        self.of = of
        self.__array_interface__ = of.__array_interface__


class Dlpack:
    """Only DLPack."""

    def __init__(self, of: Any) -> None:
        self.of = of

    def __dlpack__(self, **options: Any) -> Any:
        return self.of.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.of.__dlpack_device__()


def unaligned() -> Any:
    raw = np.zeros(X.nbytes + 1, np.uint8)
    out = raw[1:].view(np.float32).reshape(X.shape)
    out[...] = X
    return out


def read_only() -> Any:
    out = X.copy()
    out.flags.writeable = False
    return out


def field() -> Any:
    out = np.zeros((4, 3), [("a", "i1"), ("x", "f4")])
    out["x"] = X
    return out["x"]


class Sub(np.ndarray):
    """A subclass."""


@pytest.mark.parametrize(
    "given",
    [
        X,
        np.asfortranarray(X),
        np.repeat(X, 2, axis=0)[::2],
        X[::-1].copy()[::-1],
        unaligned(),
        read_only(),
        field(),
        X.astype(">f4"),
        X.tolist(),
        tuple(map(tuple, X.tolist())),
        [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]],
        list(X),
        memoryview(X),
        Interface(X),
        Dlpack(X),
        X.view(Sub),
    ],
    ids=lambda given: type(given).__name__,
)
def test_accepted(net: Model, given: Any) -> None:
    source = given.of if isinstance(given, Dlpack) else given
    before = np.array(source, np.float32)
    y = net(x=given)["y"]
    assert np.array_equal(y, Y) and y.dtype == np.float32 and y.flags.owndata
    assert np.array_equal(np.array(source, np.float32), before)


def test_memmap_and_buffers(net: Model, tmp_path: Any) -> None:
    X.tofile(tmp_path / "x")
    assert np.array_equal(net(x=np.memmap(tmp_path / "x", np.float32, "r", shape=(4, 3)))["y"], Y)
    flat = Leaf("v", "input", "f32", ("B",))
    assert as_input(array.array("f", [1, 2]), flat).tolist() == [1, 2]
    assert as_input(b"ab", Leaf("v", "input", "u8", ("B",))).tolist() == [97, 98]


@pytest.mark.parametrize(
    "given",
    [
        X.astype(np.float64), X.astype(np.int32), X.astype(np.float16), X.astype(np.longdouble), X.astype(bool),
        X.astype(complex), X.astype(object), X.astype(str), X.astype("M8[s]"), X.view("i4"), None, "text", 1j,
        {"a": 1}, {1, 2}, object(), iter([1]), [["a"] * 3], [[None] * 3], [[1j] * 3], [[True] * 3], [[1e39] * 3],
        [[2**24 + 1] * 3], [[10**30] * 3], np.ma.masked_array(X, X > 3), bytes(48), [[decimal.Decimal(1)] * 3],
    ],
    ids=lambda given: f"{type(given).__name__}-{getattr(given, 'dtype', '')}",
)  # fmt: skip
def test_refused_type(net: Model, given: Any) -> None:
    with pytest.raises(InputTypeError, match="`x`") as error:
        net(x=given)
    assert isinstance(error.value, TypeError)


@pytest.mark.parametrize(
    "given", [X[0], X[None], X.T.copy(), X.ravel(), X[:, :2], 1.0, np.zeros((0, 3), np.float32), []]
)
def test_refused_shape(net: Model, given: Any) -> None:
    with pytest.raises(InputShapeError) as error:
        net(x=given)
    assert isinstance(error.value, ValueError)


@pytest.mark.parametrize("ragged", [[[1, 2, 3], [1]], [[[1]], 1]])
def test_ragged(net: Model, ragged: Any) -> None:
    with pytest.raises(InputShapeError, match="regular"):
        net(x=ragged)


def test_a_list_inside_itself(net: Model) -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(GraphcError):
        net(x=endless)


def test_messages(net: Model) -> None:
    with pytest.raises(InputShapeError, match=r"`x` has shape \(4, 2\); it should be f32\[B, 3\]: axis 1 is 2, not 3"):
        net(x=X[:, :2].copy())
    with pytest.raises(InputShapeError, match="B = 4 from x, 3 from k"):
        net.step(x=X, k=np.zeros(3, np.int32))
    with pytest.raises(InputShapeError, match=r"B = 101 from x; it must be from 1 to 100"):
        net(x=np.zeros((101, 3), np.float32))
    with pytest.raises(InputShapeError, match="B = 0 from x"):
        net(x=np.zeros((0, 3), np.float32))
    with pytest.raises(InputShapeError, match="13 is unlucky"):
        net(x=np.zeros((13, 3), np.float32))
    with pytest.raises(InputTypeError, match="missing `k`"):
        net.step(x=X)
    with pytest.raises(InputTypeError, match="unknown `z`"):
        net(x=X, z=X)
    with pytest.raises(InputTypeError, match="unknown `k`"):
        net(x=X, k=np.zeros(4, np.int32))
    with pytest.raises(InputTypeError, match="not both"):
        net({"x": X}, x=X)
    with pytest.raises(InputTypeError, match="by name"):
        net(X)  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [-1, 4, 2**31 - 1, -(2**31)])
def test_index_out_of_range(bad: int) -> None:
    net = model()
    k = np.array([0, 1, bad, 2], np.int32)
    for call in (net.step, net.evaluate, net.gradients):
        with pytest.raises(IndexRangeError, match=rf"`k` holds {bad} at \[2\]; it must be from 0 to 3") as error:
            call(x=X, k=k)
        assert isinstance(error.value, IndexError) and isinstance(error.value, ValueError)
    assert net.params["w"].tolist() == [1, 2, 3] and net.steps == 0


def test_special_values_pass(net: Model) -> None:
    x = np.array([[np.nan, np.inf, -0.0], [1e30, 1e-40, -np.inf]], np.float32)
    y = net(x=x)["y"]
    assert np.array_equal(y, x * np.array([1, 2, 3], np.float32), equal_nan=True)
    assert np.signbit(y[0, 2])


def test_an_input_that_is_the_models_own_memory() -> None:
    net = model(high=None)
    w = net.params["w"].reshape(1, 3)
    loss = net.step(x=w, k=np.zeros(1, np.int32))["loss"]
    assert loss == 14 and net.params["w"].tolist() == [0.5, 1, 1.5]


def test_an_array_too_large_to_be_copied() -> None:
    """Strides of zero make much of little; no machine has so much address space."""
    net = model(high=None)
    with pytest.raises(OutOfMemoryError, match=r"`x` needs a copy of [\d,]+ bytes") as error:
        net(x=np.broadcast_to(X[:1], (1 << 46, 3)))
    assert isinstance(error.value, MemoryError)
    with pytest.raises(OutOfMemoryError, match="no memory for"):
        aligned_array((1 << 50,), "f32")


@pytest.mark.parametrize("rows", [1, 5])
def test_rows_that_overlap_or_are_one_row(rows: int) -> None:
    net, line = model(), np.arange(3 + rows, dtype=np.float32)
    for strides in ((4, 4), (0, 4), (0, 0), (4, 0)):
        x = np.lib.stride_tricks.as_strided(line, (rows, 3), strides, writeable=False)
        assert np.array_equal(net(x=x)["y"], np.array(x) * np.array([1, 2, 3], np.float32))
    assert np.array_equal(line, np.arange(3 + rows))


def test_aligned() -> None:
    for shape in ((3, 5), (), (0, 4)):
        made = aligned_array(shape, "f32")
        assert made.shape == shape and made.ctypes.data % 64 == 0


def test_zero_dimensional_and_bool() -> None:
    scalar = Leaf("s", "input", "f32")
    for value in (1, 1.0, np.float32(1), np.array(1, np.float32)):
        assert as_input(value, scalar).shape == () and as_input(value, scalar) == 1
    with pytest.raises(InputTypeError):
        as_input(np.float64(1), scalar)
    truth = Leaf("t", "input", "bool", ("B",))
    assert as_input([True, False], truth).dtype == bool
    with pytest.raises(InputTypeError):
        as_input([0, 1], truth)


def test_variables_of_one_size_lie_at_different_places_of_a_page() -> None:
    """An update reads the same element of a weight and of its moments: their lines must not drive each other out."""
    leaves = [Leaf(name, "param", "f32", (1024, 1024)) for name in ("w", "mean", "square")]
    sizes, places = slab_places(leaves)
    ends = [place + size for place, size in zip(places, sizes, strict=False)]
    assert all(end <= after for end, after in zip(ends, places[1:], strict=True))
    assert all(place % 64 == 0 for place in places)
    apart = sorted(place % 4096 for place in places[:-1])
    assert all(b - a >= 3 * 64 for a, b in itertools.pairwise(apart))
