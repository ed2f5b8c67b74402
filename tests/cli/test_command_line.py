"""The command line as a stranger meets it: help, wrong words, exit statuses, pipes."""

from __future__ import annotations

import csv
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import graphc
from graphc import cli
from graphc.runtime.cpu import features
from graphc.runtime.errors import InternalError

COMMANDS = ("compile", "check", "train", "run", "show", "explain", "bench")

MODEL = """\
dim B, D = 4
model scale(x: f32[B, D]) -> (y: f32[B, D]):
    param w: f32[D] = ones()
    y = x * w
train scale:
    input t: f32[B, D]
    hyper lr: f32 = 0.1
    loss = mean((y - t) ** 2.0)
    optimizer = sgd(lr = lr)
"""
WRONG = """\
dim B, D = 4
model scale(x: f32[B, D]) -> (y: f32[B, D]):
    param w: f32[D] = ones()
    y = x * v
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own to stand in, with a good and a wrong model file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    (tmp_path / "scale.gc").write_text(MODEL)
    (tmp_path / "wrong.gc").write_text(WRONG)
    return tmp_path


def ended(words: list[str]) -> int:
    """The status of a command that argparse may end."""
    try:
        return cli.main(words)
    except SystemExit as stop:
        assert isinstance(stop.code, int)
        return stop.code


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert "example" in text
    assert f"graphc {command} " in text.partition("example")[2]


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"    {command} " in text for command in COMMANDS)


def test_no_words_is_a_request_for_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended([]) == 0
    assert "usage: graphc" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    import graphc

    assert ended(["--version"]) == 0
    assert capsys.readouterr().out == f"graphc {graphc.__version__}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["frobnicate"], "invalid choice: 'frobnicate'"),
        (["compile"], "FILE.gc"),
        (["compile", "scale.gc", "--dim", "B"], "`B` is not NAME=SIZE, such as B=32"),
        (["compile", "scale.gc", "--dim", "B=-1"], "`B=-1` is not NAME=SIZE"),
        (["compile", "scale.gc", "-O", "7"], "invalid choice: 7"),
        (["compile", "missing.gc"], "missing.gc: No such file or directory"),
        (["compile", "."], "."),
        (["train", "scale.gc", "--input", "x"], "`x` is not NAME=FILE"),
        (["train", "scale.gc", "--input", "x=missing.npy"], "missing.npy"),
        (["train", "scale.gc", "--set", "lr"], "`lr` is not NAME=NUMBER"),
        (["run", "missing.gca"], "missing.gca"),
        (["show", "scale.gc", "--stage", "llvm", "--format", "svg"], "`llvm` is text only"),
        (["explain", "GC9999"], "GC9999"),
        (["bench", "scale.gc", "--batch", "0"], "--batch must be from 1 to 2147483647"),
        (["bench", "scale.gc", "--batch", str(1 << 60)], "--batch must be from 1 to 2147483647"),
    ],
)
def test_mistakes_end_with_1_and_words(
    here: Path, words: list[str], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert ended(words) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines()[-1 - err.count("says how it is used")].startswith("error: ")
    assert said in err
    assert "Traceback" not in err


def test_a_wrong_file_is_reported_with_its_place(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["check", "wrong.gc"], ["compile", "wrong.gc"], ["show", "wrong.gc"]):
        assert ended(words) == 1
        err = capsys.readouterr().err
        assert err.startswith("error[GC")
        assert "wrong.gc:4:13" in err


def test_errors_as_json(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(["check", "scale.gc", "wrong.gc", "--error-format", "json"]) == 1
    lines = capsys.readouterr().out.splitlines()
    fields = json.loads(lines[0])
    assert len(lines) == 1
    assert list(fields) == [
        "code",
        "severity",
        "message",
        "file",
        "line",
        "column",
        "end_line",
        "end_column",
        "labels",
        "help",
    ]
    assert (fields["file"], fields["line"], fields["column"]) == ("wrong.gc", 4, 13)


def test_errors_without_a_place_as_json(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(["check", "missing.gc", "--error-format", "json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["message"].startswith("missing.gc: ")
    assert err == ""


def test_explain(capsys: pytest.CaptureFixture[str]) -> None:
    from graphc.frontend.codes import CODES

    assert ended(["explain"]) == 0
    listed = capsys.readouterr().out
    assert all(f"  {code}  {entry.title}\n" in listed for code, entry in CODES.items())
    assert ended(["explain", "gc0201"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"GC0201: {CODES['GC0201'].title}\n")
    assert text.index("Wrong:") < text.index("Right:")


def test_compile_writes_an_artifact_for_any_target(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(["compile", "scale.gc"]) == 0
    assert capsys.readouterr().err.startswith("wrote scale.gca (")
    assert ended(["compile", "scale.gc", "-o", "other.gca", "--target", "aarch64"]) == 0
    assert ended(["compile", "scale.gc", "--emit", "object"]) == 0
    assert (here / "scale.o").read_bytes().startswith(b"\x7fELF")
    assert ended(["compile", "scale.gc", "--emit", "header", "-o", "other.h"]) == 0
    assert ended(["compile", "scale.gc", "--emit", "shared,header", "-o", "for_c"]) == 0
    assert sorted(one.name for one in (here / "for_c").iterdir()) == ["libscale.so", "scale.h"]
    assert (here / "other.h").read_bytes() == (here / "for_c" / "scale.h").read_bytes()
    assert ended(["compile", "scale.gc", "--emit", "shared,header", "-o", "none/deeper"]) == 1
    assert ended(["compile", "scale.gc", "--emit", "shared,llvm"]) == 1
    capsys.readouterr()
    assert ended(["run", "other.gca", "--input", "x=x.npy"]) == (1 if platform.machine() == "x86_64" else 0)
    assert "aarch64" in capsys.readouterr().err
    assert ended(["compile", "scale.gc", "-o", "two.gca", "--target", "aarch64,generic,x86-64-v3"]) == 0
    if platform.machine() == "x86_64":
        assert graphc.load("two.gca").signature.target.name == ("x86-64-v3" if "avx2" in features() else "generic")
    assert ended(["compile", "scale.gc", "-o", "two.gca", "--target", "generic,x86-64-v9"]) == 1
    assert "there is no target `x86-64-v9`" in capsys.readouterr().err
    assert ended(["compile", "scale.gc", "-o", "nowhere/scale.gca"]) == 1
    assert "there is no folder nowhere" in capsys.readouterr().err


def test_the_same_file_gives_the_same_artifact(here: Path) -> None:
    for name in ("a.gca", "b.gca"):
        environment = {**os.environ, "PYTHONHASHSEED": "random"}
        process = graphc_process(["compile", "scale.gc", "-o", name], stderr=subprocess.PIPE, env=environment)
        process.communicate(timeout=300)
        assert process.returncode == 0
    assert (here / "a.gca").read_bytes() == (here / "b.gca").read_bytes()


def test_train_run_and_resume(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    x = random.standard_normal((64, 4)).astype(np.float32)
    w = np.array([1.0, -2.0, 0.5, 3.0], np.float32)
    np.savez("data.npz", x=x, t=x * w)
    words = ["train", "scale.gc", "--input", "x=data.npz:x", "--input", "t=data.npz:t", "--batch", "8"]
    assert ended([*words, "--epochs", "40", "--out", "whole", "--validation", "0.25", "--set", "lr=0.2"]) == 0
    assert {"scale.gca", "weights.safetensors", "metrics.csv", "graph.svg", "checkpoint"} <= set(os.listdir("whole"))
    assert ended([*words, "--epochs", "15", "--out", "parts", "--validation", "0.25", "--set", "lr=0.2"]) == 0
    assert ended([*words, "--epochs", "40", "--resume", "parts", "--validation", "0.25"]) == 0
    for name in ("scale.gca", "weights.safetensors"):
        assert Path("whole", name).read_bytes() == Path("parts", name).read_bytes(), (
            "resumed is as if never interrupted"
        )
    with open("parts/metrics.csv", newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == [str(epoch) for epoch in range(1, 41)]
    capsys.readouterr()
    np.save("ones.npy", np.ones((1, 4), np.float32))
    run = ["run", "whole/scale.gca", "--weights", "whole/weights.safetensors", "--input", "x=ones.npy"]
    assert ended([*run, "--out", "y.npz"]) == 0
    with np.load("y.npz") as outputs:
        np.testing.assert_allclose(outputs["y"], [w], atol=1e-2)
    assert ended(run) == 0
    assert capsys.readouterr().out.startswith("y: float32[1, 4]\n[[")


def test_a_run_says_what_is_safe(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`resume`, `saved` and `final` on standard output; a run that was killed early starts at the start."""
    np.savez("data.npz", x=np.ones((40, 4), np.float32))
    words = ["train", "scale.gc", "--input", "x=data.npz:x", "--input", "t=data.npz:x", "--batch", "8"]
    words += ["--checkpoint-every", "3"]
    assert ended([*words, "--epochs", "2", "--out", "whole"]) == 0
    whole = capsys.readouterr().out.splitlines()
    assert whole[:-1] == ["saved 3", "saved 6", "saved 9", "saved 10"]
    assert ended([*words, "--epochs", "1", "--out", "run", "--resume", "run"]) == 0
    assert capsys.readouterr().out.splitlines()[:-1] == ["resume 0", "saved 3", "saved 5"]
    os.remove("run/checkpoint/checkpoint-000002.safetensors")  # back into the first epoch
    (here / "run/metrics.csv").write_text("epoch,loss,seconds\n1,9.0,1.0\n2,8.0,1.")  # more than is known, cut short
    assert ended([*words, "--epochs", "2", "--out", "run", "--resume", "run"]) == 0
    assert capsys.readouterr().out.splitlines() == ["resume 3", "saved 6", "saved 9", "saved 10", whole[-1]]
    assert [line.partition(",")[0] for line in (here / "run/metrics.csv").read_text().split()] == ["epoch", "1", "2"]
    assert ended([*words, "--epochs", "2", "--out", "run", "--resume", "run"]) == 0
    assert capsys.readouterr().out.splitlines() == ["resume 10", whole[-1]]
    assert ended([*words, "--epochs", "2", "--out", "run", "--resume", "elsewhere"]) == 1
    assert "no checkpoint there" in capsys.readouterr().err
    (here / "scale.gc").write_text(MODEL + "# changed\n")
    assert ended([*words, "--epochs", "3", "--resume", "run"]) == 1
    assert "its model file had another text" in capsys.readouterr().err
    assert ended([*words, "--epochs", "3", "--resume", "run", "--other-source"]) == 0


