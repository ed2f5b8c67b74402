"""The cache of compiled models: the same bytes with and without it, and nothing that lies in it can do harm."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import graphc
from graphc import driver
from graphc.cache import Cache, user_cache
from graphc.cache_key import Texts, compiler_identity, key_of, machine_identity
from graphc.frontend.limits import Limits
from graphc.runtime.errors import CompileError, CompileWarning, InputTypeError, NonFiniteError, OptionError

SOURCE = """
dim B
model net(x: f32[B]) -> (y: f32[B]):
    y = log(x)
"""
TRAINED = """
dim B
model net(x: f32[B]) -> (y: f32):
    param w: f32 = ones()
    y = mean(log(x) * w)
train net:
    loss = y
    optimizer = sgd(lr = 0.1)
"""
SHARED = "block twice(x: f32[4]) -> (y: f32[4]):\n    y = x * 2.0\n"
USES = 'use "./shared.gc" as shared\nmodel m(x: f32[4]) -> (y: f32[4]):\n    y = shared.twice(x)\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache's folder, which is not there yet; the cache is on."""
    path = tmp_path / "cache"
    monkeypatch.setenv("GRAPHC_CACHE", "1")
    monkeypatch.setenv("GRAPHC_CACHE_DIR", str(path))
    return path


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by the name of every source that is compiled for its code."""
    from graphc.compilation import Compilation

    names: list[str] = []
    real = Compilation.build.func  # type: ignore[attr-defined]

    def build(self: Compilation) -> object:
        names.append(self.program.name)
        return real(self)

    monkeypatch.setattr(Compilation, "build", property(build))
    return names


def only_entry(folder: Path) -> Path:
    """The only artifact: the parser's tables may lie there too."""
    (entry,) = folder.glob("*.gca")
    return entry


