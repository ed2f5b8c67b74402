"""Threads: the same bits for any number of them, real work on all, and no trouble at forks, at exit or when parked."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from many_threads import bits, needs_pool, pool, variants

import graphc
from graphc.runtime import threads
from graphc.runtime.errors import OptionError

EXAMPLES = Path(__file__).parents[2] / "examples"

MLP = """
use std.nn: dense
dim B, C = 10
model net(x: f32[B, 300]) -> (logits: f32[B, C], probs: f32[B, C]):
    param one = dense[O=200], two = dense[O=C]
    logits = x |> one |> relu |> dropout(rate=0.3) |> two
    probs = softmax(logits, axis=C)
train net:
    input y: i32[B]
    loss = cross_entropy(logits, y) + 1e-4 * sum_squares("*.w")
    clip = global_norm(1.0)
    optimizer = adam(lr = 1e-2)
    metric accuracy = mean(argmax(logits, axis=C) == y)
"""


def mlp_data(rows: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(rows)
    return {"x": rng.normal(size=(rows, 300)).astype("f4"), "y": rng.integers(0, 10, rows).astype("i4")}


def trained(model: graphc.Model, data: dict[str, np.ndarray], steps: int) -> str:
    model.init(seed=5)
    losses = [model.step(**data)["loss"] for _ in range(steps)]
    return bits({**model.params, **model.slots, "loss": np.array(losses)})


@pytest.mark.parametrize("rows", [1, 67, 256])
@pytest.mark.parametrize("dims", [{}, {"B": None}], ids=["run-time batch", "fixed batch"])
def test_an_mlp_with_dropout_and_adam_has_the_same_bits(rows: int, dims: dict[str, Any]) -> None:
    fixed = dict.fromkeys(dims, rows)
    models = variants(graphc.compile_source(MLP, dims=fixed))
    assert len({trained(model, mlp_data(rows), 6) for model in models}) == 1
    assert len({bits(model(x=mlp_data(rows)["x"])) for model in models}) == 1


def test_lenet_with_dropout_has_the_same_bits() -> None:
    rng = np.random.default_rng(0)
    data = {"image": rng.integers(0, 255, (48, 28, 28)).astype("u1"), "label": rng.integers(0, 10, 48).astype("u1")}
    results = set()
    for model in variants(graphc.compile(EXAMPLES / "lenet" / "lenet.gc")):
        model.init(seed=1)
        model.fit(data, batch=20, epochs=2, seed=2, progress=False)  # batches of 20, 20 and 8
        results.add(bits({**model.params, **model.slots, **model(image=data["image"])}))
    assert len(results) == 1


PADDED = """
use std.nn: conv2d, depthwise_conv2d, batch_norm, dense
dim B, C = 10
model net(x: f32[B, 15, 15, 3]) -> (logits: f32[B, C]):
    param one = conv2d[K=3, O=20](pad=same), norm = batch_norm, two = depthwise_conv2d[K=3](pad=same)
    param three = conv2d[K=3, O=24](pad=same, stride=2), last = dense[O=C]
    logits = x |> one |> norm |> relu |> two |> three |> tanh |> flatten |> last
train net:
    input y: i32[B]
    loss = cross_entropy(logits, y)
    optimizer = adam(lr = 1e-2)
"""

TOKENS = """
use std.nn: embedding, dense, attention
dim B, T, C = 10
model net(tokens: i32[B, T]) -> (logits: f32[B, C]):
    param table = embedding[V=40, E=64], attend = attention[A=4], last = dense[O=C]
    logits = tokens |> table |> attend |> mean(axis=T) |> last
train net:
    input y: i32[B]
    loss = cross_entropy(logits, y)
    optimizer = adam(lr = 1e-2)