def test_an_artifact_is_compiled_already(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save("x.npy", np.ones((3, 4), np.float32))
    assert cli.main(["compile", "scale.gc"]) == 0
    for options in (["--dim", "B=3"], ["--target", "x86-64-v3"], ["-O", "0"], ["--model", "scale"], ["--threads", "0"]):
        assert cli.main(["run", "scale.gca", "--input", "x=x.npy", *options]) == 1
        assert options[0].strip("-") in capsys.readouterr().err


def test_a_run_folder_that_cannot_be_made_is_refused_before_training(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save("x.npy", np.ones((3, 4), np.float32))
    (here / "file").write_text("")
    words = ["train", "scale.gc", "--input", "x=x.npy", "--input", "t=x.npy", "--out", "file/run", "--epochs", "1"]
    assert cli.main(words) == 1
    said = capsys.readouterr().err
    assert "file/run" in said
    assert "loss" not in said


def test_resuming_with_another_seed_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("data.npz", x=np.ones((8, 4), np.float32))
    words = ["train", "scale.gc", "--input", "x=data.npz:x", "--input", "t=data.npz:x", "--epochs", "1", "--out", "r"]
    assert ended(words) == 0
    assert ended([*words, "--resume", "r", "--seed", "7"]) == 1
    assert "seed 7" in capsys.readouterr().err


STAGES = ("ast", "graph", "backward", "optimised", "kernels", "llvm", "asm", "memory", "fusion")


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_is_shown(here: Path, stage: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(["show", "scale.gc", "--stage", stage]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) > 1
    assert err == ""


@pytest.mark.parametrize("stage", ("graph", "backward", "optimised"))
def test_stages_are_drawn(here: Path, stage: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(["show", "scale.gc", "--stage", stage, "--format", "dot"]) == 0
    assert capsys.readouterr().out.startswith("digraph ")
    assert ended(["show", "scale.gc", "--stage", stage, "--format", "svg", "-o", "g.svg"]) == 0
    assert (here / "g.svg").read_bytes().startswith(b"<svg")


def test_bench_times_every_entry(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(["bench", "scale.gc", "--batch", "3", "--seconds", "0.01"]) == 0
    out = capsys.readouterr().out
    entries, kernels = (table.splitlines() for table in out.split("\n\n"))
    assert [line.split()[0] for line in entries] == ["entry", "forward", "step", "evaluate", "gradients"]
    assert kernels[0].split() == ["kernel", "us", "share", "GFLOP/s", "GB/s", "roofline", "what"] and len(kernels) > 1
    assert ended(["compile", "scale.gc"]) == 0
    assert ended(["bench", "scale.gca", "--batch", "3", "--seconds", "0.01"]) == 0
    assert "kernel" not in capsys.readouterr().out


@pytest.mark.parametrize(("more", "rows"), [(["--batch", "3"], 3), (["--dim", "B=5"], 5)])
def test_bench_says_the_batch_it_has_timed(
    here: Path, more: list[str], rows: int, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", "scale.gc", "--seconds", "0.01", *more]
    assert ended(words) == 0
    out, err = capsys.readouterr()
    assert f"; batch {rows}\n" in err
    for line in out.partition("\n\n")[0].splitlines()[1:]:
        calls, examples = (int(word.replace(",", "")) for word in line.split()[-2:])
        assert examples == pytest.approx(rows * calls, rel=1e-3, abs=rows)
    assert ended([*words, "--kernels", "forward"]) == 0
    assert f" us; batch {rows}, one thread\n" in capsys.readouterr().err


def test_bench_names_no_batch_where_the_inputs_differ_in_it(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "dim M = 2, K = 3\nmodel product(a: f32[M, K], b: f32[K]) -> (y: f32[M]):\n    y = a @ b\n"
    (here / "product.gc").write_text(text)
    assert ended(["bench", "product.gc", "--seconds", "0.01"]) == 0
    out, err = capsys.readouterr()
    assert "batch" not in err and "examples" not in out
    assert ended(["bench", "product.gc", "--seconds", "0.01", "--kernels", "forward"]) == 0
    assert "forward: 1 kernel, " in capsys.readouterr().err


def test_one_of_a_kind_is_not_said_in_the_plural(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for stage in ("kernels", "fusion", "memory"):
        assert ended(["show", "scale.gc", "--stage", stage]) == 0
    model = graphc.compile("scale.gc")
    x = np.ones((8, 4), np.float32)
    shown = [capsys.readouterr().out, repr(model), repr(model.fit({"x": x, "t": x}, progress=False))]
    for text in shown:
        assert not re.search(r"\b1 (?:fused )?(kernel|slot|step|tensor|epoch)s\b", text), text
    assert "1 tensor" in shown[1] and "1 epoch " in shown[2]


def test_bench_times_the_kernels_of_an_entry(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(["bench", "scale.gc", "--batch", "3", "--seconds", "0.01", "--kernels", "step"]) == 0
    said = capsys.readouterr()
    head, *rows = said.out.splitlines()
    assert head.split() == ["kernel", "us", "share", "GFLOP/s", "GB/s", "roofline", "what"]
    assert f"step: {len(rows)} kernels" in said.err
    times = [float(row.split()[1].replace(",", "")) for row in rows]
    assert times == sorted(times, reverse=True)
    assert sum(float(row.split()[2].rstrip("%")) for row in rows) == pytest.approx(100, abs=0.1 * len(rows))
    assert ended(["bench", "scale.gc", "--kernels", "backwards"]) == 1
    assert "no entry `backwards` to time; it has forward, step" in capsys.readouterr().err
    assert ended(["bench", "scale.gca", "--kernels", "step"]) == 1


PROBABILITIES = (
    MODEL.replace("y = x * w", "y = softmax(x * w)")
    .replace("input t: f32[B, D]", "input t: i32[B]")
    .replace("mean((y - t) ** 2.0)", "cross_entropy(y, t)")
)


@pytest.mark.parametrize("words", [["compile", "warned.gc"], ["bench", "warned.gc", "--seconds", "0.01"]])
def test_warnings_are_shown_like_errors(here: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    (here / "warned.gc").write_text(PROBABILITIES)
    for _ in range(2):
        assert ended(words) == 0
        err = capsys.readouterr().err
        assert err.startswith("warning[GC0607]: `cross_entropy` takes logits") and "--> warned.gc:8:" in err
        assert "Warning" not in err and err.count("GC0607") == 1
    assert ended(["check", "warned.gc"]) == 0
    assert capsys.readouterr().err.endswith("\n1 file checked, no errors, 1 warning\n")


def test_a_good_file_checks(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(["check", "scale.gc"]) == 0
    assert capsys.readouterr().err == "1 file checked, no errors\n"


@pytest.mark.parametrize("bug", [InternalError("pass `fold` broke the graph"), ZeroDivisionError("division by zero")])
def test_a_bug_ends_with_70_and_a_command(
    here: Path, bug: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> list[object]:
        raise bug

    monkeypatch.setattr("graphc.driver.check", broken)
    assert ended(["check", "scale.gc"]) == 70
    err = capsys.readouterr().err
    assert str(bug) in err
    assert "This is a bug of graphc" in err
    assert "GRAPHC_TRACEBACK=1 graphc check scale.gc" in err
    assert "Traceback" not in err


def test_too_little_memory_is_no_bug(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def large(*_: object) -> list[object]:
        raise MemoryError

    monkeypatch.setattr("graphc.driver.check", large)
    assert ended(["check", "scale.gc"]) == 1
    assert capsys.readouterr().err == "error: the system has no more memory\n"


def test_interrupt_ends_with_130(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> list[object]:
        raise KeyboardInterrupt

    monkeypatch.setattr("graphc.driver.check", interrupted)
    assert ended(["check", "scale.gc"]) == 130
    assert capsys.readouterr().err == "error: interrupted\n"


def graphc_process(words: list[str], **options: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "graphc", *words], **options)  # type: ignore[call-overload,no-any-return]


def test_a_closed_pipe_is_no_error(here: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = graphc_process(["show", "scale.gc", "--stage", "llvm"], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    _, err = process.communicate(timeout=300)
    assert err == b""
    assert process.returncode == 141


def test_streams_may_be_closed(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`graphc ... >&- 2>&-`"""
    for words, status in (["explain"], 0), (["show", "scale.gc"], 0), (["check", "wrong.gc"], 1), (["frobnicate"], 1):
        for name in ("stdout", "stderr"):
            monkeypatch.setattr(sys, name, None)
        assert ended(words) == status
        for stream in (sys.stdout, sys.stderr):
            stream.close()


def test_training_goes_into_a_closed_pipe(here: Path) -> None:
    """`graphc train ... | head -1`: it ends, and goes on from what it said was saved."""
    np.savez("data.npz", x=np.ones((64, 4), np.float32))
    words = ["train", "scale.gc", "--input", "x=data.npz:x", "--input", "t=data.npz:x", "--batch", "8", "--out", "run"]
    words += ["--checkpoint-every", "2", "--resume", "run"]
    process = graphc_process([*words, "--epochs", "1000000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == [b"resume 0\n", b"saved 2\n"]
    process.stdout.close()
    assert process.wait(timeout=300) == 141
    assert process.stderr is not None
    with process.stderr as said:
        assert b"error" not in said.read()
    assert ended([*words, "--epochs", "1"]) == 0


def test_no_colour_in_pipes(here: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    process = graphc_process(["check", "wrong.gc"], stderr=subprocess.PIPE, env={**environment, "TERM": "xterm"})
    _, err = process.communicate(timeout=300)
    assert b"\033" not in err
    assert process.returncode == 1
