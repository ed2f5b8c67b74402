"""Random values: their bits against Philox, their statistics, and when two draws are the same or different."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import graphc
from graphc.runtime.rng import philox

Array = NDArray[Any]
COUNT = 100_000
KS = 1.95 / math.sqrt(COUNT)  # passed by 999 of 1000 seeds

DRAWS = """
dim B, D = 50
block noisy[D](x: f32[..., D]) -> (y: f32[..., D]):
    param scale: f32 = 1.0
    y = scale * uniform(like=x)
model draws(x: f32[B, D]) -> (u: f32[B, D], v: f32[B, D], a: f32[B, D], b: f32[B, D], wide: f64[B, D], one: f32):
    param first = noisy, second = noisy
    u = uniform(like=x)
    v = uniform([B, D])
    a = first(x)
    b = second(x)
    wide = uniform(like=x, type=f64)
    one = uniform([])
train draws:
    loss = first.scale + second.scale
    optimizer = sgd(lr=0.0)
"""


def draws(rows: int = COUNT // 50, seed: int = 0, steps: int = 0) -> dict[str, Array]:
    model = graphc.compile_source(DRAWS)
    model.init(seed)
    for _ in range(steps):
        model.step()
    return model(x=np.zeros((rows, 50), "f4"))


def forward(types: str, value: str, rows: int = COUNT, **named: float) -> Array:
    """One value y: f32[B] of a forward call."""
    inputs = "".join(f", {name}: f32" for name in named)
    text = f"dim B\nmodel m(x: {types}[B]{inputs}) -> (y: {types}[B]):\n    y = {value}\n"
    given = {name: np.float32(number) for name, number in named.items()}
    return graphc.compile_source(text)(x=np.zeros(rows, {"f32": "f4", "f64": "f8"}[types]), **given)["y"]


def distance(values: Array, distribution: Array) -> float:
    """The Kolmogorov-Smirnov distance; `distribution` is that of the sorted values."""
    steps = np.arange(values.size + 1) / values.size
    return float(max(np.max(steps[1:] - distribution), np.max(distribution - steps[:-1])))


def words(rows: int, seed: int, step: int, site: int) -> tuple[Array, ...]:
    index = np.arange(rows, dtype=np.uint64)
    zero, key = np.zeros_like(index), (seed & 0xFFFFFFFF, seed >> 32)
    return philox((index, zero, zero + np.uint64(step), zero + np.uint64(site)), key)


@pytest.mark.parametrize(("seed", "steps"), [(0, 0), (12345678901, 2), (2**64 - 1, 5)])
def test_the_bits_are_philox(seed: int, steps: int) -> None:
    """Against the generator of the runtime, which is another implementation; sites count the calls in order."""
    made = draws(13, seed, steps)
    for site, name in enumerate(("u", "v", "a", "b", "wide", "one")):
        first, second, *_ = words(made[name].size, seed, steps + 1, site)
        wanted: Array = (first >> np.uint64(8)).astype("f4") * np.float32(2.0**-24)
        if name == "wide":
            wanted = ((first | second << np.uint64(32)) >> np.uint64(11)).astype("f8") * 2.0**-53
        np.testing.assert_array_equal(made[name].ravel(), wanted, err_msg=name)


@pytest.mark.parametrize(("types", "smallest"), [("f32", 2.0**-24), ("f64", 2.0**-53)])
def test_uniform(types: str, smallest: float) -> None:
    u = np.sort(forward(types, "uniform(like=x)"))
    assert u[0] >= 0.0 and u[-1] < 1.0 and distance(u, u) < KS
    assert np.all(u / smallest == np.floor(u / smallest))


def test_uniform_between_bounds() -> None:
    y = forward("f32", "uniform(like=x, low=-3.0, high=5.0)")
    np.testing.assert_allclose((y.mean(), y.var()), (1.0, 64.0 / 12.0), atol=0.03)
    assert -3.0 <= y.min() < -2.99 and 4.99 < y.max() <= 5.0
    np.testing.assert_array_equal(y, forward("f32", "uniform(low=low, high=high, like=x)", low=-3.0, high=5.0))


def test_normal_takes_the_two_halves_of_a_block() -> None:
    """sqrt(-2 log(1 - u)) * cos(2 pi v) with u and v of words 0, 1 and 2, 3."""
    z = forward("f64", "normal(like=x)", 1000)
    one, two, three, four = words(1000, 0, 1, 0)
    u, v = (((a | b << np.uint64(32)) >> np.uint64(11)) * 2.0**-53 for a, b in ((one, two), (three, four)))
    np.testing.assert_allclose(z, np.sqrt(-2.0 * np.log(1.0 - u)) * np.cos(2.0 * np.pi * v), rtol=1e-12, atol=1e-14)
    z = forward("f32", "normal(like=x)", 1000)
    u, v = ((a >> np.uint64(8)) * 2.0**-24 for a in (one, three))
    np.testing.assert_allclose(z, np.sqrt(-2.0 * np.log(1.0 - u)) * np.cos(2.0 * np.pi * v), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("types", ["f32", "f64"])
def test_normal(types: str) -> None:
    z = np.sort(forward(types, "normal(like=x)"))
    assert distance(z, np.array([0.5 * math.erfc(-x / math.sqrt(2.0)) for x in z])) < KS
    moments = (z.mean(), z.var(), (z**3).mean(), (z**4).mean())
    np.testing.assert_allclose(moments, (0.0, 1.0, 0.0, 3.0), atol=4.0 * math.sqrt(96.0 / COUNT))
    assert np.isfinite(z).all()
    y = np.sort(forward(types, f"normal([B], mean=-2.0, std=0.25, type={types})"))
    np.testing.assert_allclose(y, -2.0 + 0.25 * z, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_bernoulli(p: float) -> None:
    y = forward("f32", f"bernoulli({p}, like=x)")
    assert set(np.unique(y)) <= {0.0, 1.0}
    assert abs(y.mean() - p) <= 4.0 * math.sqrt(p * (1.0 - p) / COUNT)
    np.testing.assert_array_equal(y, forward("f32", "bernoulli(p, [B])", p=p))
    np.testing.assert_array_equal(y, forward("f32", f"bernoulli(x + {p})"))


def test_bernoulli_of_nan_is_nan() -> None:
    y = forward("f32", "bernoulli(where(uniform(like=x) < 0.5, nan, 1.0 + 0.0 * x))")
    assert 0.4 < np.isnan(y).mean() < 0.6 and np.all(y[~np.isnan(y)] == 1.0)


def correlation(a: Array, b: Array) -> float:
    return abs(float(np.corrcoef(a.ravel(), b.ravel())[0, 1]))


def test_sites_instances_steps_and_seeds_are_independent() -> None:
    made, later, other = draws(), draws(steps=1), draws(seed=1)
    families = [*(made[name] for name in "uvab"), later["u"], other["u"]]
    limit = 4.0 / math.sqrt(COUNT)
    for i, one in enumerate(families):
        assert correlation(one.ravel()[1:], one.ravel()[:-1]) < limit
        for two in families[:i]:
            assert correlation(one, two) < limit and np.mean(one == two) < 1e-4


def test_the_same_again() -> None:
    model = graphc.compile_source(DRAWS)
    x = np.zeros((20, 50), "f4")
    first, again = model(x=x), model(x=x)
    for name in first:  # no step between them
        np.testing.assert_array_equal(first[name], again[name])
    longer = model(x=np.zeros((77, 50), "f4"))
    np.testing.assert_array_equal(first["u"], longer["u"][:20])
    plain = graphc.compile_source(DRAWS, optimize=0)(x=x)
    for name in first:
        np.testing.assert_array_equal(first[name], plain[name])


def test_several_readers_see_one_draw() -> None:
    """Kernels that sweep a row more than once, and kernels apart, must not draw again."""
    text = """
