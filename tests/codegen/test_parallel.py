"""How kernels are shared out, and where threads must meet: plans, without running them."""

from __future__ import annotations

import itertools
from collections.abc import Hashable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

import graphc
from graphc.codegen import tiling
from graphc.codegen.kernel import Buffer, Contract, For, KAxis, Kernel, Load, Store, Temp, Var, affine
from graphc.codegen.parallel import phases
from graphc.codegen.spmd import Program, Step
from graphc.codegen.target import host
from graphc.ir.types import F32

SOURCE = """
use std.nn: conv2d, dense
dim B, C = 10
model net(x: f32[B, 16, 16, 8]) -> (logits: f32[B, C]):
    param one = conv2d[K=3, O=32](pad=same), two = conv2d[K=3, O=32](pad=same), last = dense[O=C]
    logits = x |> one |> relu |> two |> relu |> max_pool(size=2) |> flatten |> last
train net:
    input y: i32[B]
    loss = cross_entropy(logits, y)
    optimizer = adam(lr = 1e-3)
"""


@cache
def compiled() -> graphc.Model:
    return graphc.compile_source(SOURCE, dims={"B": 64}, threads=1)


Touched = dict[Hashable, bool]  # place -> whether threads other than the first come there


def program(entry: str) -> tuple[Program, dict[Step, tuple[Touched, Touched]]]:
    """The plan of an entry, and what every step reads and writes, found anew from its task."""
    code = compiled().inspection.compilation.entries[entry]  # type: ignore[attr-defined]
    places = {}
    for step in code.program.steps:
        both: list[Touched] = []
        for buffers in step.phase.touched():
            found: Touched = {}
            for buffer in buffers:
                home = step.task.writes.get(buffer) or step.task.reads.get(buffer) or buffer
                pieces = code.memory.pieces.get(home)
                for place in pieces or [(getattr(home, "leaf", None), getattr(home, "name", ""))]:
                    found[place] = found.get(place, False) or (step.is_shared and buffer not in step.phase.private)
            both.append(found)
        places[step] = both[0], both[1]
    return code.program, places


def test_convolutions_with_a_border_are_shared_by_images() -> None:
    steps = program("forward")[0].steps
    convolutions = [s for s in steps if "conv" in s.phase.kernel.comment and s.is_shared]
    assert len(convolutions) == 2
    for step in convolutions:
        assert step.phase.split is not None and step.phase.split.loop is not None
        assert step.phase.split.loop.var.name == "n"
        assert [buffer.name for buffer in step.phase.private] == ["image"]
        *before, images = step.phase.kernel.body
        assert images is step.phase.split.loop
        assert len(before) == 4, "every thread clears the four sides of the border of its own image"


def test_a_convolution_of_one_image_is_shared_by_its_rows() -> None:
    models = [graphc.compile_source(SOURCE, dims={"B": 1}, threads=threads) for threads in (1, 2, 3)]
    code = models[0].inspection.compilation.entries["forward"]  # type: ignore[attr-defined]
    splits = [s.phase.split.loop for s in code.program.steps if "conv" in s.phase.kernel.comment and s.phase.split]
    assert [loop.var.name for loop in splits if loop is not None and loop.var.name.startswith("o")] == ["o0r0"] * 2
    x = np.random.default_rng(0).standard_normal((1, 16, 16, 8)).astype(np.float32)
    found = []
    for model in models:
        model.init(seed=0)
        found.append(model(x=x)["logits"].tobytes())
    assert found[1:] == found[:1] * 2


def test_gradients_of_weights_are_shared_by_tiles_and_never_summed_by_threads() -> None:
    steps = [s for s in program("step")[0].steps if "conv_weights" in s.phase.kernel.comment and s.is_shared]
    assert sum(s.phase.split is not None and s.phase.split.loop is None for s in steps) == 2
    for step in steps:
        assert not any(buffer.name in ("total", "sums") for buffer in step.phase.private)


