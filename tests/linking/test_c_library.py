"""Models as libraries for C: built and used by the system's C compiler, against the same model in Python."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc
from graphc.c_api.layout import Layout
from graphc.c_api.library import library_text
from graphc.c_api.names import comment, distinct, identifier
from graphc.codegen.llvm import compile_object
from graphc.codegen.target import host
from graphc.compilation import Compilation, Options
from graphc.driver import compile_for_c, read_source
from graphc.frontend.build import elaborate
from graphc.frontend.limits import DEFAULT_LIMITS
from graphc.linking.link import link
from graphc.runtime.cpu import BITS, features, machine
from graphc.runtime.errors import GraphcError, OptionError, WeightsError
from graphc.source import Source

ROOT = Path(__file__).parents[2]
NET = """
## Two inputs "of" different kinds; a comment that ends \\\\
dim B, T, V = 7
model net(words: i32[B, T], x: f64[B, 3]) -> (y: f64[B, 4], x2: f64[B, 3]):
    require T % 2 == 0, "T is even"
    param table: f64[V, 4] = uniform(-1.0, 1.0), w: f64[3, 4] = normal()
    y = mean(table[words], axis=1) + x @ w
    x2 = x * 2.0
train net:
    input target: f64[B, 4]
    hyper lr: f64 = 0.5
    loss = mean((y - target) ** 2)
    optimizer = momentum(lr = lr)
"""
ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="shared objects of ELF")
ALLOWED = {"aligned_alloc", "clock_gettime", "free", "memcmp", "memcpy", "memmove", "memset", "syscall"}
ALLOWED |= {"pthread_create", "pthread_join", "sched_getcpu"}
OK, ERROR_NULL, ERROR_SIZES, ERROR_ARENA, ERROR_INDEX, ERROR_DATA, ERROR_MEMORY, ERROR_THREADS, ERROR_CPU = range(9)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files for C of `NET`."""
    folder = tmp_path_factory.mktemp("net")
    (folder / "net.gc").write_text(NET)
    for name, data in compile_for_c(folder / "net.gc", ("shared", "header", "object", "flat")).items():
        (folder / name).write_bytes(data)
    return folder


