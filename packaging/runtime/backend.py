"""Builds the wheel `graphc-runtime`: `graphc/__init__.py` and `graphc/runtime` of this repository, and nothing else.

A build backend by PEP 517, of the standard library alone, so that `pip install packaging/runtime` needs no network but
for NumPy. Version, licence and NumPy's version are those of the repository's pyproject.toml. The same tree gives the
same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TAG = "py3-none-any"
TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can say


def build_wheel(
    wheel_directory: str, config_settings: dict[str, Any] | None = None, metadata_directory: str | None = None
) -> str:
    """Write the wheel into a folder; returns its file name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    base = f"graphc_runtime-{project['version']}"
    name = f"{base}-{TAG}.whl"
    entries = [*_modules(), *_notes(project, f"{base}.dist-info")]
    record = "".join(f"{path},sha256={_digest(data)},{len(data)}\n" for path, data in entries)
    record_path = f"{base}.dist-info/RECORD"
    entries.append((record_path, f"{record}{record_path},,\n".encode()))
    with zipfile.ZipFile(Path(wheel_directory) / name, "w", zipfile.ZIP_DEFLATED) as wheel:
        for path, data in entries:
            member = zipfile.ZipInfo(path, TIME)
            member.external_attr = 0o644 << 16
            member.compress_type = zipfile.ZIP_DEFLATED
            wheel.writestr(member, data)
    return name


def _modules() -> Iterator[tuple[str, bytes]]:
    for path in ("graphc/__init__.py", "graphc/py.typed"):
        yield path, (ROOT / path).read_bytes()
    for file in sorted((ROOT / "runtime").glob("*.py")):
        yield f"graphc/runtime/{file.name}", file.read_bytes()


def _notes(project: dict[str, Any], folder: str) -> Iterator[tuple[str, bytes]]:
    """The metadata files of a wheel, RECORD apart."""
    numpy = next(need for need in project["dependencies"] if need.startswith("numpy"))
    lines = [
        "Metadata-Version: 2.4",
        "Name: graphc-runtime",
        f"Version: {project['version']}",
        "Summary: Runs models compiled by graphc: loads their artifacts, predicts and trains, with NumPy alone",
        f"Requires-Python: {project['requires-python']}",
        f"Requires-Dist: {numpy}",
        f"License-Expression: {project['license']}",
        "License-File: LICENSE",
        "Description-Content-Type: text/markdown",
        "",
        (Path(__file__).parent / "README.md").read_text(encoding="utf-8"),
    ]
    yield f"{folder}/METADATA", "\n".join(lines).encode()
    yield f"{folder}/WHEEL", f"Wheel-Version: 1.0\nGenerator: graphc\nRoot-Is-Purelib: true\nTag: {TAG}\n".encode()
    yield f"{folder}/licenses/LICENSE", (ROOT / "LICENSE").read_bytes()


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