dim B, D = 37
model m(x: f32[B, D]) -> (u: f32[B, D], p: f32[B, D], s: f32[D], c: f32[B, D]):
    u = uniform(like=x)
    p = softmax(u)
    s = sum(u, axis=0)
    c = u - mean(u, axis=1)[:, None]
"""
    made = graphc.compile_source(text)(x=np.zeros((11, 37), "f4"))
    u = made["u"].astype("f8")
    np.testing.assert_allclose(made["p"], np.exp(u) / np.exp(u).sum(1, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(made["s"], u.sum(0), rtol=1e-5)
    np.testing.assert_allclose(made["c"], u - u.mean(1, keepdims=True), atol=1e-6)


def test_a_row_is_drawn_once() -> None:
    """softmax sweeps a row three times: the draw is kept, although it is read through a sum."""
    text = "dim B, D = 64\nmodel m(x: f32[B, D]) -> (y: f32[B, D]):\n    y = softmax(x + uniform(like=x))\n"
    assert graphc.compile_source(text).text("kernels").count("random_24_bits") == 1


def test_calls_for_training_only_do_not_shift_the_others() -> None:
    text = "dim B\nmodel m(x: f32[B]) -> (y: f32[B]):\n    param w: f32 = 1.0\n    h = dropout(x * w, 0.5)\n"
    train = "    y = h + uniform(like=x)\ntrain m:\n    loss = sum(y)\n    optimizer = sgd(lr=0.0)\n"
    extra = "    when training:\n        h = h + normal(like=x)\n"
    x = np.zeros(1000, "f4")
    one, two = graphc.compile_source(text + train), graphc.compile_source(text + extra + train)
    np.testing.assert_array_equal(one(x=x)["y"], two(x=x)["y"])
    assert one.evaluate(x=x) == two.evaluate(x=x)


def test_derivatives_flow_to_the_settings() -> None:
    text = """