"""


@pytest.mark.parametrize(("source", "shape"), [(PADDED, (15, 15, 3)), (TOKENS, (33,))], ids=["images", "tokens"])
def test_convolutions_normalisation_embedding_and_attention_have_the_same_bits(
    source: str, shape: tuple[int, ...]
) -> None:
    results = set()
    for model in variants(graphc.compile_source(source)):
        for rows in (1, 37):
            rng = np.random.default_rng(rows)
            x = rng.normal(size=(rows, *shape)).astype("f4")
            first = {"tokens": rng.integers(0, 40, (rows, *shape)).astype("i4")} if source is TOKENS else {"x": x}
            found = trained(model, {**first, "y": rng.integers(0, 10, rows).astype("i4")}, 3)
            results.add((rows, found, bits(model.states)))
    assert len(results) == 2


FUNCTIONS = """
dim B, T
model f(x: f32[B, T], n: i32[B]) -> (soft: f32[B, T], normed: f32[B, T], total: f32, columns: f32[T], rows: f32[B],
                                     picked: f32[B, T]):
    soft = softmax(x, axis=T)
    normed = (x - mean(x, axis=T)[:, None]) * rsqrt(mean(x * x, axis=T)[:, None] + 1e-5)
    total = sum(tanh(x) * x)
    columns = sum(exp(x), axis=B)
    rows = max(x * x, axis=T)
    picked = gather(x, n, axis=B) * 2.0
"""


@pytest.mark.parametrize("shape", [(1, 1), (3, 70_001), (513, 129), (40_000, 5)])
def test_reductions_softmax_and_gathers_have_the_same_bits(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    x, n = rng.normal(size=shape).astype("f4"), rng.integers(0, shape[0], shape[0]).astype("i4")
    results = [model(x=x, n=n) for model in variants(graphc.compile_source(FUNCTIONS))]
    assert len({bits(result) for result in results}) == 1
    np.testing.assert_allclose(results[0]["total"], np.sum(np.tanh(x.astype("f8")) * x), rtol=1e-4)
    np.testing.assert_array_equal(results[0]["picked"], x[n] * 2)


@needs_pool
def test_other_threads_do_their_part() -> None:
    model = graphc.compile_source(MLP, threads=3)
    model.init(seed=0)
    model.step(**mlp_data(256))
    pool().insist()
    before = pool().forks, pool().jobs(1), pool().jobs(2)
    model.step(**mlp_data(256))
    after = pool().forks, pool().jobs(1), pool().jobs(2)
    assert [now - then for now, then in zip(after, before, strict=True)] == [1, 1, 1]
    assert [worker.name for worker in pool().workers[:2]] == ["graphc-1", "graphc-2"]


@needs_pool
def test_the_runs_of_an_entry_are_counted() -> None:
    model = graphc.compile_source(MLP, threads=2)
    model.team.start()
    pool().insist(always=False)
    for _ in range(40):
        model.step(**mlp_data(256))
    runs = model.team.runs("step")
    assert runs.shared > 0 < runs.measured
    assert runs.shared + runs.measured + runs.relieved + runs.refused == 40
    assert model.team.runs("forward") == threads.Runs(0, 0, 0, 0)
    pool().insist()
    for _ in range(10):
        model.step(**mlp_data(256))
    assert model.team.runs("step") == replace(runs, shared=runs.shared + 10)


@needs_pool
def test_what_is_too_small_is_not_shared_out() -> None:
    model = graphc.compile_source(MLP, threads=2)
    tiny = graphc.compile_source("model f(x: f32[4]) -> (y: f32[4]):\n    y = x * 2.0\n", threads=2)
    model.step(**mlp_data(256))
    before = pool().forks
    tiny(x=np.ones(4, "f4"))
    assert pool().forks == before


def test_two_models_at_once_from_several_python_threads() -> None:
    alone, *models = variants(graphc.compile_source(MLP))[:3]
    expected = trained(alone, mlp_data(128), 30)
    found: list[str] = []
    users = [
        threading.Thread(target=lambda m=model: found.append(trained(m, mlp_data(128), 30)))  # type: ignore[misc]
        for model in models
    ]
    for user in users:
        user.start()
    for user in users:
        user.join()
    assert found == [expected, expected]


def run(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    head = (
        f"import os, sys, time\nimport numpy as np\nimport graphc\nfrom graphc.runtime import threads\nMLP = {MLP!r}\n"
    )
    head += "rng = np.random.default_rng(0)\nx = rng.normal(size=(256, 300)).astype('f4')\n"
    head += "y = rng.integers(0, 10, 256).astype('i4')\n"
    return subprocess.run(
        [sys.executable, "-c", head + script],
        env={**os.environ, "GRAPHC_CACHE": "1", **environment},  # threads are tested, not the compiler
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@needs_pool
def test_a_parked_pool_uses_no_cpu_and_does_not_hold_up_the_exit() -> None:
    done = run("""
