"""scan: elaborated, run by the reference interpreter and compared with loops in NumPy; the graph text reads back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphc.diagnostics import render_all
from graphc.frontend.build import elaborate
from graphc.ir.interpret import interpret
from graphc.ir.text import parse_graph, print_graph
from graphc.program import Program
from graphc.source import Source

Array = Any
LENGTHS = (1, 2, 7)
B, H = 3, 4


def program(text: str) -> Program:
    made, diagnostics = elaborate(Source("m.gc", text), load=lambda path: Source(path, ""))
    assert made is not None and not diagnostics, render_all(diagnostics)
    return made


def run(text: str, length: int, entry: str = "forward", **values: Array) -> dict[str, Array]:
    """The outputs of a model at T = length, from its graph and from its graph printed and read back."""
    graph = program(text).entries[entry]
    outputs, updates = interpret(graph, values, {"B": B, "T": length})
    again = interpret(parse_graph(print_graph(graph)), values, {"B": B, "T": length})[0]
    for name, array in outputs.items():
        np.testing.assert_array_equal(array, again[name])
    return {**outputs, **updates}


def sequence(length: int, *shape: int) -> Array:
    return np.random.default_rng(length).normal(size=(B, length, *shape)).astype(np.float32)


def weights(*shape: int) -> Array:
    return (np.random.default_rng(9).normal(size=shape) * 0.5).astype(np.float32)


HEAD = "dim B, T, H = 4\n"
RNN = HEAD + (
    "model m(x: f32[B, T, H], steps: i32[B], w: f32[H, H]) -> (last: f32[B, H], hs: f32[B, T, H], n: f32[T, B]):\n"
    "    {annotation}scan t in {order}T:\n"
    "        carry last: f32[B, H] = zeros(), total: f32[B] = ones()\n"
    "        new = tanh(x[:, t] + last @ w)\n"
    "        last = where((t < steps)[:, None], new, last)\n"
    "        total = total + sum(last, axis=H)\n"
    "        emit hs: f32[B, T, H] = last, n: f32[T, B] = total\n"
)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("order", ["", "reverse "])
@pytest.mark.parametrize("annotation", ["", "@recompute "])
def test_several_carries_and_emits(length: int, order: str, annotation: str) -> None:
    x, w, lengths = sequence(length, H), weights(H, H), np.array([1, length, (length + 1) // 2], np.int32)
    found = run(RNN.format(order=order, annotation=annotation), length, x=x, w=w, steps=lengths)
    h, total = np.zeros((B, H), np.float32), np.ones(B, np.float32)
    hs, totals = np.zeros_like(x), np.zeros((length, B), np.float32)
    for t in range(length)[:: -1 if order else 1]:
        h = np.where((t < lengths)[:, None], np.tanh(x[:, t] + h @ w), h)
        total = total + h.sum(-1)
        hs[:, t], totals[t] = h, total
    np.testing.assert_allclose(found["last"], h, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["hs"], hs, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["n"], totals, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("length", LENGTHS)
def test_scans_inside_scans(length: int) -> None:
    """The inner scan reads both indices, and the carry of the outer one."""
    text = HEAD + (
        "model m(x: f32[B, T, T]) -> (y: f32[B], rows: f32[T, B], cells: f32[T, B, T]):\n"
        "    dim S = T\n"
        "    scan r in T:\n"
        "        carry y: f32[B] = zeros()\n"
        "        before = y\n"
        "        scan c in reverse T:\n"
        "            carry y: f32[B] = y\n"
        "            y = 0.5 * y + x[:, r, c] * cast(r - c, f32)\n"
        "            emit line: f32[B, T] = y + before\n"
        "        emit rows: f32[T, B] = y, cells: f32[T, B, S] = line\n"
    )
    x = sequence(length, length)
    found = run(text, length, x=x)
    y, rows = np.zeros(B, np.float32), np.zeros((length, B))
    cells = np.zeros((length, B, length))
    for r in range(length):
        before = y
        for c in reversed(range(length)):
            y = 0.5 * y + x[:, r, c] * (r - c)
            cells[r, :, c] = y + before
        rows[r] = y
    np.testing.assert_allclose(found["y"], y, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found["rows"], rows, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found["cells"], cells, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("length", LENGTHS)
def test_in_blocks_over_an_array_of_instances(length: int) -> None:
    """Two layers, each a block with a scan that calls an instance: its weights are those of every step."""
    text = HEAD + (
        "block cell[B, H](x: f32[B, H], h: f32[B, H]) -> (y: f32[B, H]):\n"
        "    param w: f32[H, H] = glorot_uniform()\n"
        "    y = tanh(x + h @ w)\n"
        "block rnn[B, N, H](x: f32[B, N, H]) -> (y: f32[B, N, H]):\n"
        "    param c = cell()\n"
        "    scan t in N:\n"
        "        carry h: f32[B, H] = zeros()\n"
        "        h = c(x[:, t], h)\n"
        "        emit y: f32[B, N, H] = h\n"
        "model m(x: f32[B, T, H]) -> (y: f32[B, T, H]):\n"
        "    param layers[2] = rnn()\n"
        "    y = x\n"
        "    for one in layers:\n"
        "        y = one(y)\n"
    )
    made = program(text)
    assert [one.name for one in made.params] == ["layers.0.c.w", "layers.1.c.w"]
    x, w = sequence(length, H), [weights(H, H), weights(H, H) * 2]
    found = run(text, length, x=x, **{"layers.0.c.w": w[0], "layers.1.c.w": w[1]})
    y = x
    for one in w:
        h, rows = np.zeros((B, H), np.float32), []
        for t in range(length):
            h = np.tanh(y[:, t] + h @ one)
            rows.append(h)
        y = np.stack(rows, 1)
    np.testing.assert_allclose(found["y"], y, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("length", LENGTHS)
def test_a_scan_in_a_loop_rebinds_what_it_reads(length: int) -> None:
    """`emit x` while the body reads the x from outside: stacked layers without a second name."""
    text = HEAD + (
        "block cell[B](x: f32[B], h: f32[B]) -> (y: f32[B]):\n"
        "    param w: f32 = constant(0.5)\n"
        "    y = x * w + h\n"
        "model m(x: f32[B, T]) -> (y: f32[B, T]):\n"
        "    param cells[3] = cell()\n"
        "    for one in cells:\n"
        "        scan t in T:\n"
        "            carry h: f32[B] = zeros()\n"
        "            h = one(x[:, t], h)\n"
        "            emit x: f32[B, T] = h\n"
        "    y = x\n"
    )
    x = sequence(length)
    found = run(text, length, x=x, **{f"cells.{i}.w": np.float32(i + 1) for i in range(3)})
    y = x
    for i in range(3):
        y = np.cumsum(y * (i + 1), 1)
    np.testing.assert_allclose(found["y"], y, rtol=1e-5, atol=1e-5)


INDICES = {
    "x[:, t]": lambda x, t: x[:, t],
    "x[:, T - 1 - t]": lambda x, t: x[:, ::-1][:, t],
    "x[:, t - 1]": lambda x, t: x[:, max(t - 1, 0)],
    "x[:, t + 2]": lambda x, t: x[:, min(t + 2, x.shape[1] - 1)],
    "x[:, 2 * t]": lambda x, t: x[:, min(2 * t, x.shape[1] - 1)],
    "x[:, -t]": lambda x, t: x[:, 0],
    "x[1:3, t][0]": lambda x, t: x[1, t] + np.zeros((B, 1)),
    "x[..., t, :]": lambda x, t: x[:, t],
    "where(t > 0, x[:, t - 1], zeros())": lambda x, t: x[:, t - 1] * (t > 0),
    "x[:, t, :] * cast(t, f32) / T": lambda x, t: x[:, t] * t / x.shape[1],
    "x[:, t, iota(H)]": lambda x, t: x[:, t],
}


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("index", INDICES)
def test_indices(index: str, length: int) -> None:
    text = HEAD + (
        "model m(x: f32[B, T, H]) -> (y: f32[B, T, H]):\n"
        f"    scan t in T:\n        value: f32[B, H] = zeros() + {index}\n        emit y: f32[B, T, H] = value\n"
    )
    if "x[1:3" in index:
        text = text.replace("x[1:3, t][0]", "x[1:3, t][0][None, :]").replace("(x: f32[B,", "(x: f32[3,")
        text = text.replace("f32[B, H] = zeros() +", "f32[3, H] =").replace("[B, T, H]", "[3, T, H]")
    x = sequence(length, H)
    wanted = np.stack([INDICES[index](x, t) for t in range(length)], 1)
    np.testing.assert_allclose(run(text, length, x=x)["y"], wanted, rtol=1e-6)


def test_only_what_may_leave_the_axis_is_kept_on_it() -> None:
    text = HEAD + "model m(x: f32[T]) -> (y: f32[T]):\n    scan t in {axis}:\n        emit y: f32[{axis}] = x[{at}]\n"
    for axis, at, count in (("T", "t", 0), ("T", "T - 1 - t", 0), ("T", "t - 1", 1), ("T", "2 * t - 1", 2)):
        graph = print_graph(program(text.format(axis=axis, at=at)).entries["forward"])
        assert graph.count(" = max ") + graph.count(" = min ") == count, graph
    shorter = text.replace("(y: f32[T])", "(y: f32[T - 1])").format(axis="T - 1", at="t + 1")
    graph = print_graph(program(shorter).entries["forward"])
    assert " = min " not in graph


def test_an_axis_of_another_size_is_a_requirement() -> None:
    text = "dim T, S\nmodel m(x: f32[S], z: f32[T]) -> (y: f32[T]):\n    scan t in T:\n        emit y: f32[T] = x[t]\n"
    found = program(text).requirements
    assert [(str(one.left), one.comparison, str(one.right)) for one in found] == [("T", "<=", "S")]


def test_a_name_of_the_body_ends_with_it() -> None:
    text = HEAD + (
        "model m(x: f32[B, T]) -> (y: f32[B]):\n"
        "    scan t in T:\n        carry h: f32[B] = zeros()\n        a = x[:, t]\n        h = h + a\n"
        "    y = a\n"
    )
    found = elaborate(Source("m.gc", text), load=lambda path: Source(path, ""))[1]
    assert [one.code for one in found] == ["GC0101"]


def test_in_train_sections_and_below_when_training() -> None:
    """A scan of the training step alone, and one that makes the loss; both modes of the model."""
    text = HEAD + (
        "model m(x: f32[B, T]) -> (y: f32[B]):\n"
        "    param w: f32 = constant(1.0)\n"
        "    y = x[:, 0] * w\n"
        "    scan t in T:\n"
        "        carry h: f32[B] = zeros()\n"
        "        h = h + x[:, t]\n"
        "        when training:\n"
        "            h = h * 2.0\n"
        "    y = y + h\n"
        "train m:\n"
        "    input z: f32[B, T]\n"
        "    scan t in T:\n"
        "        carry error: f32 = zeros()\n"
        "        error = error + mse(z[:, t], 0.0)\n"
        "    loss = error + mean(stop_gradient(y)) + w * 0.0\n"
        "    optimizer = sgd(lr=0.1)\n"
    )
    made = program(text)
    x, z = sequence(2), sequence(2) * 3
    values = {"x": x, "z": z, "w": np.float32(1.0), "step": np.int64(1), "seed": np.int64(0)}
    got, _ = interpret(made.entries["evaluate"], values, {"B": B, "T": 2})
    error = (z**2).mean(0).sum()
    np.testing.assert_allclose(got["loss"], error + (x[:, 0] + x.sum(1)).mean(), rtol=1e-5)
    outputs, _ = interpret(made.entries["gradients"], values, {"B": B, "T": 2})
    np.testing.assert_allclose(outputs["loss"], error + (x[:, 0] + x[:, 0] * 4 + x[:, 1] * 2).mean(), rtol=1e-5)


def test_draws_differ_from_step_to_step() -> None:
    """Inside of a scan, and inside of two; one drawn before the scan is the same at every step."""
    text = (
        "dim T, K = 5\n"
        "block noise[K](x: f32[K]) -> (y: f32[K]):\n    y = x + uniform([K])\n"
        "model m(x: f32[T, K]) -> (a: f32[T, K], b: f32[T, T, K], c: f32[T, K]):\n"
        "    dim S = T\n    same = uniform([K])\n"
        "    scan t in T:\n"
        "        scan s in T:\n"
        "            emit row: f32[T, K] = normal([K])\n"
        "        emit a: f32[T, K] = noise(x[t]), b: f32[T, S, K] = row, c: f32[T, K] = same\n"
    )
    values = {"x": np.zeros((6, 5), np.float32), "step": np.int64(1)}
    found = {seed: run(text, 6, **values, seed=np.int64(seed)) for seed in (0, 1)}
    for seed, drawn in found.items():
        assert len(np.unique(drawn["a"])) == 30 and len(np.unique(drawn["b"])) == 180, seed
        assert len(np.unique(drawn["c"], axis=0)) == 1
    assert not np.intersect1d(found[0]["a"], found[1]["a"]).size
    again = run(text, 6, **values, seed=np.int64(1))
    np.testing.assert_array_equal(again["b"], found[1]["b"])


def test_both_modes_share_a_scan_that_does_not_differ() -> None:
    text = HEAD + (
        "model m(x: f32[B, T]) -> (y: f32[B]):\n    param w: f32 = constant(1.0)\n"
        "    scan t in T:\n        carry y: f32[B] = zeros()\n        y = y + x[:, t]\n"
        "train m:\n    loss = mean(y) * w\n    optimizer = sgd(lr=0.1)\n"
    )
    entries = program(text).entries
    scans = [[x for x in entries[name].nodes() if x.op == "scan"] for name in ("forward", "evaluate", "step")]
    assert scans[0] == scans[1] == scans[2] and len(scans[0]) == 1
