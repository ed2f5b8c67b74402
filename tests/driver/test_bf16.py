"""`precision compute = bf16`: models train as in f32 but for the rounding, to the same bits with any threads."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc
from graphc.driver import stage_graph, stage_text
from graphc.ir.interpret import interpret
from graphc.passes.levels import pipeline
from graphc.runtime import threads
from graphc.runtime.artifact import Artifact
from graphc.runtime.model import Model

MLP = """
precision compute = {compute}
use std.nn: dense
dim B, C = 7
model net(x: f32[B, 131]) -> (logits: f32[B, C]):
    param one = dense[O=150], two = dense[O=C]
    logits = x |> one |> relu |> two
train net:
    input y: i32[B]
    loss = cross_entropy(logits, y)
    optimizer = adam(lr = 1e-2)
    metric accuracy = mean(argmax(logits, axis=C) == y)
"""

CELL = """
precision compute = {compute}
dim B, T, E = 19, H = 33
model seq(x: f32[B, T, E]) -> (y: f32[B, T, H]):
    param w: f32[E, 4*H] = glorot_uniform(), r: f32[H, 4*H] = orthogonal(), b: f32[4*H] = zeros()
    scan t in T:
        carry h: f32[B, H] = zeros(), c: f32[B, H] = zeros()
        i, f, g, o = split(x[:, t] @ w + h @ r + b, axis=-1, parts=4)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(c)
        emit y: f32[B, T, H] = h
train seq:
    input target: f32[B, T, H]
    loss = mse(y, target)
    optimizer = adam(lr = 1e-2)
"""

HEADS = """
precision compute = {compute}
use std.nn: attention, layer_norm
dim B, T, D = 24
model heads(x: f32[B, T, D]) -> (y: f32[B, T, D]):
    param norm = layer_norm, mix = attention[A=3]
    y = x + mix(norm(x))
train heads:
    input target: f32[B, T, D]
    loss = mse(y, target)
    optimizer = adam(lr = 1e-2)
"""

IMAGES = """
precision compute = {compute}
use std.nn: conv2d, dense
dim B, C = 7
model images(x: f32[B, 9, 8, 3]) -> (logits: f32[B, C]):
    param one = conv2d[K=3, O=20], two = conv2d[K=3, O=17], out = dense[O=C]
    h = relu(one(x, pad=same))
    logits = two(h, stride=2) |> relu |> flatten |> out
train images:
    input y: i32[B]
    loss = cross_entropy(logits, y)
    optimizer = adam(lr = 1e-2)
"""

RANDOM = np.random.default_rng(0)
DATA: dict[str, dict[str, Any]] = {
    MLP: {"x": RANDOM.standard_normal((37, 131)).astype("f4"), "y": RANDOM.integers(0, 7, 37).astype("i4")},
    CELL: {name: RANDOM.standard_normal((5, 11, n)).astype("f4") for name, n in (("x", 19), ("target", 33))},
    IMAGES: {"x": RANDOM.standard_normal((5, 9, 8, 3)).astype("f4"), "y": RANDOM.integers(0, 7, 5).astype("i4")},
    HEADS: {name: RANDOM.standard_normal((3, 13, 24)).astype("f4") for name in ("x", "target")},
}
SOURCES = pytest.mark.parametrize("source", DATA, ids=["mlp", "cell", "images", "heads"])


@cache
def artifact(source: str, compute: str, level: int) -> Artifact:
    return graphc.compile_source(source.format(compute=compute), optimize=level).artifact


def compiled(source: str, compute: str, level: int = 2, threads: int = 1) -> Model:
    """A model of its own, with the parameters of seed 3."""
    model = Model(artifact(source, compute, level), threads=threads)
    model.init(seed=3)
    return model


@SOURCES
def test_gradients_are_those_of_the_reference(source: str, tmp_path: Path) -> None:
    """In norm nearer than one rounding: of the last bits of sums some fall on the other side of a tie."""
    path = tmp_path / "m.gc"
    path.write_text(source.format(compute="bf16"))
    model, graph = compiled(source, "bf16"), stage_graph(path, "graph", entry="gradients")
    values = {name: model.params[name] for name in model.params} | DATA[source]
    sizes = dict(zip("BT", DATA[source]["x"].shape[:-1], strict=False))
    expected, _ = interpret(graph, values, sizes)
    for name, found in model.gradients(**DATA[source])[1].items():
        exact = expected[f"gradient/{name}"]
        assert np.linalg.norm(found - exact) < 2.0**-10 * np.linalg.norm(exact), name


@SOURCES
def test_training_gets_as_far_as_in_f32(source: str) -> None:
    losses = []
    for compute in ("f32", "bf16"):
        model = compiled(source, compute)
        losses.append([model.step(**DATA[source])["loss"] for _ in range(60)])
    assert losses[1][-1] < 0.8 * losses[1][0]
    assert abs(losses[1][-1] - losses[0][-1]) < 0.02 * losses[0][0]


@SOURCES
def test_the_bits_do_not_depend_on_threads(source: str) -> None:
    results = []
    for count in (1, 2, 3):
        model = compiled(source, "bf16", threads=count)
        model.team.start()
        if (pool := threads.current()) is not None:
            pool.insist()
        for _ in range(5):
            model.step(**DATA[source])
        results.append(b"".join(model.params[name].tobytes() for name in model.params))
    assert results[1] == results[0] and results[2] == results[0]


@SOURCES
def test_levels_agree_and_batches_do_not_matter(source: str) -> None:
    models = [compiled(source, "bf16", level) for level in (0, 2)]
    name = next(iter(models[0](x=DATA[source]["x"])))
    results = [model(x=DATA[source]["x"])[name] for model in models]
    np.testing.assert_allclose(results[0], results[1], 2.0**-7, 2.0**-7)
    assert np.array_equal(models[1](x=DATA[source]["x"][:2])[name], results[1][:2])


def test_what_all_steps_multiply_by_is_rounded_before_them(tmp_path: Path) -> None:
    """Of a recurrent cell only the carried value is rounded in every step; its inputs are before the loop."""
    path = tmp_path / "cell.gc"
    path.write_text(CELL.format(compute="bf16"))
    graph = pipeline("O1").run(stage_graph(path, "graph", entry="forward"))
    (scan,) = (node for node in graph.nodes() if node.op == "scan")
    assert [sum(x.op == "bf16_pairs" for x in g.nodes()) for g in (scan.attr("body"), graph)] == [1, 3]


def test_parameters_are_f32_and_the_rounding_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "net.gc"
    path.write_text(MLP.format(compute="bf16"))
    model = graphc.compile(path)
    assert {model.params[name].dtype for name in model.params} == {np.dtype("f4")}
    assert 'elements="bf16"' in stage_text(path, "graph") and "of pairs" in stage_text(path, "kernels")
    model.save(tmp_path / "net.gca")
    again = graphc.load(tmp_path / "net.gca")
    x = DATA[MLP]["x"]
    assert np.array_equal(again(x=x)["logits"], model(x=x)["logits"])
