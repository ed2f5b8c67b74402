"""check="bounds": generated code stays in its buffers, and what it would look like if it did not."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import graphc
from graphc.runtime.errors import InternalError, LimitError, OptionError
from graphc.runtime.model import Model

NET = """\
use std.nn: batch_norm, conv2d, dense
dim B, H = 6, C = 3
model net(x: f32[B, H, H, 1]) -> (y: f32[B, C]):
    param c = conv2d[K=3, O=5], norm = batch_norm, out = dense[O=C]
    y = x |> c |> norm |> relu |> max_pool(size=2) |> flatten |> dropout(rate=0.3) |> out
train net:
    input t: i64[B]
    hyper lr: f32 = 1e-2
    loss = cross_entropy(y, t)
    optimizer = adam(lr = lr)
"""
DRAWS = np.random.default_rng(0)
DATA = {"x": DRAWS.standard_normal((23, 6, 6, 1)).astype(np.float32), "t": DRAWS.integers(0, 3, 23)}


def net(**options: Any) -> Model:
    return graphc.compile_source(NET, **options)


def test_the_same_bits_between_guards() -> None:
    plain, guarded = net(), net(check="bounds")
    for model in (plain, guarded):
        model.fit(DATA, batch=8, epochs=2, validation=0.2, progress=False)
        model.step(DATA)
    assert plain.digest() == guarded.digest() and plain.steps == guarded.steps
    for name, array in plain(x=DATA["x"]).items():
        assert np.array_equal(array, guarded(x=DATA["x"])[name])
    assert plain.evaluate(DATA) == guarded.evaluate(DATA)
    _, expected = plain.gradients(DATA)
    _, found = guarded.gradients(DATA)
    assert all(np.array_equal(expected[name], found[name]) for name in expected)
    for model in (plain, guarded):
        model.apply(found)
    assert plain.digest() == guarded.digest()
    guarded.check = None
    assert guarded.evaluate(DATA) == plain.evaluate(DATA)


def planted(body: Any) -> Model:
    """A model whose code is a function of Python on (table of addresses, address of the arena)."""
    model = graphc.compile_source(
        "dim B\nmodel m(x: f32[B]) -> (y: f32[B]):\n    param w: f32[3] = ones()\n    y = x * sum(w)\n", check="bounds"
    )
    bound = model._entries["forward"]

    def code(table: int, dims: int, arena: int, *more: int) -> int:
        body((ctypes.c_size_t * 3).from_address(table), arena)
        return 0

    bound._function = code  # type: ignore[assignment]
    return model


def put(at: int, value: float = 1.0) -> None:
    ctypes.c_float.from_address(at).value = value


X = np.ones(5, np.float32)


def good(table: Any) -> None:
    for index in range(5):
        put(table[2] + 4 * index, 3.0)


@pytest.mark.parametrize(("place", "name"), [(0, "`x`"), (1, "`w`"), (2, "an output")])
@pytest.mark.parametrize("offset", [-4, 20])
def test_writing_beside_a_buffer(place: int, name: str, offset: int) -> None:
    """The page's other half is watched; the guard itself is the next test's."""

    def body(table: Any, arena: int) -> None:
        good(table)
        is_at_end = table[place] % 4096 != 0
        if is_at_end == (offset < 0):
            put(table[place] + offset)

    with pytest.raises(InternalError, match=f"forward: the native code wrote beside {name}"):
        planted(body)(x=X)


def test_reading_what_nobody_wrote() -> None:
    def body(table: Any, arena: int) -> None:
        good(table)
        put(table[2], ctypes.c_float.from_address(table[2] + 4).value)
        ctypes.memmove(table[2] + 8, arena, 0)

    planted(body)(x=X)  # reads what it wrote

    def bad(table: Any, arena: int) -> None:
        for index in range(4):
            put(table[2] + 4 * index)

    with pytest.raises(InternalError, match="`y` depends on memory that nobody wrote"):
        planted(bad)(x=X)


@pytest.mark.parametrize("offset", ["array.nbytes", "-1"])
def test_the_guards_end_the_process(offset: str) -> None:
    probe = (
        "import ctypes, sys\nfrom graphc.runtime.bounds import GuardedMemory, POISONS\n"
        f"memory = GuardedMemory(12, {offset != '-1'}, POISONS[0])\narray = memory.bytes\n"
        "ctypes.c_uint8.from_address(memory.address).value = 3\nprint('inside', flush=True)\n"
        f"print(ctypes.c_uint8.from_address(memory.address + {offset}).value)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=300)
    assert done.stdout == "inside\n" and done.returncode == -11


def test_limits_and_options() -> None:
    model = net()
    model.arena_limit = 100
    model.check = "bounds"
    with pytest.raises(LimitError, match="the limit is 100"):
        model.step(DATA)
    with pytest.raises(OptionError, match='check must be None, "finite" or "bounds"'):
        model.check = "all"
    assert model.check == "bounds"
