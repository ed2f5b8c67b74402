"""Training runs that are killed: the command, started again and again over one folder, against one left in peace."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

TRAIN = """\
train net:
    input k: i32[B]
    hyper lr: f32 = 1e-3
    loss = cross_entropy(logits, k)
    optimizer = adam(lr = lr)
"""
MODELS = {
    "perceptron": """\
use std.nn: batch_norm, dense
dim B, D = 12, C = 3
model net(x: f32[B, D]) -> (logits: f32[B, C]):
    param hidden = dense[O=64], norm = batch_norm, out = dense[O=C]
    logits = x |> hidden |> norm |> relu |> dropout(rate=0.2) |> out
""",
    "lstm": """\
use std.nn: dense, lstm_cell
dim B, T = 4, E = 3, C = 3
model net(x: f32[B, T, E]) -> (logits: f32[B, C]):
    param cell = lstm_cell[H=48], out = dense[O=C]
    scan t in T:
        carry h: f32[B, 48] = zeros(), c: f32[B, 48] = zeros()
        h, c = cell(x[:, t], h, c)
    logits = h |> dropout(rate=0.2) |> out
""",
}
SHAPES = {"perceptron": (12,), "lstm": (4, 3)}
EVERY = 25
MAX_FILES = 12


def prepare(folder: Path, model: str, rows: int = 4000) -> None:
    """The model file and its data."""
    draws = np.random.default_rng(0)
    x = draws.standard_normal((rows, 12)).astype(np.float32)
    np.savez(folder / "data.npz", x=x.reshape(rows, *SHAPES[model]), k=x[:, :3].argmax(axis=1).astype(np.int32))
    (folder / "net.gc").write_text(MODELS[model] + TRAIN)


def command(run: str, epochs: int, threads: int) -> list[str]:
    words = ["train", "net.gc", "--input", "x=data.npz:x", "--input", "k=data.npz:k", "--batch", "16", "--seed", "3"]
    words += ["--validation", "0.1", "--patience", "50", "--epochs", str(epochs), "--threads", str(threads)]
    words += ["--out", run, "--resume", run, "--checkpoint-every", str(EVERY)]
    return [sys.executable, "-m", "graphc", *words]


@dataclass
class Told:
    """What a process has said on standard output."""

    resumed: int | None = None
    saved: int = -1
    final: str = ""
    errors: str = ""
    status: int | None = None
    lines: list[str] = field(default_factory=list)

    def hear(self, line: str) -> None:
        word, _, value = line.strip().partition(" ")
        self.lines.append(line)
        if not line.endswith("\n"):
            return  # killed as it said so
        if word == "resume":
            self.resumed = int(value)
        elif word == "saved":
            self.saved = int(value)
        elif word == "final":
            self.final = value


def run(folder: Path, name: str, epochs: int, threads: int, kill_after: float | None = None) -> Told:
    """One start of the command; killed so many seconds after it has said where it resumes."""
    told = Told()
    process = subprocess.Popen(
        command(name, epochs, threads), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "NO_COLOR": "1", "GRAPHC_CACHE": "1"},  # as users start it: compiled once
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    stderr = process.stderr
    drain = threading.Thread(target=lambda: setattr(told, "errors", stderr.read()))
    drain.start()
    timer: threading.Timer | None = None
    for line in process.stdout:
        told.hear(line)
        if timer is None and kill_after is not None and told.resumed is not None:
            timer = threading.Timer(kill_after, process.kill)
            timer.start()
    told.status = process.wait()
    if timer is not None:
        timer.cancel()
    drain.join()
    process.stdout.close()
    stderr.close()
    return told


def campaign(folder: Path, model: str, kills: int, seed: int, epochs: int, longest: float) -> int:
    """Kill so many runs at random moments; every start, on one or two threads, must succeed and go on where the last
    one was saved, and the end must have the bits of a run left in peace. A run that ends between kills is begun anew.
    Returns how many ended.
    """
    draws = random.Random(seed)
    prepare(folder, model)
    expected = run(folder, "peace", epochs, threads=1)
    assert expected.status == 0 and expected.final, expected.errors
    number = saved = ended = 0
    done = 0
    while done < kills or ended == 0:
        delay = draws.uniform(0.0, longest) if done < kills else None
        told = run(folder, f"run{number}", epochs, draws.randint(1, 2), delay)
        assert told.resumed is not None, f"a start failed (seed {seed}, kill {done}):\n{told.errors}"
        assert told.resumed >= saved, f"resumed at {told.resumed}, though {saved} was saved (seed {seed}, kill {done})"
        files = [path for path in (folder / f"run{number}").rglob("*") if path.is_file()]
        assert len(files) <= MAX_FILES, sorted(path.name for path in files)
        saved = max(saved, told.saved)
        if told.final:
            assert told.final == expected.final, f"other bits (seed {seed}, after {done} kills)"
            number, saved, ended = number + 1, 0, ended + 1
        else:
            assert told.status == -9, told.errors
            done += 1
    return ended