def test_the_same_bytes_without_into_and_out_of_the_cache(
    folder: Path, compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    into = graphc.compile_source(TRAINED).artifact.to_bytes()
    out_of = graphc.compile_source(TRAINED, name="elsewhere.gc", target="native").artifact.to_bytes()
    assert compiled == ["net"]
    monkeypatch.setenv("GRAPHC_CACHE", "0")
    without = graphc.compile_source(TRAINED).artifact.to_bytes()
    assert compiled == ["net", "net"]
    assert into == out_of == without == only_entry(folder).read_bytes()


def test_folder_and_entry_are_for_the_user_alone(folder: Path) -> None:
    graphc.compile_source(SOURCE)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert only_entry(folder).stat().st_mode & 0o777 == 0o600


def test_a_model_out_of_the_cache_shows_its_stages_and_names_what_is_not_finite(folder: Path) -> None:
    fresh = graphc.compile_source(SOURCE)
    kept = graphc.compile_source(SOURCE, check="finite")
    assert kept.text("kernels") == fresh.text("kernels")
    with pytest.raises(NonFiniteError, match="<source>:4"):
        kept(x=np.zeros(2, "f4"))


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "one byte less": lambda data: data[:-1],
    "a byte changed": lambda data: data[:300] + bytes([data[300] ^ 1]) + data[301:],
    "zeros": lambda data: bytes(len(data)),
    "more": lambda data: data + b"x",
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_entry_is_compiled_again_and_replaced(folder: Path, compiled: list[str], kind: str) -> None:
    graphc.compile_source(SOURCE)
    entry = only_entry(folder)
    good = entry.read_bytes()
    entry.write_bytes(DAMAGE[kind](good))
    graphc.compile_source(SOURCE)
    assert compiled == ["net", "net"]
    assert entry.read_bytes() == good


def test_an_entry_of_another_source_is_not_used(folder: Path, compiled: list[str]) -> None:
    graphc.compile_source(SOURCE)
    entry = only_entry(folder)
    graphc.compile_source(SOURCE.replace("log", "sin"))
    (other,) = (path for path in folder.glob("*.gca") if path != entry)
    entry.write_bytes(other.read_bytes())
    assert graphc.compile_source(SOURCE)(x=np.ones(2, "f4"))["y"][0] == 0.0
    assert len(compiled) == 3


@pytest.mark.parametrize("kind", ["link", "folder", "pipe", "written by others"])
def test_what_is_no_file_of_the_user_is_not_read(folder: Path, tmp_path: Path, compiled: list[str], kind: str) -> None:
    graphc.compile_source(SOURCE)
    entry = only_entry(folder)
    elsewhere = tmp_path / "elsewhere"
    entry.rename(elsewhere)
    if kind == "link":
        entry.symlink_to(elsewhere)
    elif kind == "folder":
        entry.mkdir()
    elif kind == "pipe":
        os.mkfifo(entry, 0o600)
    else:
        elsewhere.rename(entry)
        entry.chmod(0o622)
    graphc.compile_source(SOURCE)
    assert compiled == ["net", "net"]


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
def test_a_folder_that_others_may_write_to_is_refused(folder: Path, compiled: list[str], mode: int) -> None:
    graphc.compile_source(SOURCE)
    folder.chmod(mode)
    with pytest.warns(RuntimeWarning, match=r"cache is not used as a cache: .* nobody else may write"):
        graphc.compile_source(SOURCE)
    assert compiled == ["net", "net"]


def test_a_folder_of_somebody_else_is_refused(
    folder: Path, compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    graphc.compile_source(SOURCE)
    owner = folder.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.warns(RuntimeWarning, match="it must be yours"):
        graphc.compile_source(SOURCE)
    assert compiled == ["net", "net"]


def test_a_cache_that_cannot_be_written_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiled: list[str]
) -> None:
    """A file where the folder should be, and a folder that cannot be made: so it is for root too."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GRAPHC_CACHE", "1")
    for place in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/none")):
        monkeypatch.setenv("GRAPHC_CACHE_DIR", str(place))
        graphc.compile_source(SOURCE)
    assert compiled == ["net"] * 3


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_read_only_is_read(folder: Path, compiled: list[str]) -> None:
    graphc.compile_source(SOURCE)
    folder.chmod(0o500)
    graphc.compile_source(SOURCE)
    graphc.compile_source(SOURCE.replace("log", "cos"))
    folder.chmod(0o700)
    assert len(compiled) == 2 and len(list(folder.glob("*.gca"))) == 1


def test_a_disk_that_is_full_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **named: object) -> None:
        raise OSError(28, "No space left on device")

    cache = Cache(tmp_path)
    monkeypatch.setattr(os, "rename", full)
    cache.write("key", b"data")
    assert list(tmp_path.iterdir()) == [] and cache.read("key") is None


def test_the_entries_used_last_stay(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit=300)
    for age, name in enumerate(("a", "b", "c")):
        cache.write(name, bytes(100))
        past = time.time_ns() - (100 - age) * 10**9
        os.utime(tmp_path / name, ns=(past, past))
    assert cache.read("a") == bytes(100)  # and so it is the youngest
    cache.write("d", bytes(150))
    assert [name for name in "abcd" if cache.read(name) is not None] == ["a", "d"]
    cache.write("e", bytes(301))
    assert cache.read("e") is None and cache.read("d") is not None


def test_the_tables_of_the_parser_are_kept_and_made_again_if_they_are_damaged(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the kept tables the same files parse to the same trees, and mistakes to the same messages."""
    from graphc.frontend import parser

    def shown() -> list[object]:
        parser._build.cache_clear()
        tree, _ = parser.parse(driver.Source("a.gc", TRAINED))
        wrong = parser.parse(driver.Source("b.gc", "model m(x: f32) -> (y: f32):\n    y = (x +\nblock\n"))[1]
        return [repr(tree), *(str(one) for one in wrong)]

    monkeypatch.setenv("GRAPHC_CACHE", "0")
    expected = shown()
    monkeypatch.setenv("GRAPHC_CACHE", "1")
    assert shown() == expected
    (entry,) = folder.iterdir()
    whole = entry.read_bytes()

    def only_restored() -> list[object]:
        with monkeypatch.context() as patch:
            patch.setattr("graphc.frontend.tables._computed", None)
            return shown()

    assert only_restored() == expected
    for damaged in (b"", whole[:5000], whole[:-1] + b" ", bytes(len(whole))):
        entry.write_bytes(damaged)
        assert shown() == only_restored() == expected
    parser._build.cache_clear()


def test_what_all_artifacts_share_is_kept_and_made_again_if_it_is_damaged(folder: Path) -> None:
    from graphc.support import support_object

    support_object.cache_clear()
    expected = graphc.compile_source(SOURCE).artifact.to_bytes()
    (entry,) = folder.glob("*.o")
    whole = entry.read_bytes()
    for content in (whole, b"", whole[:-1], bytes(len(whole))):
        entry.write_bytes(content)
        only_entry(folder).unlink()
        support_object.cache_clear()
        assert graphc.compile_source(SOURCE).artifact.to_bytes() == expected
        assert entry.read_bytes() == whole
    support_object.cache_clear()


def test_what_a_killed_writer_left_is_swept_away(tmp_path: Path) -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    left = tmp_path / f".graphc-{gone.stdout.strip()}-00.tmp"
    left.write_bytes(b"half")
    Cache(tmp_path).write("key", b"data")
    assert not left.exists()


def test_many_writers_and_readers_of_one_key_see_whole_entries(tmp_path: Path) -> None:
    """Threads here, processes below: each entry that is read is one that somebody wrote."""
    cache = Cache(tmp_path)
    contents = [bytes([number]) * 100_000 for number in range(4)]
    seen: list[bytes | None] = []

    def work(number: int) -> None:
        for _ in range(40):
            cache.write("key", contents[number])
            seen.append(cache.read("key"))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(seen) == 160 and all(data in contents for data in seen)
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_processes_that_compile_the_same_at_once(folder: Path) -> None:
    script = f"import hashlib, graphc\nmodel = graphc.compile_source({SOURCE!r})\n"
    script += "print(hashlib.sha256(model.artifact.to_bytes()).hexdigest())"
    running = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) for _ in range(3)]
    assert len({one.communicate(timeout=300)[0] for one in running}) == 1
    assert all(one.returncode == 0 for one in running)
    assert len(only_entry(folder).name) == 64 + len(".gca")