model m(x: f64[40]) -> (y: f64[40]):
    param m: f64[40] = zeros(), s: f64[40] = constant(2.0)
    y = normal(like=x, mean=m, std=s)
train m:
    loss = sum(y * y) / 2.0
    optimizer = sgd(lr=0.0)
"""
    model = graphc.compile_source(text)
    x = np.zeros(40)
    y = model(x=x)["y"]
    figures, grads = model.gradients(x=x)
    np.testing.assert_allclose(figures["loss"], np.sum(y * y) / 2.0)
    np.testing.assert_allclose(grads["m"], y)
    np.testing.assert_allclose(grads["s"], y * y / 2.0, rtol=1e-12)


# ---- dropout ---------------------------------------------------------------------------------------------------------

MASK = """
model m(x: f64[48]) -> (y: f64[48]):
    param w: f64[48] = ones()
    y = dropout(x * w, {rate})
train m:
    loss = sum(y)
    optimizer = sgd(lr=0.0)
"""
BITS = 2.0 ** -np.arange(48.0)


def masks(loss: float, rate: float) -> Array:
    """Which of the 48 elements were kept, read off the digits of a loss."""
    number = round(loss * (1.0 - rate) * 2.0**47)
    return np.array([number >> (47 - i) & 1 for i in range(48)], bool)


def test_the_gradient_has_the_mask_of_the_step() -> None:
    model = graphc.compile_source(MASK.format(rate=0.5))
    seen = []
    for _ in range(8):
        figures, grads = model.gradients(x=BITS)
        assert model.gradients(x=BITS)[0] == figures
        mask = masks(figures["loss"], 0.5)
        np.testing.assert_array_equal(grads["w"], np.where(mask, 2.0 * BITS, 0.0))
        assert model.step(x=BITS) == figures
        seen.append(mask)
    assert all(0 < mask.sum() < 48 for mask in seen)
    assert len({mask.tobytes() for mask in seen}) == 8


def test_dropout_of_a_network_has_one_mask_in_both_directions() -> None:
    """The mask is made in one kernel, and read in the backward one: of the gradient of a hidden layer."""
    text = """
