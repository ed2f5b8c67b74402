"""The wheel `graphc-runtime`: what is in it, and that a program with it and NumPy alone loads, trains and predicts."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import graphc

ROOT = Path(__file__).parents[2]
SCRIPT = """
import json, sys
import numpy as np
import graphc
path, weights = sys.argv[1:3]
model = graphc.load(path)
model.load_weights(weights)
rng = np.random.default_rng(0)
data = {}
for leaf in model.signature.with_role("input"):
    shape = [8 if isinstance(size, str) else size for size in leaf.shape]
    draw = rng.random(shape) if leaf.dtype == "f32" else rng.integers(0, 10, shape)
    data[leaf.name] = draw.astype({"f32": "f4", "i32": "i4", "u8": "u1"}[leaf.dtype])
losses = [model.step(data)["loss"] for _ in range(3)]
model.fit(data, batch=4, epochs=1, seed=2, progress=False)
model.save_weights(weights)
inputs = {leaf.name: data[leaf.name] for leaf, _ in model._entries["forward"].given}
outputs = {name: array.tobytes().hex() for name, array in model(inputs).items()}
try:
    graphc.compile
    refusal = None
except ImportError as error:
    refusal = str(error)
print(json.dumps({"losses": losses, "outputs": outputs, "refusal": refusal, "home": graphc.__file__}))
"""


def backend() -> ModuleType:
    spec = importlib.util.spec_from_file_location("runtime_backend", ROOT / "packaging" / "runtime" / "backend.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    return folder / backend().build_wheel(str(folder))


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages with the wheel's and NumPy's files only."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as files:
        files.extractall(folder)
    home = Path(np.__file__).parent
    for one in (home, home.parent / "numpy.libs"):
        if one.exists():
            (folder / one.name).symlink_to(one)
    return folder


def test_contents(wheel: Path) -> None:
    """The runtime's modules, under a megabyte, NumPy the only dependency; the same bytes each time."""
    data = wheel.read_bytes()
    assert len(data) < 1_000_000
    assert wheel.name == f"graphc_runtime-{graphc.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as files:
        names = files.namelist()
        metadata = files.read(next(name for name in names if name.endswith("METADATA"))).decode()
    modules = {f"graphc/runtime/{path.name}" for path in (ROOT / "runtime").glob("*.py")}
    assert {name for name in names if ".dist-info/" not in name} == {"graphc/__init__.py", "graphc/py.typed", *modules}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needs = [line.removeprefix("Requires-Dist: ") for line in metadata.splitlines() if line.startswith("Requires-Dist")]
    assert needs == [need for need in project["dependencies"] if need.startswith("numpy")]
    backend().build_wheel(str(wheel.parent))
    assert wheel.read_bytes() == data


def run(site: Path | None, path: Path, weights: Path) -> dict[str, object]:
    """What `SCRIPT` prints: with the packages of `site` only, or with those of this installation."""
    environment = {**os.environ, "PYTHONPATH": str(site) if site else str(ROOT)}
    command = [sys.executable, *(["-S"] if site else []), "-c", SCRIPT, str(path), str(weights)]
    done = subprocess.run(command, env=environment, cwd=path.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("name", ["lenet", "digits"])
def test_it_trains_and_predicts_to_the_same_bits_as_the_full_installation(
    name: str, site: Path, tmp_path: Path
) -> None:
    model = graphc.compile(ROOT / "examples" / name / f"{name}.gc")
    model.init(seed=5)
    model.save(tmp_path / "m.gca")
    model.save_weights(tmp_path / "alone.safetensors")
    model.save_weights(tmp_path / "full.safetensors")
    alone = run(site, tmp_path / "m.gca", tmp_path / "alone.safetensors")
    full = run(None, tmp_path / "m.gca", tmp_path / "full.safetensors")
    assert Path(str(alone["home"])).is_relative_to(site)
    assert alone["refusal"] is not None and "only graphc-runtime is installed here" in str(alone["refusal"])
    assert (alone["losses"], alone["outputs"]) == (full["losses"], full["outputs"])
    assert (tmp_path / "alone.safetensors").read_bytes() == (tmp_path / "full.safetensors").read_bytes()


def test_pip_builds_it_without_a_network(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--disable-pip-version-check",
        "--no-index",
        "--no-deps",
    ]
    command += ["--wheel-dir", str(tmp_path), str(ROOT / "packaging" / "runtime")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "No module named pip" in done.stderr:
        pytest.skip("no pip here")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [f"graphc_runtime-{graphc.__version__}-py3-none-any.whl"]