def test_threads_meet_between_steps_that_touch_the_same_memory() -> None:
    for entry in ("forward", "step", "gradients", "apply"):
        found, places = program(entry)
        meetings = list(itertools.accumulate(step.meet for step in found.steps))
        numbered = list(zip(found.steps, meetings, strict=True))
        for (one, before), (two, after) in itertools.combinations(numbered, 2):
            (read_one, write_one), (read_two, write_two) = places[one], places[two]
            crossings = [(write_one, read_two), (write_one, write_two), (read_one, write_two)]
            if any(a[place] or b[place] for a, b in crossings for place in a.keys() & b.keys()):
                assert before < after, f"{one.phase.kernel.comment} and {two.phase.kernel.comment}"


def test_private_memory_of_a_step_does_not_overlap() -> None:
    found = program("step")[0]
    assert found.private and found.private_size != 0
    for step in found.steps:
        offsets = [found.private[buffer] for buffer in step.phase.private]
        assert len(dict.fromkeys(offsets)) == len(offsets)
        assert all(isinstance(offset, int) and offset % 64 == 0 for offset in offsets)


def test_every_statement_is_in_one_phase() -> None:
    for entry in ("step", "forward"):
        for step in program(entry)[0].steps:
            kernel = step.task.kernel
            parts = phases(kernel, host())
            assert sorted(map(id, kernel.body)) == sorted(id(s) for part in parts for s in part.kernel.body)


@pytest.mark.parametrize(
    ("places", "is_shared"),
    [
        ((128, 128), True),  # a turn reads the block that it has written
        ((128, 64), False),  # reads another turn's
        ((64, 64), False),  # its block reaches into the next turn's
    ],
)
def test_a_product_may_read_what_its_own_turn_has_written(places: tuple[int, int], is_shared: bool) -> None:
    n, i, row, column = Var("n", 8), Var("i", 128), Var("row", 8), Var("column", 4)
    x, kept, w, y = (
        Buffer(name, F32, shape, role)
        for name, shape, role in (
            ("x", (8, 128), "in"),
            ("kept", (8, 128), "out"),
            ("w", (16, 4), "in"),
            ("y", (8, 8, 4), "out"),
        )
    )
    total = Temp(F32, "total")
    written, read = (affine(n) * place for place in places)
    stored = Store(y, affine(n) * 32 + affine(row) * 4 + affine(column), total)
    turn = (
        For(i, (Store(kept, written + affine(i), Load(F32, x, affine(n) * 128 + affine(i))),), vector=True),
        Contract(kept, w, read, affine(0), row, column, (KAxis(16, 1, 4),), 16, 1, total, (stored,)),
    )
    (phase,) = phases(Kernel("strips", (x, kept, w, y), (For(n, turn),)), host())
    assert (phase.split is not None and phase.split.loop is not None and phase.split.loop.var is n) == is_shared


ATTENTION = """
use std.nn: attention
dim B, T, E
model net(x: f32[B, T, E]) -> (y: f32[B, T, E]):
    param mix = attention[A=4]
    y = x |> mix
train net:
    loss = mean(y * y)
    optimizer = sgd(lr = 0.1)
"""


def test_strips_of_attention_are_shared_where_they_are_kept_for_the_gradients() -> None:
    model = graphc.compile_source(ATTENTION, dims={"B": 8, "T": 64, "E": 64}, threads=1)
    steps = model.inspection.compilation.entries["step"].program.steps  # type: ignore[attr-defined]
    strips = [s for s in steps if "exp" in s.phase.kernel.comment]
    assert strips and all(s.is_shared for s in strips)


def test_few_tiles_are_as_many_for_each_of_two_threads() -> None:
    for m, n, tiles in ((48, 16, 4), (96, 32, 8), (64, 16, 4), (48, 64, 4), (4096, 16, 256)):
        axes = (tiling.KAxis(256, 1, n),)
        whole = tiling.Contraction("x", "float", m, n, axes, m, 1, (), lambda f, given, tile: None, split=True)
        chosen = tiling.plan(whole, host())
        assert chosen.height <= tiling.plan(replace(whole, split=False), host()).height
        if host().registers == 32:
            assert -(-m // chosen.height) == tiles
