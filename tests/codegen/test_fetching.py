"""Memory of the next turn of a loop: what the product of a step asks for, and that it asks for all of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import graphc
from graphc.codegen import fetching, recurrence
from graphc.codegen.entry import EntryCode
from graphc.codegen.kernel import Buffer, Contract, Fetch, KAxis, Kernel, Store, Temp, Var, affine
from graphc.codegen.llvm import Function, Module, Value, const
from graphc.codegen.loop_code import emit_kernel
from graphc.codegen.objects import compile_object
from graphc.codegen.target import host
from graphc.driver import stage_text
from graphc.ir.types import F32
from graphc.linking.link import link
from graphc.runtime.library import Library

MODEL = """
use std.nn: {cell}_cell
dim B, T, E = 64, H = 64
model seq(x: f32[T, B, E]) -> (z: f32[T, B, H]):
    param unit = {cell}_cell[H=H]
    scan t in T:
        carry h: f32[B, H] = zeros(){more}
        h{c} = unit(x[t], h{c})
        emit z: f32[T, B, H] = h
train seq:
    input y: f32[T, B, H]
    loss = mse(z, y)
    optimizer = sgd(lr = 0.5)
"""
LSTM = MODEL.format(cell="lstm", more=", c: f32[B, H] = zeros()", c=", c")
GRU = MODEL.format(cell="gru", more="", c="")


def loops(text: str, name: str, **dims: int) -> list[tuple[int, dict[str, int]]]:
    """(bytes for a row, what is asked for -> so many of them) of the steps of an entry's loops."""
    model = graphc.compile_source(text, dims=dims)
    code: EntryCode = model.inspection.compilation.entries[name]  # type: ignore[attr-defined]
    found = []
    for loop in (task.loop for task in code.schedule.tasks if task.loop is not None):
        asked: dict[str, int] = {}
        for task in loop.step.tasks:
            for stmt in task.kernel.body:
                for fetch in stmt.fetches if isinstance(stmt, Contract) else ():
                    asked[task.reads[fetch.buffer].name] = fetch.row
        found.append((sum(asked.values()), asked))
    return found


def test_the_product_of_a_step_asks_for_what_the_next_one_reads_and_writes() -> None:
    (forward, asked), (backward, _) = loops(LSTM, "step", B=8)
    # four gates of the inputs, three sigmoids, two of tanh, the new h and c; this turn reads the old ones
    assert forward == (4 + 7) * 64 * 4
    assert asked["leaf x0"] == 4 * 64 * 4
    # three sigmoids, two of tanh, the c that a step found, the cotangent of z, and those of four gates
    assert backward == (7 + 4) * 64 * 4
    assert [total for total, _ in loops(GRU, "forward", B=8)] == [(3 + 1) * 64 * 4]


def test_what_would_not_stay_in_the_cache_is_not_asked_for() -> None:
    (known, _), _ = loops(LSTM, "step", B=2000)
    assert 0 <= known * 2000 <= fetching.LARGEST
    (small, _), _ = loops(LSTM.replace("H = 64", "H = 4"), "step", B=8)
    assert small * fetching.SUMS <= 4 * 16
    assert [total for total, _ in loops(LSTM, "step")] == [0, 0]  # of an unknown batch


@pytest.mark.parametrize("text", [LSTM, GRU], ids=["lstm", "gru"])
def test_the_bits_are_the_same(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    x, y = (random.standard_normal((5, 11, 64)).astype(np.float32) for _ in range(2))
    found = []
    for _ in range(2):
        model = graphc.compile_source(text, dims={"B": 11})
        model.init(seed=1)
        losses = [float(model.step(x=x, y=y)["loss"]) for _ in range(3)]
        found.append((losses, model(x=x)["z"].tobytes()))
        monkeypatch.setattr(recurrence, "ask_for_next", lambda loop: None)
    assert found[0] == found[1]


@pytest.mark.parametrize("outer", [1, 3], ids=["one axis", "a short axis outside"])
@pytest.mark.parametrize("rows", [1, 5, 32])
@pytest.mark.parametrize(
    ("columns", "blocks"), [(512, (2048, 512, 512)), (80, (64,)), (24, (192, 1100)), (7, (4, 640))]
)
def test_all_of_a_row_is_asked_for_once(
    outer: int, rows: int, columns: int, blocks: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With marks in the place of requests: every line of every row, and nothing beyond the last one's end."""

    def mark(f: Function, pointer: Value, write: bool = False, locality: int = 3) -> None:
        count = f.load(pointer, "i8")
        f.store(f.add(count, const("i8", 1)), pointer)

    monkeypatch.setattr(Function, "prefetch", mark)
    depth, row, column, acc = 64, Var("a", rows), Var("y", columns), Temp(F32, "acc")
    a, b = Buffer("x0", F32, (rows, outer * 70)), Buffer("x1", F32, (outer * depth, columns))
    out = Buffer("y0", F32, (rows, columns), "out")
    asked = [Buffer(f"n{i}", F32, (rows, -(-block // 4)), "in") for i, block in enumerate(blocks)]
    store = Store(out, affine(row) * columns + affine(column), acc)
    fetches = tuple(Fetch(buffer, block) for buffer, block in zip(asked, blocks, strict=True))
    axes = KAxis(outer, 70, depth * columns), KAxis(depth, 1, columns)
    sums = Contract(a, b, affine(0), affine(0), row, column, axes, outer * 70, 1, acc, (store,), fetches=fetches)
    buffers = (out, a, b, *asked)
    module = Module(host())
    compiled = emit_kernel(Kernel("k", buffers, (sums,)), module)
    f = Function(module, "run", [("ptr", f"p{i}") for i in range(len(buffers))], "i64", internal=False)
    f.call(compiled.function, "void", *(f[f"p{i}"] for i in range(len(buffers))))
    f.ret(const("i64", 0))
    module.add(f)
    library = Library(link(compile_object(module.text(), host())), ["run"])
    run = library.function("run", len(buffers))
    arrays = [np.zeros(b.shape, np.float32) for b in (out, a, b)]
    marks = [np.zeros(rows * block + 1024, np.int8) for block in blocks]
    run(*(x.ctypes.data for x in (*arrays, *marks)))
    for block, found in zip(blocks, marks, strict=True):
        places = (row * block + line for row in range(rows) for line in range(0, block, 64))
        assert all(found[place] > 0 for place in places)
        assert found.sum() <= rows * (-(-block // 64) + 7)
        assert not found[rows * block + 512 :].any()


def test_the_text_of_a_step_says_what_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "gru.gc"
    file.write_text(GRU)
    text = stage_text(file, "kernels", entry="forward", dims={"B": 8})
    assert "n0 = next leaf x0" in text and "n1 = next output c0" in text
    assert ", asks for 768 bytes of n0, 256 bytes of n1\n" in text
