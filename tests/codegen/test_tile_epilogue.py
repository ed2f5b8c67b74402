"""Long epilogues: a register tile goes through memory to a function that all heights share."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

import graphc
from graphc.codegen import amid_sums
from graphc.codegen.contraction_spec import Contraction, KAxis
from graphc.codegen.target import host, named
from graphc.codegen.tiling import plan
from graphc.driver import stage_text

LONG = """
dim B, I = {inner}, O = {columns}
model net(x: f32[B, I], w: f32[I, O], c: f32[O], r: f32[B, O]) -> (y: f32[B, O], z: f32[B, O]):
    s = x @ w + c
    y = tanh(s) * r
    z = exp(-s * s) + r / (1.0 + s * s)
"""


@pytest.mark.parametrize("columns", [16, 48, 10, 33, 130])
@pytest.mark.parametrize("inner", [7, 700])
def test_every_vector_of_a_tile_gets_its_epilogue(columns: int, inner: int) -> None:
    model = graphc.compile_source(LONG.format(inner=inner, columns=columns))
    random = np.random.default_rng(1)
    w = random.standard_normal((inner, columns)).astype(np.float32) / np.float32(inner**0.5)
    c = random.standard_normal(columns).astype(np.float32)
    for rows in (1, 5, 8, 23, 70):
        x = random.standard_normal((rows, inner)).astype(np.float32)
        r = random.standard_normal((rows, columns)).astype(np.float32)
        found = model(x=x, w=w, c=c, r=r)
        s = x.astype(np.float64) @ w + c
        np.testing.assert_allclose(found["y"], np.tanh(s) * r, rtol=3e-5, atol=3e-6)
        np.testing.assert_allclose(found["z"], np.exp(-s * s) + r / (1 + s * s), rtol=3e-5, atol=3e-6)


def test_tiles_of_every_height_share_the_function(tmp_path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "long.gc"
    file.write_text(LONG.format(inner=64, columns=48))
    text = stage_text(file, "llvm")
    tiles = re.findall(r"^define internal void @contract\.\d+x\d+", text, re.MULTILINE)
    functions = re.findall(r"^define internal void @epilogue[.\d]*\(", text, re.MULTILINE)
    assert len(tiles) > 4
    assert len(functions) == 1


IMAGES = """
dim B = 2
model net(x: f32[B, 12, 12, 8]) -> (y: f32[B, 8, 8, 16]):
    param scale: f32[8] = ones(), filters: f32[5, 5, 8, 16] = he_normal()
    y = conv(x * scale, filters)
train net:
    loss = sum(y * y)
    optimizer = sgd(lr = 0.1)
"""


def test_contractions_that_differ_in_where_their_results_go_share_their_code(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """The gradient of a convolution: as many lines of the filter reach the image's first lines as its last ones."""
    file = tmp_path / "images.gc"
    file.write_text(IMAGES)
    called = re.findall(r"call void @(contract[.\d]*)\(", stage_text(file, "llvm"))
    assert sorted(called.count(name) for name in dict.fromkeys(called))[-4:] == [2, 2, 2, 2]