use std.nn: dense
dim B
model net(x: f32[B, 9]) -> (y: f32[B, 33]):
    param one = dense[O=33], free: f32[1, 33] = zeros()
    h = dropout(relu(one(x)) + 1.0, 0.25)
    y = h
train net:
    input weight: f32[B, 33]
    loss = sum(y * weight)
    optimizer = sgd(lr=0.0)
"""
    model = graphc.compile_source(text.replace(", free: f32[1, 33] = zeros()", ""))
    x, weight = np.zeros((1, 9), "f4"), np.ones((1, 33), "f4")
    model.params["one.b"][...] = 1.0
    _, grads = model.gradients(x=x, weight=weight)
    kept = grads["one.b"] > 0.0
    np.testing.assert_allclose(grads["one.b"], kept / 0.75, rtol=1e-6)
    for i in range(33):  # the loss of a single element says whether it was kept in the forward pass
        only = np.zeros((1, 33), "f4")
        only[0, i] = 1.0
        figures, _ = model.gradients(x=x, weight=only)
        np.testing.assert_allclose(figures["loss"], 2.0 / 0.75 if kept[i] else 0.0, rtol=1e-6)


def test_the_rate_is_kept_and_the_mean_too() -> None:
    text = MASK.replace("f64[48]", "f32[100000]").format(rate=0.3)
    _, grads = graphc.compile_source(text).gradients(x=np.ones(COUNT, "f4"))
    assert abs(np.mean(grads["w"] == 0.0) - 0.3) < 4.0 * math.sqrt(0.21 / COUNT)
    assert set(np.unique(grads["w"])) == {np.float32(0.0), np.float32(1.0 / 0.7)}


def test_outside_of_training_dropout_is_nothing() -> None:
    model = graphc.compile_source(MASK.format(rate=0.5))
    np.testing.assert_array_equal(model(x=BITS)["y"], BITS)
    assert model.evaluate(x=BITS)["loss"] == pytest.approx(BITS.sum())
    entries = model.signature.entries
    assert "seed" not in entries["forward"].leaves + entries["evaluate"].leaves
    assert "seed" in entries["step"].leaves and "seed" in entries["gradients"].leaves


def test_a_dropped_element_is_zero_whatever_it_was() -> None:
    model = graphc.compile_source(MASK.format(rate=0.5).replace("ones()", "zeros()").replace("x * w", "x + w"))
    _, grads = model.gradients(x=np.full(48, math.inf))
    kept = grads["w"] != 0.0
    assert 0 < kept.sum() < 48
    one = np.where(kept, 1.0, math.nan)
    assert model.step(x=one)["loss"] == 2.0 * kept.sum()


@pytest.mark.parametrize("rate", ["-0.1", "1.0", "1.5", "1", "true", "nan", "inf"])
def test_rates_that_are_refused(rate: str) -> None:
    with pytest.raises(graphc.CompileError, match="GC0405"):
        graphc.compile_source(MASK.format(rate=rate))


def test_a_rate_of_zero_draws_nothing() -> None:
    model = graphc.compile_source(MASK.format(rate="0.0"))
    assert model.step(x=BITS)["loss"] == BITS.sum() and "seed" not in model.signature.entries["step"].leaves


def test_a_rate_from_outside() -> None:
    text = MASK.replace("loss =", "input rate: f64\n    loss =").format(rate=0.5)
    text = text.replace("y = dropout(x * w, 0.5)", "y = x * w").replace("sum(y)", "sum(dropout(y, rate))")
    model, fixed = graphc.compile_source(text), graphc.compile_source(MASK.format(rate=0.5))
    half = fixed.gradients(x=BITS)[0]["loss"]
    for rate, expected in ((0.5, half), (0.0, BITS.sum()), (-1.0, BITS.sum()), (1.0, 0.0), (7.0, 0.0)):
        assert model.gradients(x=BITS, rate=np.array(rate))[0]["loss"] == expected
    assert math.isnan(model.gradients(x=BITS, rate=np.array(math.nan))[0]["loss"])


# ---- training --------------------------------------------------------------------------------------------------------

NET = """
use std.nn: dense
dim B, C = 5
model net(x: f32[B, 13]) -> (logits: f32[B, C]):
    param one = dense[O=40], two = dense[O=C]
    logits = x |> one |> relu |> dropout(rate=0.5) |> two