def test_a_hit_loads_neither_llvm_nor_the_compiler(folder: Path) -> None:
    script = f"import sys, graphc\ngraphc.compile_source({SOURCE!r})\nprint(*sorted(sys.modules))"
    for expected in (True, False):
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        loaded = done.stdout.split()
        assert ("llvmlite" in loaded, "lark" in loaded, "graphc.frontend.parser" in loaded) == (expected,) * 3
    ours = {name for name in loaded if name.startswith("graphc.") and not name.startswith("graphc.runtime")}
    front = {"graphc.frontend", "graphc.frontend.encoding", "graphc.frontend.limits"}
    assert (
        ours
        == {
            "graphc.cache",
            "graphc.cache_key",
            "graphc.collector",
            "graphc.diagnostics",
            "graphc.driver",
            "graphc.source",
        }
        | front
    )


def test_a_used_file_is_part_of_the_key(folder: Path, tmp_path: Path, compiled: list[str]) -> None:
    (tmp_path / "m.gc").write_text(USES)
    results = []
    for factor in ("2.0", "3.0", "2.0"):
        (tmp_path / "shared.gc").write_text(SHARED.replace("2.0", factor))
        results.append(float(graphc.compile(tmp_path / "m.gc")(x=np.ones(4, "f4"))["y"][0]))
    assert results == [2.0, 3.0, 2.0] and compiled == ["m", "m"]


