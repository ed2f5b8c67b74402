"""The generator against the published known answers; the initialisers against their definitions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from graphc.runtime import rng
from graphc.runtime.errors import GraphcError, OptionError
from graphc.runtime.initialisers import fans, initial
from graphc.runtime.signature import Init


@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [  # kat_vectors of Random123, philox4x32 10
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_known_answers(counter: tuple[int, ...], key: tuple[int, int], answer: tuple[int, ...]) -> None:
    out = rng.philox(tuple(np.array([word], np.uint64) for word in counter), key)
    assert tuple(int(word[0]) for word in out) == answer


def test_streams_do_not_depend_on_count_and_differ() -> None:
    long = rng.words(7, "w", 1001)
    assert np.array_equal(long[:10], rng.words(7, "w", 10))
    assert not np.array_equal(long[:10], rng.words(7, "v", 10))
    assert not np.array_equal(long[:10], rng.words(8, "w", 10))
    assert len(rng.words(7, "w", 0)) == 0


def test_chunks_join(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = rng.words(3, "w", 999)
    monkeypatch.setattr(rng, "_CHUNK", 7)
    assert np.array_equal(whole, rng.words(3, "w", 999))


def test_distributions() -> None:
    u = rng.uniform64(1, "u", 100_000)
    assert u.min() >= 0 and u.max() < 1 and abs(u.mean() - 0.5) < 0.005
    z = rng.normal64(1, "z", 100_001)
    assert abs(z.mean()) < 0.01 and abs(z.std() - 1) < 0.01 and np.isfinite(z).all()


def test_permutation() -> None:
    p = rng.permutation(0, "epoch 3", 1000)
    assert np.array_equal(np.sort(p), np.arange(1000))
    assert not np.array_equal(p, rng.permutation(0, "epoch 4", 1000))


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "3", None, True])
def test_bad_seed(seed: Any) -> None:
    with pytest.raises(OptionError, match="seed"):
        rng.check_seed(seed)


def test_fans() -> None:
    assert fans(()) == (1, 1)
    assert fans((7,)) == (7, 7)
    assert fans((3, 5)) == (3, 5)
    assert fans((5, 5, 32, 64)) == (800, 1600)  # HWIO


def test_order_of_equal_keys() -> None:
    random = np.random.default_rng(0)
    for keys in (np.zeros(100, np.uint64), random.integers(0, 40, 5000).astype(np.uint64), np.zeros(0, np.uint64)):
        assert rng.stable_order(keys).tolist() == np.argsort(keys, kind="stable").tolist()
    keys = rng.bits64(1, "a", 10_000)
    assert rng.stable_order(keys).tolist() == np.argsort(keys, kind="stable").tolist()


@pytest.mark.parametrize(
    ("kind", "bound", "deviation"),
    [
        ("glorot_uniform", math.sqrt(6 / 500), math.sqrt(2 / 500)),
        ("glorot_normal", math.inf, math.sqrt(2 / 500)),
        ("he_uniform", math.sqrt(6 / 200), math.sqrt(2 / 200)),
        ("he_normal", math.inf, math.sqrt(2 / 200)),
        ("lecun_normal", math.inf, math.sqrt(1 / 200)),
    ],
)
def test_scaled(kind: str, bound: float, deviation: float) -> None:
    w = initial(Init(kind), "w", (200, 300), 5)
    assert w.shape == (200, 300)
    assert np.abs(w).max() <= bound
    assert abs(w.std() / deviation - 1) < 0.02


def test_plain_kinds() -> None:
    assert (initial(Init("constant", {"value": 2.5}), "w", (3,), 0) == 2.5).all()
    assert initial(Init("ones"), "w", (), 0) == 1 and initial(Init("zeros"), "w", (0, 3), 0).shape == (0, 3)
    u = initial(Init("uniform", {"low": -1.0, "high": 3.0}), "w", (1000,), 0)
    assert -1 <= u.min() < -0.9 and 2.9 < u.max() < 3
    n = initial(Init("normal", {"mean": 4.0, "std": 0.1}), "w", (1000,), 0)
    assert abs(n.mean() - 4) < 0.02
    t = initial(Init("truncated_normal", {"mean": 0.0, "std": 1.0}), "w", (50_000,), 0)
    assert np.abs(t).max() <= 2 and abs(t.std() - 0.88) < 0.01


@pytest.mark.parametrize("shape", [(8, 8), (3, 20), (20, 3), (3, 3, 4, 16)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    w = initial(Init("orthogonal"), "w", shape, 0).reshape(-1, shape[-1])
    product = w.T @ w if w.shape[0] >= w.shape[1] else w @ w.T
    assert np.allclose(product, np.eye(min(w.shape)), atol=1e-12)


def test_unknown_initialiser() -> None:
    with pytest.raises(GraphcError, match="unknown initialiser"):
        Init("magic")
    with pytest.raises(GraphcError, match="takes"):
        Init("constant")
