"""Options of the whole test suite, and what its processes share."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from graphc.codegen.target import Target

os.environ["GRAPHC_CACHE"] = "0"  # what is tested is what was compiled just now; tests of the cache switch it on
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # there are as many processes as cores already

LONGEST = ("fuzz/test_kills", "bench/test_", "examples/test_examples", "fuzz/test_guards", "codegen/test_strips")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bless", action="store_true", help="rewrite the expected text of tests/filetests")
    parser.addoption("--no-avx512", action="store_true", help="the processor is taken for one with AVX2 and no more")


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        _share_a_folder(config)
    _compile_once()
    if config.getoption("--no-avx512"):
        import llvmlite.binding as binding

        found = binding.get_host_cpu_features()
        lesser = type(found)((name, has and not name.startswith(("avx512", "avx10"))) for name, has in found.items())
        binding.get_host_cpu_features = lambda: lesser
        binding.get_host_cpu_name = lambda: "x86-64-v3"


def _share_a_folder(config: pytest.Config) -> None:
    """What programs that are run again and again keep, for this run of the tests: the cache of compiled models, if they
    switch it on, and Python's bytecode, if it may not be kept beside the source.
    """
    folder = Path(tempfile.mkdtemp(prefix="graphc-tests-"))
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    os.environ["GRAPHC_CACHE_DIR"] = str(folder / "cache")
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
        os.environ["PYTHONPYCACHEPREFIX"] = str(folder / "bytecode")


def _compile_once() -> None:
    """LLVM makes the same object of the same text, and many tests of a file compile the same model."""
    from graphc.codegen import objects

    compiled, kept = objects.compile_object, dict[bytes, bytes]()

    def compile_object(text: str, target: Target, opt: int = 2) -> bytes:
        key = hashlib.sha256(repr((text, target, opt)).encode()).digest()
        if key not in kept:
            kept[key] = compiled(text, target, opt)
        return kept[key]

    objects.compile_object = compile_object


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest tests come first: at the end all processes have something to do."""
    items.sort(key=lambda item: not any(f"tests/{name}" in item.nodeid for name in LONGEST))