model = graphc.compile_source(MLP, threads=3)
model.step(x=x, y=y)
time.sleep(0.2)
before = time.process_time()
time.sleep(1.0)
print(threads.current().forks, time.process_time() - before)
""")
    assert done.returncode == 0, done.stderr
    forks, used = done.stdout.split()
    assert int(forks) > 0 and float(used) < 0.1


@needs_pool
def test_a_forked_child_has_a_pool_of_its_own() -> None:
    done = run("""
model = graphc.compile_source(MLP, threads=2)
model.step(x=x, y=y)
old = threads.current()
child = os.fork()
model.step(x=x, y=y)
assert (threads.current() is old) == (child != 0)
assert threads.current().forks > 0
if child:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
print(model.params["one.w"].sum(), flush=True)
""")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 2 and len(set(done.stdout.split())) == 1


@needs_pool
def test_workers_are_kept_away_from_the_cpu_of_their_caller() -> None:
    """Those for which there is another: two threads of a step on one CPU would take turns."""
    done = run("""
import ctypes
mine = os.sched_getaffinity(0)
model = graphc.compile_source(MLP, threads=len(mine) + 1)
model.team.start()
pool = threads.current()
pool.insist()
model.step(x=x, y=y)
numbers = [worker.native_id for worker in pool.workers]
def placed(caller):
    os.sched_setaffinity(0, caller)
    for number in numbers:
        os.sched_setaffinity(number, mine)
    key = ctypes.c_int32.from_address(pool.address + 56)
    key.value = -1  # as if the caller had been elsewhere
    model.step(x=x, y=y)
    return key.value, [os.sched_getaffinity(number) for number in numbers]
for cpu in sorted(mine):
    assert placed({cpu}) == (cpu, [mine] * len(mine))  # there is no other CPU: workers stay where they are
    cpu, (*others, last) = placed(mine)
    assert others == [mine - {cpu}] * len(others) and last == mine
print("ok")
""")
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr


def test_a_model_may_be_dropped_while_the_pool_lives() -> None:
    done = run("""
for count in (2, 3, 2):
    model = graphc.compile_source(MLP, threads=count)
    model.step(x=x, y=y)
    del model
print("ok")
""")
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr


def test_the_number_of_threads_is_checked() -> None:
    for wrong in (0, -1, 257, 1.5, True, "2"):
        with pytest.raises(OptionError, match="threads must be a whole number from 1 to 256"):
            graphc.compile_source(MLP, threads=wrong)


@pytest.mark.parametrize("wrong", ["0", "two", "-1", "1.5", "9" * 50], ids=str)
def test_a_bad_environment_variable_is_a_clear_error(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv("GRAPHC_THREADS", wrong)
    with pytest.raises(OptionError, match="GRAPHC_THREADS must be a whole number from 1 to 256"):
        threads.available()


def test_the_environment_bounds_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHC_THREADS", "1")
    assert graphc.compile_source(MLP).threads == 1
    assert graphc.compile_source(MLP, threads=2).threads == 2
    monkeypatch.setenv("GRAPHC_THREADS", "")
    assert threads.available() == threads.cpus() >= 1


def test_quotas_of_control_groups_are_read(tmp_path: Path) -> None:
    own = tmp_path / "own"

    def write(name: str, text: str) -> None:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    assert threads.cgroup_quota(tmp_path, own) is None
    write("own", "0::/a/b\n")
    write("a/cpu.max", "150000 100000\n")
    write("a/b/cpu.max", "max 100000\n")
    assert threads.cgroup_quota(tmp_path, own) == 1
    write("a/cpu.max", "max 100000\n")
    assert threads.cgroup_quota(tmp_path, own) is None
    write("cpu.max", "400000 100000\n")
    assert threads.cgroup_quota(tmp_path, own) == 4
    write("own", "4:cpu,cpuacct:/x\n3:memory:/y\n")
    write("cpu/x/cpu.cfs_quota_us", "200000\n")
    write("cpu/x/cpu.cfs_period_us", "100000\n")
    assert threads.cgroup_quota(tmp_path, own) == 2
    write("cpu/x/cpu.cfs_quota_us", "-1\n")
    assert threads.cgroup_quota(tmp_path, own) == 4