class Library:
    """The shared object through ctypes: any array or number is passed as C would."""

    def __init__(self, folder: Path) -> None:
        self._c = ctypes.CDLL(str(folder / "libnet.so"))
        self.context = ctypes.c_void_p()
        assert self.open(ctypes.byref(self.context), None) == OK

    def __getattr__(self, name: str) -> Any:
        function = self._c[f"net_{name}"]
        kinds = {"last_error": ctypes.c_char_p, "tensor": ctypes.c_void_p, "tensor_name": ctypes.c_char_p}
        is_size = name in ("context_bytes", "arena_bytes", "data_bytes", "tensor_bytes")
        function.restype = ctypes.c_int64 if is_size else kinds.get(name, ctypes.c_int)

        def call(*values: Any) -> Any:
            return function(*(self._argument(name, value) for value in values))

        return call

    @staticmethod
    def _argument(name: str, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return ctypes.c_void_p(value.ctypes.data)
        if isinstance(value, int):
            return ctypes.c_int(value) if name.startswith("tensor") else ctypes.c_int64(value)
        return value

    def error(self) -> str:
        return str(self.last_error(self.context).decode())


@pytest.fixture
def net(folder: Path) -> Library:
    library = Library(folder)
    values = np.fromfile(folder / "net.flat", np.uint8)
    assert library.set_arena(library.context, None, library.arena_bytes(8, 4, 1)) == OK
    assert library.load(library.context, values, len(values)) == OK
    return library


def batch(rows: int, steps: int = 4) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(rows)
    words = rng.integers(0, 7, (rows, steps)).astype(np.int32)
    return {"words": words, "x": rng.normal(size=(rows, 3)), "target": rng.normal(size=(rows, 4))}


@ON_LINUX
def test_every_function_does_what_python_does(folder: Path, net: Library, tmp_path: Path) -> None:
    model = graphc.compile(folder / "net.gc")
    model.load_flat(folder / "net.flat")
    loss, y, x2 = np.zeros(1), np.zeros((8, 4)), np.zeros((8, 3))
    for rows in (8, 3, 8, 1):
        data = batch(rows)
        inputs = data["words"], data["x"], data["target"]
        assert net.step(net.context, rows, 4, *inputs, loss) == OK
        assert loss[0] == model.step(data)["loss"]
        assert net.evaluate(net.context, rows, 4, *inputs, loss) == OK
        assert loss[0] == model.evaluate(data)["loss"]
        assert net.forward(net.context, rows, 4, data["words"], data["x"], y, x2) == OK
        expected = model(words=data["words"], x=data["x"])
        assert np.array_equal(y[:rows], expected["y"]) and np.array_equal(x2[:rows], expected["x2"])
        figures, gradients = model.gradients(data)
        table, w = np.zeros((7, 4)), np.zeros((3, 4))
        assert net.gradients(net.context, rows, 4, *inputs, loss, table, w) == OK
        assert loss[0] == figures["loss"]
        assert np.array_equal(table, gradients["table"]) and np.array_equal(w, gradients["w"])
        assert net.apply(net.context, table, w) == OK
        model.apply(gradients)
    values = np.zeros(net.data_bytes(), np.uint8)
    assert net.store(net.context, values, len(values)) == OK
    model.save_flat(tmp_path / "python.flat")
    assert values.tobytes() == (tmp_path / "python.flat").read_bytes()
    values.tofile(tmp_path / "c.flat")
    again = graphc.compile(folder / "net.gc")
    again.load_flat(tmp_path / "c.flat")
    assert again.steps == model.steps == 8
    assert all(np.array_equal(again.params[name], model.params[name]) for name in model.params)


@ON_LINUX
@pytest.mark.skipif(machine() != "x86_64", reason="x86-64 asks by cpuid")
def test_a_cpu_that_lacks_something_is_told_from_one_that_does_not(tmp_path: Path) -> None:
    """A library that says it needs what this CPU lacks, of each register if there is such a feature."""
    source = Source("net.gc", "model net(x: f32[3]) -> (y: f32[3]):\n    y = x + 1.0\n")
    program, _ = elaborate(source, load=read_source, dims={}, model=None, limits=DEFAULT_LIMITS)
    assert program is not None
    compilation = Compilation(program, "", Options(host()))
    lacking = [next((name for name in names if name not in features()), None) for names in BITS.values()]
    for number, missing in enumerate([None, *filter(None, lacking)]):
        target = compilation.signature.target
        if missing is not None:
            target = target._replace(features=(*target.features, missing))
        plan = Layout(replace(compilation.signature, target=target))
        text = library_text(compilation._module(), plan)
        path = tmp_path / f"lib{number}.so"
        path.write_bytes(link(compile_object(text, host())))
        context = ctypes.c_void_p()
        code = ctypes.CDLL(str(path)).net_open(ctypes.byref(context), None)
        assert code == (OK if missing is None else ERROR_CPU), missing
        assert (context.value is None) == (missing is not None)


@ON_LINUX
def test_variables_by_number(folder: Path, net: Library) -> None:
    model = graphc.compile(folder / "net.gc")
    names = [net.tensor_name(i).decode() for i in range(4)]
    assert names[:2] == ["table", "w"] and "lr" in [net.tensor_name(i).decode() for i in range(6) if net.tensor_name(i)]
    assert net.tensor_bytes(0) == 7 * 4 * 8
    at = ctypes.cast(net.tensor(net.context, 1), ctypes.POINTER(ctypes.c_double))
    assert [at[i] for i in range(12)] == model.params["w"].reshape(-1).tolist()
    for number in (-1, 99, 2**31 - 1, -(2**31)):
        assert net.tensor(net.context, number) is None and net.tensor_name(number) is None
        assert net.tensor_bytes(number) == -1


@ON_LINUX
def test_mistakes_have_codes_and_words(net: Library) -> None:
    data = batch(8)
    words, x, target = data["words"], data["x"], data["target"]
    loss = np.zeros(1)
    assert net.error() == ""
    assert net.step(None, 8, 4, words, x, target, loss) == ERROR_NULL
    assert net.step(net.context, 8, 4, words, None, target, loss) == ERROR_NULL and net.error() == "x is NULL"
    for rows, steps, message in ((0, 4, "B must be from 1"), (-5, 4, "B must"), (2**31, 4, "B must"), (8, 0, "T must")):
        assert net.step(net.context, rows, steps, words, x, target, loss) == ERROR_SIZES
        assert net.error().startswith(message)
    assert net.step(net.context, 8, 3, words, x, target, loss) == ERROR_SIZES and net.error() == "T is even"
    assert (
        net.arena_bytes(8, 3, 1)
        == net.arena_bytes(8, 4, 0)
        == net.arena_bytes(8, 4, 65)
        == net.arena_bytes(0, 4, 1)
        == -1
    )
    assert net.arena_bytes(-(2**63), 4, 1) == net.arena_bytes(8, 4, -(2**31)) == -1
    huge = 2**31 - 2
    assert net.arena_bytes(huge, huge, 1) == -1 or net.arena_bytes(huge, huge, 1) > huge
    assert net.step(net.context, huge, huge, words, x, target, loss) in (ERROR_ARENA, ERROR_SIZES)
    for wrong in (7, -1, 2**31 - 1, -(2**31)):
        bad = words.copy()
        bad[5, 2] = wrong
        assert net.step(net.context, 8, 4, bad, x, target, loss) == ERROR_INDEX
        assert net.error() == "words holds an index out of range"
    assert net.step(net.context, 8, 4, words, x, target, loss) == OK


WIDE = """
use std.nn: dense
dim B
model net(x: f32[B, 256]) -> (y: f32[B, 64]):
    param one = dense[O=512], two = dense[O=64]
    y = x |> one |> tanh |> two
train net:
    input target: f32[B, 64]
    loss = mean((y - target) ** 2)
    optimizer = adam(lr = 1e-3)
"""


@ON_LINUX
def test_threads_give_the_same_bits_and_end(tmp_path: Path) -> None:
    (tmp_path / "net.gc").write_text(WIDE)
    for name, data in compile_for_c(tmp_path / "net.gc", ("shared", "flat")).items():
        (tmp_path / name).write_bytes(data)
    rng = np.random.default_rng(0)
    x, target = rng.normal(size=(192, 256)).astype("f4"), rng.normal(size=(192, 64)).astype("f4")
    values = np.fromfile(tmp_path / "net.flat", np.uint8)
    pool = Layout(graphc.compile(tmp_path / "net.gc").signature).pool
    tasks = len(os.listdir("/proc/self/task"))
    results = []
    for counts in ((1, 1, 1, 1), (2, 2, 2, 2), (4, 1, 3, 2)):
        net = Library(tmp_path)
        assert net.load(net.context, values, len(values)) == OK
        assert net.set_arena(net.context, None, net.arena_bytes(192, 4)) == OK
        loss = np.zeros(1, "f4")
        for count in counts:
            assert net.set_threads(net.context, count) == OK
            assert len(os.listdir("/proc/self/task")) == tasks + count - 1
            assert net.context.value is not None
            ctypes.c_int64.from_address(net.context.value + pool + 40).value = 0  # share, however busy the machine is
            for _ in range(3):
                assert net.step(net.context, 192, x, target, loss) == OK
            forks = ctypes.c_int64.from_address(net.context.value + pool + 384).value
            assert count == 1 or forks > 0
        for wrong in (0, -1, 65, 2**31 - 1):
            assert net.set_threads(net.context, wrong) == ERROR_THREADS
        after = np.zeros_like(values)
        assert net.store(net.context, after, len(after)) == OK
        net.close(net.context)
        assert len(os.listdir("/proc/self/task")) == tasks
        results.append(after.tobytes())
    assert results[0] == results[1] == results[2] != values.tobytes()


@ON_LINUX
def test_memory_of_the_caller(folder: Path, net: Library) -> None:
    size = net.context_bytes()
    memory = np.zeros(size + 128, np.uint8)
    start = -memory.ctypes.data % 64
    context = ctypes.c_void_p()
    memory[start + size :] = 0xA5
    at = memory.ctypes.data + start
    assert net.open(ctypes.byref(context), ctypes.c_void_p(at + 8)) == ERROR_MEMORY and context.value is None
    assert net.open(ctypes.byref(context), ctypes.c_void_p(at)) == OK and context.value == at
    values = np.fromfile(folder / "net.flat", np.uint8)
    assert net.load(context, values, len(values)) == OK
    data, loss = batch(8), np.zeros(1)
    arguments = (context, 8, 4, data["words"], data["x"], data["target"], loss)
    assert net.step(*arguments) == ERROR_ARENA
    need = net.arena_bytes(8, 4, 1)
    arena = np.zeros(need + 128, np.uint8)
    first = arena.ctypes.data + -arena.ctypes.data % 64
    assert net.set_arena(context, ctypes.c_void_p(first + 1), need) == ERROR_MEMORY
    assert net.set_arena(context, ctypes.c_void_p(first), -1) == ERROR_MEMORY
    assert net.set_arena(context, ctypes.c_void_p(first), need - 64) == OK
    assert net.step(*arguments) in (OK, ERROR_ARENA)  # some other function may be the one that needs all of it
    assert net.set_arena(context, ctypes.c_void_p(first), need) == OK
    assert net.step(*arguments) == OK
    net.close(context)
    net.close(None)
    assert (memory[start + size :] == 0xA5).all()


@ON_LINUX
def test_damaged_values_are_refused_and_change_nothing(folder: Path, net: Library, tmp_path: Path) -> None:
    good = np.fromfile(folder / "net.flat", np.uint8)
    before = np.zeros_like(good)
    assert net.store(net.context, before, len(before)) == OK
    model = graphc.compile(folder / "net.gc")
    rng = np.random.default_rng(0)
    for place in [*range(72), *rng.integers(64, len(good), 40)]:
        bad = good.copy()
        bad[place] ^= 1 << rng.integers(8)
        assert net.load(net.context, bad, len(bad)) == ERROR_DATA, place
        bad.tofile(tmp_path / "bad.flat")
        with pytest.raises(WeightsError, match=r"bad\.flat: (magic|fingerprint|length|checksum)"):
            model.load_flat(tmp_path / "bad.flat")
    for size in (0, 10, len(good) - 8, len(good) + 8, -1):
        assert net.load(net.context, good, size) == ERROR_DATA
        assert net.store(net.context, before, size) == ERROR_DATA
    after = np.zeros_like(good)
    assert net.store(net.context, after, len(after)) == OK
    assert np.array_equal(before, after)


@pytest.mark.skipif(shutil.which("nm") is None, reason="no nm here")
def test_only_what_libc_has_is_needed(folder: Path) -> None:
    for name, option in (("libnet.so", "-D"), ("net.o", "-g")):
        done = subprocess.run(["nm", option, str(folder / name)], capture_output=True, text=True, check=True)
        needed = {line.split()[-1] for line in done.stdout.splitlines() if line.split()[-2] == "U"}
        defined = {line.split()[-1] for line in done.stdout.splitlines() if line.split()[-2] != "U"}
        assert needed <= ALLOWED
        assert all(symbol.startswith("net_") for symbol in defined)


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here")
@pytest.mark.parametrize("language", ["c", "c++"])
def test_the_header_is_clean_in_c_and_cpp(folder: Path, language: str) -> None:
    standard = {"c": "-std=c99", "c++": "-std=c++11"}[language]
    command = ["cc", "-x", language, standard, "-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only", "net.h"]
    if language == "c++":
        command.append("-Wno-pragma-once-outside-header")
        if subprocess.run(["cc", "-x", "c++", "-fsyntax-only", "/dev/null"], capture_output=True).returncode:
            pytest.skip("no C++ compiler here")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_names_and_comments_stay_within_c() -> None:
    assert [identifier(text) for text in ("a.b", "1x", "", "int", 'x"; }', "größe")] == [
        "a_b", "_1x", "_", "int_", "x____", "gr__e",
    ]  # fmt: skip
    assert distinct(["a.b", "a/b", "a_b"], ["a_b_2"]) == {"a.b": "a_b", "a/b": "a_b_3", "a_b": "a_b_4"}
    assert comment('ends \\\nint x;*/ "\x07"\\ ') == ["// ends", '// int x;*/ "?"']


def test_the_same_model_gives_the_same_files(folder: Path) -> None:
    again = compile_for_c(folder / "net.gc", ("shared", "header", "object", "flat"))
    assert {name: (folder / name).read_bytes() for name in again} == again


def test_what_cannot_be_made_is_refused(folder: Path) -> None:
    with pytest.raises(OptionError, match="no product `exe`"):
        compile_for_c(folder / "net.gc", ("exe",))
    with pytest.raises(GraphcError, match="several targets"):
        compile_for_c(folder / "net.gc", ("shared",), target="x86-64-v3,x86-64-v4")


@ON_LINUX
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here")
@pytest.mark.parametrize("words", [[], ["--static"]])
def test_the_example_trains_from_c_to_the_bits_of_python(words: list[str], tmp_path: Path) -> None:
    """On the 8x8 digits, which lie in the repository."""
    command = [sys.executable, str(ROOT / "examples" / "embed_c" / "embed_c.py"), "nowhere", "--epochs", "5"]
    done = subprocess.run([*command, *words], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "Python trains to the same" in done.stdout
    accuracy = float(done.stdout.split("accuracy ")[1].split()[0])
    assert accuracy > 0.85
