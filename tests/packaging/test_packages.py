"""What is installed is what is in the tree."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS = PROJECT["tool"]["setuptools"]
LINKS = ("frontend", "passes", "runtime")


def packages_of_the_tree() -> set[str]:
    """Every folder with Python files under graphc, links followed, as a dotted name."""
    found = set()
    for folder, folders, files in os.walk(ROOT / "graphc", followlinks=True):
        folders[:] = [name for name in folders if name != "__pycache__"]
        if any(name.endswith(".py") for name in files):
            found.add(".".join(Path(folder).relative_to(ROOT).parts))
    return found


def test_package_list_equals_the_tree() -> None:
    assert set(SETUPTOOLS["packages"]) == packages_of_the_tree()


def test_every_package_has_an_init_file() -> None:
    missing = [name for name in SETUPTOOLS["packages"] if not (ROOT / name.replace(".", "/") / "__init__.py").is_file()]
    assert missing == []


@pytest.mark.parametrize("name", LINKS)
def test_links_lead_to_the_top_level_folders(name: str) -> None:
    link = ROOT / "graphc" / name
    assert link.is_symlink()
    assert os.readlink(link) == f"../{name}"
    assert SETUPTOOLS["package-dir"][f"graphc.{name}"] == name


def test_package_data_is_declared_and_there() -> None:
    """Every file of a package that is no Python is matched by exactly the declared patterns."""
    declared = {
        path.relative_to(ROOT)
        for package, patterns in SETUPTOOLS["package-data"].items()
        for pattern in patterns
        for path in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    present = {
        (Path(folder) / name).relative_to(ROOT)
        for folder, _, files in os.walk(ROOT / "graphc", followlinks=True)
        for name in files
        if not name.endswith((".py", ".pyc"))
    }
    assert declared == present


def test_version_is_said_once() -> None:
    import graphc

    assert PROJECT["project"]["version"] == graphc.__version__


HEAVY = ("llvmlite", "lark", "networkx", "pydot", "matplotlib", "safetensors", "tqdm", "rich")


def loaded_by(statement: str) -> set[str]:
    """The heavy packages that a fresh process has loaded after a statement."""
    probe = f"{statement}\nimport sys\nprint(*(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=300)
    return set(done.stdout.split())


def test_import_loads_nothing_heavy() -> None:
    assert loaded_by("import graphc") == set()


def test_help_loads_nothing_heavy() -> None:
    statement = "import contextlib, io, graphc.cli\nwith contextlib.redirect_stdout(io.StringIO()):\n"
    statement += "    try:\n        graphc.cli.main(['--version'])\n    except SystemExit:\n        pass"
    assert loaded_by(statement) == set()


def test_public_names_exist() -> None:
    import graphc

    assert [name for name in graphc.__all__ if not hasattr(graphc, name)] == []
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = graphc.nonsense
