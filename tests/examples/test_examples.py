"""Every example runs as its page says, in a process of its own."""

from __future__ import annotations

import csv
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def run(*words: object, folder: Path) -> str:
    """Standard output of an example, run in a folder that is not the repository."""
    command = [sys.executable, *map(str, words)]
    environment = {**os.environ, "GRAPHC_CACHE": "1"}  # as users run it
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_has_its_files() -> None:
    for folder in (path for path in EXAMPLES.iterdir() if path.is_dir() and path.name != "__pycache__"):
        assert (folder / f"{folder.name}.gc").is_file()
        assert (folder / f"{folder.name}.py").is_file()
        assert f"[{folder.name}]" in (EXAMPLES / "README.md").read_text()


def needs_data(path: Path) -> bool:
    """Whether an example brings no data along, and takes no others if they are not there."""
    text = path.read_text()
    return "shared" in text and "by default" in text and path.stem not in ("embed_c", "filters")


NEEDY = [path for path in sorted(EXAMPLES.glob("*/*.py")) if needs_data(path)]


def test_examples_that_need_data_are_found() -> None:
    assert {"lenet", "lstm_sentiment"} <= {path.stem for path in NEEDY}


@pytest.mark.parametrize("path", NEEDY, ids=lambda path: path.stem)
def test_data_that_are_not_there_are_asked_for(path: Path, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, path, "nowhere"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and "error: there is no nowhere: give " in done.stderr, done.stderr


def test_digits_are_those_of_the_source_page() -> None:
    with np.load(EXAMPLES / "digits" / "digits.npz") as data:
        images, labels = data["images"], data["labels"]
    assert (images.shape, images.dtype, int(images.max())) == ((1797, 8, 8), np.uint8, 16)
    assert (labels.shape, labels.dtype) == ((1797,), np.uint8)
    found = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    assert found in (EXAMPLES / "digits" / "SOURCE.md").read_text()


def test_digits_from_the_file_to_a_prediction(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "run"
    said = run(EXAMPLES / "digits" / "digits.py", "--out", out, folder=tmp_path)
    accuracy = re.search(r"test accuracy: ([\d.]+) %", said)
    assert accuracy is not None
    assert float(accuracy[1]) >= 97.0
    assert "compiler modules loaded: none" in said
    files = {path.name for path in out.iterdir()}
    pictures = {"curves.png", "graph.svg", "graph.png", "step.svg", "step.png"}
    assert {"digits.gca", "weights.safetensors", "metrics.csv", *pictures} <= files
    with (out / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == [str(epoch) for epoch in range(1, 16)]
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    for name in sorted(pictures):
        data = (out / name).read_bytes()
        assert data.startswith(b"\x89PNG" if name.endswith(".png") else b"<svg")


def write_idx(path: Path, array: np.ndarray) -> None:
    head = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(gzip.compress(head + array.tobytes()))


def test_mnist_from_idx_files(tmp_path: Path) -> None:
    """Real IDX files, made of the small digits at three times their size with a frame."""
    with np.load(EXAMPLES / "digits" / "digits.npz") as data:
        images, labels = data["images"] * np.uint8(15), data["labels"]
    large = np.pad(images.repeat(3, axis=1).repeat(3, axis=2), ((0, 0), (2, 2), (2, 2)))
    write_idx(tmp_path / "t10k-images-idx3-ubyte.gz", large)
    write_idx(tmp_path / "t10k-labels-idx1-ubyte.gz", labels)
    said = run(EXAMPLES / "mnist_mlp" / "mnist_mlp.py", tmp_path, "--epochs", 8, "--batch", 32, folder=tmp_path)
    accuracy = re.search(r"test accuracy: ([\d.]+) % of 360", said)
    assert accuracy is not None
    assert float(accuracy[1]) >= 92.0
    assert (tmp_path / "runs" / "mnist_mlp" / "mnist_mlp.gca").is_file()


def test_the_command_lines_of_the_page(tmp_path: Path) -> None:
    """The block of commands in examples/README.md, as they stand there, in the folder of the digits."""
    for name in ("digits.gc", "digits.npz"):
        shutil.copy(EXAMPLES / "digits" / name, tmp_path)
    lines = re.findall(r"^    graphc (.+)$", (EXAMPLES / "README.md").read_text(), re.MULTILINE)
    assert [line.split()[0] for line in lines] == ["check", "train", "run", "show"]
    said = [run("-m", "graphc", *line.split(), folder=tmp_path) for line in lines]
    assert "probs: float32[1797, 10]" in said[2]
    assert "contract" in said[3]


def test_the_program_of_the_readme(tmp_path: Path) -> None:
    """The README shows the file of the example, and its program runs where the examples are."""
    model, program = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert (EXAMPLES / "digits" / "digits.gc").read_text().endswith(model)
    shutil.copytree(EXAMPLES / "digits", tmp_path / "examples" / "digits")
    (tmp_path / "program.py").write_text(program + "assert probs.shape == (5, 10)\n")
    run("program.py", folder=tmp_path)
    assert (tmp_path / "digits.gca").is_file()
    assert (tmp_path / "digits.safetensors").is_file()