train net:
    input y: i32[B]
    loss = cross_entropy(logits, y)
    optimizer = adam(lr = 1e-2)
"""


def data() -> dict[str, Array]:
    rng = np.random.default_rng(0)
    return {"x": rng.normal(size=(203, 13)).astype("f4"), "y": rng.integers(0, 5, 203).astype("i4")}


def weights(model: graphc.Model) -> bytes:
    return b"".join(model.params[name].tobytes() for name in model.params)


def trained(seed: int, **options: Any) -> bytes:
    model = graphc.compile_source(NET, **options)
    model.init(seed)
    model.fit(data(), batch=32, epochs=2, seed=7, progress=False)
    return weights(model)


def test_training_twice_gives_the_same_bits() -> None:
    assert trained(3) == trained(3) == trained(3, threads=2) != trained(4)


def test_a_restored_model_goes_on_with_the_same_draws(tmp_path: Path) -> None:
    one, two = graphc.compile_source(NET), graphc.compile_source(NET)
    one.init(seed=2**63 + 5)
    batch = {name: array[:32] for name, array in data().items()}
    for _ in range(3):
        one.step(batch)
    one.save_checkpoint(tmp_path)
    two.init(seed=1)
    two.step(batch)
    two.restore(tmp_path)
    for _ in range(3):
        assert one.step(batch) == two.step(batch)
    assert weights(one) == weights(two)


def test_an_artifact_draws_the_same(tmp_path: Path) -> None:
    one = graphc.compile_source(NET)
    one.save(tmp_path / "net.gca")
    two = graphc.load(tmp_path / "net.gca")
    for model in (one, two):
        model.init(11)
    batch = {name: array[:32] for name, array in data().items()}
    assert [one.step(batch) for _ in range(3)] == [two.step(batch) for _ in range(3)]


# ---- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("uniform()", "GC0402"),
        ("uniform([3], like=x)", "GC0402"),
        ("uniform([3], low=1.0, high=0.0)", "GC0405"),
        ("uniform([0])", "GC0405"),
        ("uniform([3], low=nan)", "GC0405"),
        ("uniform([3], high=inf)", "GC0405"),
        ("normal([3], std=nan)", "GC0405"),
        ("bernoulli(nan, like=x)", "GC0405"),
        ("uniform(3)", "GC0405"),
        ("uniform([3], type=i32)", "GC0405"),
        ("uniform([3], type=f64)", "GC0203"),
        ("uniform([3], low=[1.0])", "GC0206"),
        ("normal([3], std=-1.0)", "GC0405"),
        ("normal([3], mean=cast(x, f64))", "GC0203"),
        ("normal([3], mean=uniform([2, 3]))[0]", "GC0201"),
        ("normal(like=cast(x, i32))", "GC0202"),
        ("bernoulli(1.5, like=x)", "GC0405"),
        ("bernoulli(x, like=x)", "GC0405"),
        ("bernoulli(true, like=x)", "GC0405"),
        ("dropout(x)", "GC0402"),
        ("dropout(x, rate=x)", "GC0405"),
        ("dropout(cast(x, i32), 0.5)", "GC0202"),
    ],
)
def test_mistakes(value: str, code: str) -> None:
    with pytest.raises(graphc.CompileError, match=code):
        graphc.compile_source(f"model m(x: f32[3]) -> (y: f32[3]):\n    y = {value}\n")


def test_constants_and_optimizers_do_not_draw() -> None:
    with pytest.raises(graphc.CompileError, match="GC0013"):
        graphc.compile_source("const k: f32[3] = uniform([3])\nmodel m(x: f32[3]) -> (y: f32[3]):\n    y = x + k\n")
