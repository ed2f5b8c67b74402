"""Runs every `.graph` and `.gc` file below this folder, and tests the harness itself."""

from __future__ import annotations

from pathlib import Path

import filetest
import pytest

HERE = Path(__file__).parent
FILES = sorted(path for suffix in ("*.graph", "*.gc") for path in HERE.rglob(suffix))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(HERE).as_posix())
def test_file(path: Path, pytestconfig: pytest.Config) -> None:
    filetest.run(filetest.read(path), bless=pytestconfig.getoption("--bless"))


GRAPH = "graph g {\n  input %x: f64[2]\n  %0 = neg %x\n  %1 = neg %0\n  return y = %1\n}\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "t.graph"
    path.write_text(text)
    return path


def test_blessing_writes_the_text_and_then_it_passes(tmp_path: Path) -> None:
    path = write(tmp_path, "# test: optimise simplify\n" + GRAPH + "\n#| graph old {\n")
    with pytest.raises(AssertionError, match="--bless"):
        filetest.run(filetest.read(path), bless=False)
    filetest.run(filetest.read(path), bless=True)
    filetest.run(filetest.read(path), bless=False)
    assert path.read_text().endswith("\n#| graph g {\n#|   input %x: f64[2]\n#|   return y = %x\n#| }\n")
    assert path.read_text().startswith("# test: optimise simplify\n" + GRAPH)


@pytest.mark.parametrize(
    "head",
    [
        "# test: optimise simplify\n# structure: neg=1\n",
        "# test: run\n# input x = [1.0, 2.0]\n# output y = [1.0, -2.0]\n",
        "# test: errors\n",
    ],
)
def test_what_does_not_hold_fails(tmp_path: Path, head: str) -> None:
    with pytest.raises(AssertionError):
        filetest.run(filetest.read(write(tmp_path, head + GRAPH)), bless=False)


def test_special_values_are_compared(tmp_path: Path) -> None:
    head = "# test: run\n# input x = [nan, -inf]\n# output y = [nan, -inf]\n"
    filetest.run(filetest.read(write(tmp_path, head + GRAPH)), bless=False)


@pytest.mark.parametrize("head", ["", "# test: nope\n"])
def test_a_file_must_say_what_to_do(tmp_path: Path, head: str) -> None:
    with pytest.raises(ValueError, match=r"no `# test:` line|there is no command nope"):
        filetest.run(filetest.read(write(tmp_path, head + GRAPH)), bless=False)
