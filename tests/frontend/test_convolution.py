"""Convolution and pooling in the language: what they compute, padding, settings of blocks, and their errors."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc
from graphc.frontend.build import elaborate
from graphc.source import Source

RNG = np.random.default_rng(0)


def forward(body: str, **inputs: Any) -> Any:
    """The output y of a model with this body; an input's type is its array's."""
    types = {name: f"f32[{', '.join(map(str, a.shape))}]" for name, a in inputs.items()}
    arguments = ", ".join(f"{name}: {type}" for name, type in types.items())
    head, _, shape = body.partition(" -> ")
    text = f"use std.nn: conv2d, conv_transpose2d\nmodel m({arguments}) -> (y: {shape}):\n    {head}\n"
    return graphc.compile_source(text)(**inputs)["y"]


def codes(body: str, arguments: str = "x: f32[B, 8, 8, 3], w: f32[3, 3, 3, 4]") -> list[tuple[str, str]]:
    text = f"use std.nn: conv2d\ndim B\nmodel m({arguments}) -> (y: f32):\n    {body}\n"
    _, diagnostics = elaborate(Source("m.gc", text), load=lambda path: Source(path, ""))
    return [(one.code, one.title) for one in diagnostics if one.severity == "error"]


def test_the_padded_example_of_the_lecture() -> None:
    x = np.arange(9, dtype=np.float32).reshape(1, 3, 3, 1)
    w = np.arange(4, dtype=np.float32).reshape(2, 2, 1, 1)
    y = forward("y = conv(x, w, pad=1) -> f32[1, 4, 4, 1]", x=x, w=w)
    np.testing.assert_array_equal(y[0, :, :, 0], [[0, 3, 8, 4], [9, 19, 25, 10], [21, 37, 43, 16], [6, 7, 8, 0]])


def test_flip_is_convolution_in_the_sense_of_mathematics() -> None:
    x, w = RNG.standard_normal(9).astype(np.float32), RNG.standard_normal(4).astype(np.float32)
    y = forward("y = conv(x, w, pad=3, flip=true) -> f32[1, 12, 1]", x=x.reshape(1, 9, 1), w=w.reshape(4, 1, 1))
    np.testing.assert_allclose(y.ravel(), np.convolve(x, w), 1e-5, 1e-6)


def test_same_leaves_one_window_for_each_stride() -> None:
    x = np.ones((1, 7, 8, 1), np.float32)
    y = forward("y = conv(x, w, stride=2, pad=same) -> f32[1, 4, 4, 1]", x=x, w=np.ones((3, 3, 1, 1), np.float32))
    np.testing.assert_array_equal(y[0, :, :, 0], np.outer([2, 3, 3, 2], [3, 3, 3, 2]))


def test_lists_give_each_axis_its_own() -> None:
    x, w = np.ones((2, 5, 6, 2), np.float32), np.ones((2, 3, 1, 2), np.float32)
    settings = "stride=[1, 2], pad=[(1, 0), (0, 2)], dilation=[2, 1], groups=2"
    y = forward(f"y = conv(x, w, {settings}) -> f32[2, 4, 3, 2]", x=x, w=w)
    np.testing.assert_array_equal(y[0, :, :, 0], np.outer([1, 2, 2, 2], [3, 3, 2]))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("pad", ["valid", "same", "1"])
def test_a_transposed_convolution_adds_windows(groups: int, pad: str) -> None:
    x, w = (RNG.standard_normal(s).astype(np.float32) for s in ((1, 3, 4), (3, 4 // groups, 2)))
    full = np.zeros((1, 7, 2))
    for o, k, g in product(range(3), range(3), range(groups)):
        outputs, inputs = slice(g * 2 // groups, (g + 1) * 2 // groups), slice(g * 4 // groups, (g + 1) * 4 // groups)
        full[0, 2 * o + k, outputs] += x[0, o, inputs] @ w[k][:, outputs]
    wanted = {"valid": full, "same": full[:, :-1], "1": full[:, 1:-1]}[pad]
    shape = f"f32[1, {wanted.shape[1]}, 2]"
    y = forward(f"y = conv_transpose(x, w, stride=2, pad={pad}, groups={groups}) -> {shape}", x=x, w=w)
    np.testing.assert_allclose(y, wanted, 1e-5, 1e-5)


def test_averages_count_padding_only_if_asked() -> None:
    x = np.ones((1, 3, 3, 1), np.float32)
    y = forward("y = avg_pool(x, size=2, stride=1, pad=1) -> f32[1, 4, 4, 1]", x=x)
    np.testing.assert_array_equal(y, np.ones((1, 4, 4, 1)))
    y = forward("y = avg_pool(x, size=2, stride=1, pad=1, count_padding=true) -> f32[1, 4, 4, 1]", x=x)
    np.testing.assert_array_equal(y[0, 0, :, 0], [0.25, 0.5, 0.5, 0.25])


def test_a_large_window_goes_axis_by_axis() -> None:
    x = RNG.standard_normal((2, 9, 9, 3)).astype(np.float32)
    y = forward("y = max_pool(x, size=7, stride=2) -> f32[2, 2, 2, 3]", x=x)
    wanted = [[x[:, i : i + 7, j : j + 7].max((1, 2)) for j in (0, 2)] for i in (0, 2)]
    np.testing.assert_array_equal(y, np.moveaxis(np.array(wanted), 2, 0))


def test_lp_and_global_pools() -> None:
    x = RNG.standard_normal((2, 4, 4, 3)).astype(np.float32)
    x[0, :2, :2] = 0
    blocks = np.abs(x.reshape(2, 2, 2, 2, 2, 3)).astype(float)
    for p in (1, 2, 3):
        y = forward(f"y = lp_pool(x, size=2, p={p}) -> f32[2, 2, 2, 3]", x=x)
        np.testing.assert_allclose(y, (blocks**p).sum((2, 4)) ** (1 / p), 1e-5, 1e-6)
    np.testing.assert_array_equal(forward("y = global_max_pool(x) -> f32[2, 3]", x=x), x.max((1, 2)))
    np.testing.assert_allclose(forward("y = global_avg_pool(x) -> f32[2, 3]", x=x), x.mean((1, 2)), 1e-5, 1e-6)
    slope = forward("y = grad(sum(lp_pool(x, size=2)), x) -> f32[2, 4, 4, 3]", x=x)
    assert np.isfinite(slope).all() and (slope[0, :2, :2] == 0).all()


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ("y = sum(conv(x, w, stride=0))", "GC0405", "`stride` of `conv` must be at least 1, not 0"),
        ("y = sum(conv(x, w, dilation=[1, 0]))", "GC0405", "`dilation` of `conv` must be at least 1, not 0"),
        ("y = sum(conv(x, w, stride=[1, 1, 1]))", "GC0405", "needs 2 entries"),
        ("y = sum(conv(x, w, pad=-1))", "GC0405", "must be at least 0"),
        ("y = sum(conv(x, w, pad=full))", "GC0101", "unknown name `full`"),
        ("y = sum(conv(x, w, pad=[(1, 2, 3), (0, 0)]))", "GC0405", "pairs (before, behind)"),
        ("y = sum(conv(x, w, groups=2))", "GC0", "2 groups do not divide 3 input channels"),
        ("y = sum(conv(x, w, dilation=4))", "GC0", "a window spans 9 elements"),
        ("y = sum(conv(x[:, :, :, 0:2], w))", "GC0", "has 2 channels in a group"),
        ("y = sum(conv(x, w[0]))", "GC0201", "the weights of"),
        ("y = sum(conv(x[:, 0, 0], w))", "GC0204", "1 to 3 spatial axes"),
        ("y = sum(max_pool(x, size=9))", "GC0", "a window spans 9 elements"),
        ("y = sum(max_pool(x, size=2, pad=2))", "GC0", "would lie in the padding"),
        ("y = sum(max_pool(x))", "GC0402", "needs `size`"),
        ("y = sum(lp_pool(x, size=2, p=0.5))", "GC0405", "`p` of `lp_pool` must be at least 1"),
    ],
)
def test_what_is_wrong_is_said_once(body: str, code: str, words: str) -> None:
    found = codes(body)
    assert len(found) == 1 and found[0][0].startswith(code) and words in found[0][1], found


def test_a_setting_of_a_block_is_known_at_compile_time() -> None:
    body = "param c = conv2d[K=3, O=4](stride=sum(x))\n    y = sum(c(x))"
    assert codes(body) == [("GC0405", "`stride` of `conv2d` is a setting, not f32")]
    assert codes("param c = conv2d[K=3, O=4](stride=2, pad=same)\n    y = sum(c(x))", "x: f32[B, 8, 8, 3]") == []


def test_lenet_learns() -> None:
    """tests/frontend/models/lenet.gc on images whose upper or lower half is brighter."""
    model = graphc.compile(Path(__file__).with_name("models") / "lenet.gc")
    model.init(seed=0)
    y = np.arange(64, dtype=np.uint8) % 2
    image = RNG.integers(0, 100, (64, 28, 28, 1)).astype(np.uint8)
    image[y == 0, :14] += 100
    image[y == 1, 14:] += 100
    history = model.fit({"image": image, "y": y}, batch=32, epochs=10, progress=False, seed=0)
    losses = list(history["loss"])
    assert losses[-1] < 0.7 < losses[0]
