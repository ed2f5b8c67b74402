"""Hostile but well-formed files: they compile, or a named limit refuses them; never a crash, never long."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from graphc.diagnostics import render_all
from graphc.frontend.build import elaborate
from graphc.frontend.limits import Limits
from graphc.program import Program
from graphc.source import Source

HEAD = "model m(x: f32[3]) -> (y: f32[3]):\n"
DENSE = "use std.nn: dense\n" + HEAD


def compiled(text: str, files: dict[str, str] | None = None, **options: object) -> tuple[Program | None, list[str]]:
    def load(path: str) -> Source:
        if files is None or path not in files:
            raise FileNotFoundError(2, "No such file", path)
        return Source(path, files[path])

    start = time.process_time()
    made, diagnostics = elaborate(Source("m.gc", text), load=load, **options)  # type: ignore[arg-type]
    assert time.process_time() - start < 20.0
    assert len(render_all(diagnostics)) < 200_000
    return made, [one.code for one in diagnostics]


def chain_of_blocks(count: int) -> str:
    blocks = ["block b0(x: f32[3]) -> (y: f32[3]):\n    y = relu(x)\n"]
    blocks += [f"block b{k}(x: f32[3]) -> (y: f32[3]):\n    y = b{k - 1}(x)\n" for k in range(1, count)]
    return "".join(blocks) + HEAD + f"    y = b{count - 1}(x)\n"


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        (HEAD + "    x = x + x\n" * 64 + "    y = x\n", 65),
        (HEAD + "    x = relu(x) + 1.0\n" * 3_000 + "    y = x\n", 6_003),
        (HEAD + "    y = x" + " + x" * 20_000 + "\n", 20_001),
        (HEAD + "    y = x" + " |> relu" * 5_000 + "\n", 5_001),
        (HEAD + "    y = " + "(" * 190 + "x" + " + x)" * 190 + "\n", 191),
        (HEAD + "    y = " + "relu(" * 190 + "x" + ")" * 190 + "\n", 191),
        (DENSE + "    param l[2000] = dense[O=3]\n    for one in l:\n        x = one(x)\n    y = x\n", 8_001),
        ("model m(" + ", ".join(f"x{k}: f32" for k in range(2_000)) + ") -> (y: f32):\n    y = x7\n", 1),
        (chain_of_blocks(30), 2),
    ],
    ids=range(9),
)
def test_large_files_compile(text: str, nodes: int) -> None:
    made, codes = compiled(text)
    assert made is not None, codes[:3]
    assert abs(len(made.entries["forward"].nodes()) - nodes) <= nodes // 100 + 2


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (chain_of_blocks(3_000), "GC0802"),
        (DENSE + "    param l[20001] = dense[O=3]\n    y = x\n", "GC0801"),
        (HEAD + "    y = " + "relu(" * 300 + "x" + ")" * 300 + "\n", "GC0004"),
        (HEAD + "    param w: f32[2000000000, 2000000000] = zeros()\n    y = x\n", "GC0803"),
        (HEAD + "    z = iota(2147483647)[:, None] + iota(2147483646)[None, :]\n    y = x\n", "GC0803"),
        (HEAD + "    z = concat([iota(2147483647), iota(2147483647)], axis=0)\n    y = x\n", "GC0803"),
        (HEAD + "    z = pad(x, [(2147483647, 2147483647)])\n    y = x\n", "GC0803"),
        (HEAD + "    z = one_hot(iota(2147483647), 2147483647)\n    y = x\n", "GC0803"),
        (HEAD + "    z = x[None, None, None, None, None, None, None, None]\n    y = x\n", "GC0803"),
        (
            HEAD + "    z = einsum(x[a] * x[b] * x[c] * x[d] * x[e] * x[f] * x[g] * x[h] * x[i] -> "
            "[a, b, c, d, e, f, g, h, i])\n    y = x\n",
            "GC0803",
        ),
    ],
    ids=range(10),
)
def test_too_large_files_are_refused_by_name(text: str, code: str) -> None:
    made, codes = compiled(text)
    assert made is None
    assert code in codes


def growing(step: str, count: int = 40) -> str:
    """A file of `count` dimensions, each made of the one before it."""
    lines = [f"dim A{k + 1} = " + step.replace("A", f"A{k}") + "\n" for k in range(count)]
    return "dim B\n" + "".join(lines) + "model m(x: f32[B]) -> (y: f32[B]):\n    y = x\n"


@pytest.mark.parametrize(
    "text",
    [
        "dim A0 = 1000000\n" + growing("A * A"),
        "dim A0\n" + growing("A * A"),
        "dim A0\n" + growing("(A + B) * (A + 1)"),
        "dim A0\n" + growing("A // 3 + A // 5"),
        "dim A0\n" + growing("A // 3 * 4 + 1", 1_000),
        "dim B\nmodel m(x: f32[B]) -> (y: f32):\n"
        + "    x = reshape(x[:, None] * x[None, :], [-1])\n" * 40
        + "    y = sum(x)\n",
        "dim B\nmodel m(x: f32[B]) -> (y: f32):\n"
        + "    x = concat([x[::2], x[::3]], axis=0)\n" * 40
        + "    y = sum(x)\n",
    ],
    ids=range(7),
)
def test_dimensions_cannot_outgrow_memory(text: str) -> None:
    assert "GC0803" in compiled(text)[1]


def test_threads_compile_at_once_and_the_recursion_limit_comes_back() -> None:
    before = sys.getrecursionlimit()
    text = DENSE + "    param l[20] = dense[O=3]\n    for one in l:\n        x = one(x)\n    y = x + relv(x)\n"
    right = text.replace("relv", "relu")
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(compiled, [text, right] * 8))
    assert [codes for _, codes in results] == [["GC0101"], []] * 8
    assert len({str(made.entries["forward"]) for made, _ in results if made is not None}) == 1
    assert sys.getrecursionlimit() == before


def test_the_budget_can_be_set() -> None:
    text = HEAD + "    x = x + 1.0\n" * 100 + "    y = x\n"
    assert compiled(text, limits=Limits(nodes=100))[1] == ["GC0801"]


def test_files_that_use_each_other() -> None:
    files = {
        "a.gc": 'use "./b.gc" as b\n',
        "b.gc": 'use "./a.gc" as a\n',
        "c.gc": "block f(x: f32) -> (y: f32):\n    y = x\n",
    }
    assert compiled('use "./a.gc" as a\n', files)[1] == ["GC0106"]
    assert compiled('use "./c.gc" as c\nuse "./c.gc" as d\n' + HEAD + "    y = x * c.f(d.f(1.0))\n", files)[1] == []
    assert compiled('use "./c.gc": f\n' + HEAD + "    y = x * f(2.0)\n", files)[1] == []
    assert compiled('use "./c.gc": g\n' + HEAD + "    y = x\n", files)[1] == ["GC0105"]


def test_an_error_of_a_used_file_is_shown_in_that_file() -> None:
    text = 'use "./c.gc": f\n' + HEAD + "    y = f(x)\n"
    source = Source("sub/m.gc", text)
    found = elaborate(source, load=lambda path: Source(path, "block f(x: f32[3]) -> (y: f32[3]):\n    y = x + z\n"))[1]
    assert [str(one).split(": ")[0] for one in found] == ["sub/c.gc:2:13"]


@pytest.mark.parametrize(
    ("dims", "codes"),
    [
        ({"B": 4}, []),
        ({"C": 3}, []),
        ({"B": 0}, ["GC0304"]),
        ({"B": -1}, ["GC0304"]),
        ({"B": 2**31}, ["GC0803"]),
        ({"B": 10**100}, ["GC0803"]),
        ({"T": 9}, ["GC0304"]),
        ({"C": 4}, ["GC0304"]),
        ({"Z": 4}, ["GC0102"]),
        ({"B": True}, ["GC0304"]),
        ({"B": 1.5}, ["GC0304"]),
        ({"B": "3"}, ["GC0304"]),
    ],
)
def test_pinned_dimensions(dims: dict[str, int], codes: list[str]) -> None:
    text = "dim B, T = 1..8, C = 3\nmodel m(x: f32[B, T, C]) -> (y: f32[B, T, C]):\n    y = x\n"
    assert compiled(text, dims=dims)[1] == codes


@pytest.mark.parametrize("size", [0, 5])
def test_a_size_that_cannot_be_pinned_is_one_error(size: int) -> None:
    text = "dim B, C = 3\nmodel m(x: f32[B, C]) -> (y: f32[B]):\n    param w: f32[C] = zeros()\n    y = x @ w\n"
    assert compiled(text, dims={"C": size})[1] == ["GC0304"]


def test_choosing_a_model() -> None:
    two = HEAD + "    y = x\n" + HEAD.replace("m(", "n(") + "    y = x + x\n"
    made, codes = compiled(two, model="n")
    assert made is not None and made.name == "n" and codes == []
    assert compiled(two)[1] == ["GC0111"]
    assert compiled(two, model="k")[1] == ["GC0101"]
    assert compiled("")[1] == ["GC0111"]
