"""First values drawn by native code have the bits of those drawn by NumPy."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

import graphc
from graphc.codegen.draws import SYMBOL, emit_draw
from graphc.codegen.llvm import Module, compile_object
from graphc.codegen.target import host, named
from graphc.linking.link import link
from graphc.runtime import rng
from graphc.runtime.cpu import mismatch
from graphc.runtime.draws import NativeDraws
from graphc.runtime.initialisers import initial, interval
from graphc.runtime.library import Library
from graphc.runtime.model import Model
from graphc.runtime.signature import INITIALISERS, Init
from graphc.runtime.signature import Target as Needs
from graphc.runtime.store import Store
from graphc.signature import needed_features

TARGETS = ("native", "x86-64-v3") if host().is_x86 else ("native",)


@cache
def draws(name: str) -> NativeDraws:
    target = host() if name == "native" else named(name)
    if mismatch(Needs(target.name, target.triple, needed_features(target))):
        pytest.skip(f"this machine cannot run {name}")
    module = Module(target)
    emit_draw(module)
    return NativeDraws(Library(link(compile_object(module.text(), target)), [SYMBOL]), SYMBOL)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("seed", [0, 1, 2**63, 2**64 - 1])
def test_every_length(target: str, seed: int) -> None:
    for count in [*range(70), 1000, 40_001]:
        assert draws(target).uniform64(seed, "a/b", count).tobytes() == rng.uniform64(seed, "a/b", count).tobytes()


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize(
    "init",
    [Init("uniform", {"low": -0.3, "high": 0.1}), Init("glorot_uniform"), Init("he_uniform")],
    ids=lambda i: i.kind,
)
def test_intervals(target: str, dtype: str, init: Init) -> None:
    """Rounded once from f64, and nothing is written beside the array."""
    for count in (1, 15, 16, 17, 333):
        shape = (count, 3)
        memory = np.full(3 * count + 64, 7, dtype)
        within = interval(init, shape)
        assert within is not None
        draws(target).fill(memory[32 : 3 * count + 32], 5, "w", within)
        assert memory[32:-32].tobytes() == initial(init, "w", shape, 5).astype(dtype).tobytes()
        assert (memory[:32] == 7).all() and (memory[-32:] == 7).all()


@pytest.mark.parametrize("kind", INITIALISERS)
def test_every_initialiser(kind: str) -> None:
    init = Init(kind, {"value": 0.5} if kind == "constant" else {})
    for shape in ((), (7,), (12, 5), (3, 3, 2, 4)):
        native = initial(init, "w", shape, 9, draws("native").uniform64)
        assert native.tobytes() == initial(init, "w", shape, 9).tobytes()


def test_models_use_it() -> None:
    model: Model = graphc.compile_source(
        "use std.nn: dense\nmodel net(x: f32[4, 30]) -> (z: f32[4, 7]):\n    param d = dense[O=7]\n    z = x |> d\n"
    )
    assert model.store._draws is not None
    for seed in (0, 3):
        model.init(seed)
        plain = Store(model.signature)
        plain.initialise(seed)
        assert model.params["d.w"].tobytes() == plain.params["d.w"].tobytes() and model.params["d.w"].any()