def test_the_backward_of_gelu_keeps_one_tensor_beside_its_value(tmp_path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "gelu.gc"
    file.write_text(
        "dim B, D = 32, E = 64\n"
        "model net(x: f32[B, D]) -> (y: f32[B, D]):\n"
        "    param up: f32[D, E] = glorot_uniform(), down: f32[E, D] = glorot_uniform()\n"
        "    y = gelu(x @ up) @ down\n"
        "train net:\n    loss = sum(y * y)\n    optimizer = sgd(lr = 0.1)\n"
    )
    text = stage_text(file, "memory", entry="step")
    assert len(re.findall(r"f32\[B, 64\]", text)) == 3  # the value, its slope, and the cotangent of the product


@pytest.mark.parametrize(("inner", "expected"), [(7, 0), (64, 1)])
def test_memory_that_an_epilogue_reads_is_asked_for_amid_the_sums(  # type: ignore[no-untyped-def]
    tmp_path, inner: int, expected: int
) -> None:
    file = tmp_path / "long.gc"
    file.write_text(LONG.format(inner=inner, columns=16))
    text = stage_text(file, "llvm", dims={"B": 8})
    asked = re.findall(r"call void @llvm\.prefetch", text)
    # a row of r, in a loop, a vector at a time; the bias is one for all rows, short sums leave no time
    assert len(asked) == expected * (64 // host().vector_bytes)


@pytest.mark.parametrize(("rows", "inner", "expected"), [(512, 64, 1), (511, 64, 0), (512, 7, 0)])
def test_a_large_result_is_asked_for_amid_the_sums(  # type: ignore[no-untyped-def]
    tmp_path, rows: int, inner: int, expected: int
) -> None:
    """512 rows of 512 are 1 MB, as large as a cache; short sums leave no time."""
    file = tmp_path / "wide.gc"
    file.write_text(f"dim B\nmodel net(x: f32[B, {inner}], w: f32[{inner}, 512]) -> (y: f32[B, 512]):\n    y = x @ w\n")
    text = stage_text(file, "llvm", dims={"B": rows})
    assert bool(re.findall(r"call void @llvm\.prefetch\S*\(ptr %\w+, i32 1, i32 3", text)) == bool(expected)


TRAINED = """
dim B = 70, I = 90, O = {columns}
model net(x: f32[B, I]) -> (y: f32[B, O]):
    param w: f32[I, O] = glorot_uniform()
    y = x @ w
train net:
    input t: f32[B, O]
    loss = mean((y - t) * (y - t))
    optimizer = {optimizer}
"""


@pytest.mark.parametrize("optimizer", ["adam(lr = 1e-2)", "adagrad(lr = 1e-2)", "rmsprop(lr = 1e-2)"])
@pytest.mark.parametrize("columns", [10, 48, 57, 130])
def test_updates_amid_the_sums_of_the_next_tile_have_the_same_bits(
    optimizer: str, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = TRAINED.format(optimizer=optimizer, columns=columns)
    random = np.random.default_rng(columns)
    x, t = random.standard_normal((70, 90)).astype(np.float32), random.standard_normal((70, columns)).astype(np.float32)

    def weights() -> np.ndarray:
        model = graphc.compile_source(text)
        model.init(seed=1)
        for _ in range(3):
            model.step(x=x, t=t)
        return np.array(model.params["w"])

    late = weights()
    monkeypatch.setattr(amid_sums, "DEAR", 1000)
    assert np.array_equal(weights(), late)


@pytest.mark.parametrize(
    ("update", "columns", "target", "waits"),
    [
        ("adam(lr = 1e-2)", 144, "x86-64-v4", True),
        ("adam(lr = 1e-2)", 64, "x86-64-v4", False),  # tiles of 14 x 2 vectors leave no registers
        ("adam(lr = 1e-2)", 144, "x86-64-v3", False),
        ("sgd(lr = 1e-2)", 144, "x86-64-v4", False),
    ],
)
def test_dear_updates_wait_where_there_are_registers(  # type: ignore[no-untyped-def]
    tmp_path, update: str, columns: int, target: str, waits: bool
) -> None:
    file = tmp_path / "trained.gc"
    file.write_text(TRAINED.format(columns=columns, optimizer=update))
    text = stage_text(file, "llvm", entry="step", target=target)
    tiles = re.findall(r"^define internal void @contract\.\d+x\d+[^{]*{(.*?)^}", text, re.MULTILINE | re.DOTALL)
    assert any("llvm.sqrt" in tile for tile in tiles) == waits


def test_no_sum_is_spilled_for_an_update_amid_the_sums(tmp_path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "trained.gc"
    file.write_text(TRAINED.format(columns=144, optimizer="adam(lr = 1e-2)"))
    text = stage_text(file, "asm", entry="step", target="x86-64-v4")
    tiles = [part for part in re.split(r"^(?=[.\w]+:)", text, flags=re.MULTILINE) if re.search(r"vsqrtps.*%zmm", part)]
    assert tiles
    assert not re.search(r"%zmm\d+, .*\(%r[sb]p\)|\(%r[sb]p\), %zmm", "".join(tiles))


def test_rows_go_through_all_panels_when_their_epilogue_reads_as_much() -> None:
    def nothing(f: object, given: object, tile: object) -> None:
        """An epilogue that is only planned."""

    axis = KAxis(64, 3136, 1024)
    plain = Contraction("c", "float", 3136, 1024, (axis,), 1, 1, (), nothing)
    target = named("x86-64-v4")
    assert plan(plain, target).row_block == 128
    writing = plan(replace(plain, announce=nothing), target)
    reading = plan(replace(plain, announce=nothing, reads=True), target)
    assert (writing.row_block, writing.group) == (128, 10)
    assert (reading.row_block, reading.group) == (1, 13)


@pytest.mark.parametrize(("k", "rows", "ahead"), [(64, 3136, 8), (256, 3136, 0), (64, 128, 0)])
def test_short_sums_of_a_large_result_ask_for_the_rows_below(k: int, rows: int, ahead: int) -> None:
    def nothing(f: object, given: object, tile: object) -> None:
        """An epilogue that is only planned."""

    contraction = Contraction("c", "float", rows, 1024, (KAxis(k, rows, 1024),), 1, 1, (), nothing, announce=nothing)
    assert plan(contraction, named("x86-64-v4")).rows_ahead == ahead


@pytest.mark.parametrize(
    ("columns", "rows", "source"), [(1024, 32, "PACKED"), (1024, 16, "IN_PLACE"), (1040, 32, "IN_PLACE")]
)
def test_a_panel_that_few_sets_of_the_cache_hold_is_packed_sooner(columns: int, rows: int, source: str) -> None:
    def nothing(f: object, given: object, tile: object) -> None:
        """An epilogue that is only planned."""

    contraction = Contraction("c", "float", rows, columns, (KAxis(3136, 1, columns),), 3136, 1, (), nothing)
    assert plan(contraction, named("x86-64-v4")).source.name == source


@pytest.mark.parametrize(
    ("rows", "depth", "stride", "ahead"),
    [(1024, 256, 1024, 16), (1024, 128, 1024, 0), (256, 1024, 256, 16), (128, 4096, 128, 0)],
)
def test_rows_that_are_neighbours_are_asked_for_with_those_above(
    rows: int, depth: int, stride: int, ahead: int
) -> None:
    """If a matrix is too large for the cache, and each k of it has a line far from the others."""

    def nothing(f: object, given: object, tile: object) -> None:
        """An epilogue that is only planned."""

    contraction = Contraction("c", "float", rows, 512, (KAxis(depth, stride, 512),), 1, 1, (), nothing)
    assert plan(contraction, named("x86-64-v4")).a_ahead == ahead
    assert plan(replace(contraction, a_row_stride=depth, k=(KAxis(depth, 1, 512),)), named("x86-64-v4")).a_ahead == 0
