"""Same source, same bytes; same seed, same trained bits; a row's result does not depend on its batch."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np

import graphc

SOURCE = """
use std.nn: dense
dim B, C = 5
model net(x: f32[B, 13]) -> (logits: f32[B, C], probs: f32[B, C]):
    param one = dense[O=40], two = dense[O=C]
    logits = x |> one |> tanh |> two
    probs = softmax(logits, axis=C)
train net:
    input y: i32[B]
    loss = cross_entropy(logits, y) + 1e-3 * sum_squares("*.w")
    clip = global_norm(1.0)
    optimizer = adam(lr = 1e-2)
    metric accuracy = mean(argmax(logits, axis=C) == y)
"""

SCRIPT = f"""
import hashlib, sys
import numpy as np
import graphc
model = graphc.compile_source({SOURCE!r})
rng = np.random.default_rng(0)
x, y = rng.normal(size=(203, 13)).astype("f4"), rng.integers(0, 5, 203).astype("i4")
model.init(seed=7)
model.fit({{"x": x, "y": y}}, batch=32, epochs=3, seed=7, progress=False)
weights = b"".join(model.params[name].tobytes() for name in model.params)
print(hashlib.sha256(model.artifact.to_bytes()).hexdigest(), hashlib.sha256(weights).hexdigest())
"""


def run(hash_seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_five_processes_make_the_same_artifact_and_the_same_weights() -> None:
    results = {run(seed) for seed in ("0", "1", "42", "random", "4294967295")}
    assert len(results) == 1 and len(results.pop()) == 2 * hashlib.sha256().digest_size * 2 + 1


def data(rows: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(rows)
    return {"x": rng.normal(size=(rows, 13)).astype("f4"), "y": rng.integers(0, 5, rows).astype("i4")}


def test_one_compiled_model_runs_every_batch_and_rows_do_not_depend_on_it() -> None:
    model = graphc.compile_source(SOURCE)
    x = data(1000)["x"]
    whole = model(x=x)["probs"]
    for batch in (1, 2, 7, 32, 33, 1000):
        part = model(x=x[:batch])["probs"]
        assert part.shape == (batch, 5)
        np.testing.assert_array_equal(part, whole[:batch])


def test_a_step_equals_gradients_and_apply() -> None:
    one, two = graphc.compile_source(SOURCE), graphc.compile_source(SOURCE)
    batch = data(33)
    figures = one.step(**batch)
    also, grads = two.gradients(**batch)
    two.apply(grads)
    assert figures["loss"] == also["loss"]
    for name in one.params:
        np.testing.assert_allclose(one.params[name], two.params[name], rtol=2e-6, atol=1e-7)