def test_a_used_file_that_was_not_foreseen_keeps_the_model_out_of_the_cache(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import re

    monkeypatch.setattr("graphc.cache_key._USE", re.compile("never"))
    (tmp_path / "m.gc").write_text(USES)
    (tmp_path / "shared.gc").write_text(SHARED)
    assert graphc.compile(tmp_path / "m.gc")(x=np.ones(4, "f4"))["y"][0] == 2.0
    assert not list(folder.glob("*.gca"))


def test_stages_of_a_model_are_those_of_the_text_that_was_compiled(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "m.gc").write_text(USES)
    (tmp_path / "shared.gc").write_text(SHARED)
    graphc.compile(tmp_path / "m.gc")
    model = graphc.compile(tmp_path / "m.gc")
    (tmp_path / "shared.gc").unlink()
    assert "mul" in model.text("graph")


def test_mistakes_are_reported_and_not_kept(folder: Path) -> None:
    for _ in range(2):
        with pytest.raises(CompileError, match="sofmax"):
            graphc.compile_source(SOURCE.replace("log", "sofmax"))
    with pytest.raises(OptionError, match="no pass"):
        graphc.compile_source(SOURCE, passes=["nothing"])
    with pytest.raises(OptionError, match="dims must map"):
        graphc.compile_source(SOURCE, dims=3)
    with pytest.raises(OptionError, match="threads"):
        graphc.compile_source(SOURCE, threads=0)
    assert not list(folder.glob("*.gca"))


def key(**options: object) -> str | None:
    return key_of(Texts(driver.Source("a.gc", SOURCE), driver.read_source), options)


def test_options_that_change_the_code_change_the_key() -> None:
    different = [
        {}, {"dims": {"B": 3}}, {"dims": {"B": 4}}, {"optimize": 0}, {"optimize": False}, {"passes": ["fuse"]},
        {"passes": []}, {"target": "x86-64-v3"}, {"model": "net"}, {"limits": Limits(rank=4)},
    ]  # fmt: skip
    keys = [key(**options) for options in different]
    assert None not in keys and len({*keys}) == len(different)
    assert {key(dims={}), key(dims=None), key(model=None), key(target="native"), key(target="host")} == {key()}
    assert key(dims={"B": 1, "C": 2}) == key(dims={"C": 2, "B": 1})
    assert key(dims={"B": np.int64(3)}) is None and key(dims=np.zeros(3)) is None and key(passes=iter(["a"])) is None


def test_a_model_that_is_warned_of_is_warned_of_each_time(folder: Path, compiled: list[str]) -> None:
    text = (
        "dim B\nmodel m(x: f32[B, 2]) -> (p: f32[B, 3]):\n    param w: f32[2, 3] = zeros()\n    p = softmax(x @ w)\n"
        "train m:\n    input t: i32[B]\n    loss = cross_entropy(p, t)\n    optimizer = sgd(lr=0.1)\n"
    )
    for _ in range(2):
        with pytest.warns(CompileWarning, match="GC0607.*takes logits") as found:
            graphc.compile_source(text)
        assert found[0].filename == __file__
    assert len(compiled) == 2


def test_a_text_is_no_path() -> None:
    with pytest.raises(InputTypeError, match="that is for `compile_source`"):
        graphc.compile(SOURCE)


def test_sizes_may_be_numpys_integers() -> None:
    text = "dim B, D = 4\nmodel line(x: f32[B, D]) -> (y: f32[B, D]):\n    y = x + 1.0\n"
    x = np.zeros((3, 4), np.float32)
    model = graphc.compile_source(text, dims={"B": np.int64(len(x)), "D": np.uint8(x.shape[1])})
    assert model.signature.dims == () and model(x=x)["y"].shape == (3, 4)


def test_compiler_and_machine_are_parts_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key()
    monkeypatch.setattr("graphc.cache_key.compiler_identity", lambda: "another")
    other = key()
    monkeypatch.setattr("graphc.cache_key.machine_identity", lambda: "another")
    assert len({before, other, key()}) == 3
    monkeypatch.setattr("graphc.cache_key.compiler_identity", lambda: None)
    assert key() is None


def test_a_change_of_the_compiler_changes_its_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for text in ("one", "two", "one"):
        (tmp_path / "pass.py").write_text(text)
        (tmp_path / "notes.txt").write_text("no part of the compiler " + str(len(found)))
        monkeypatch.setattr("graphc.cache_key.__file__", str(tmp_path / "cache_key.py"))
        compiler_identity.cache_clear()
        found.append(compiler_identity())
    compiler_identity.cache_clear()
    assert found[0] == found[2] != found[1]


def test_the_machine_says_the_same_on_every_core() -> None:
    script = "import os, sys\nos.sched_setaffinity(0, {int(sys.argv[1])})\n"
    script += "from graphc.cache_key import machine_identity\nprint(machine_identity())"
    for core in sorted(os.sched_getaffinity(0))[:4]:
        done = subprocess.run([sys.executable, "-c", script, str(core)], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == machine_identity()


def test_the_switch_and_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for switch, is_on in (("0", False), ("1", True), ("", True)):
        monkeypatch.setenv("GRAPHC_CACHE", switch)
        assert (user_cache() is not None) == is_on
    monkeypatch.setenv("GRAPHC_CACHE", "yes")
    with pytest.raises(OptionError, match="GRAPHC_CACHE must be 0"):
        user_cache()
    monkeypatch.delenv("GRAPHC_CACHE")
    monkeypatch.delenv("GRAPHC_CACHE_DIR", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert (cache := user_cache()) is not None and cache.folder == tmp_path / "graphc"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/someone")
    assert (cache := user_cache()) is not None and cache.folder == Path("/home/someone/.cache/graphc")


def test_commands_use_the_cache(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from graphc.cli import main

    file = tmp_path / "net.gc"
    file.write_text(SOURCE)
    assert main(["compile", str(file), "-o", str(tmp_path / "net.gca")]) == 0
    assert only_entry(folder).read_bytes() == (tmp_path / "net.gca").read_bytes()
    np.save(tmp_path / "x.npy", np.ones(2, "f4"))
    assert main(["run", str(file), "--input", f"x={tmp_path / 'x.npy'}"]) == 0
    assert "y: float32[2]" in capsys.readouterr().out
    assert only_entry(folder)
