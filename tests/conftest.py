"""Options of the whole test suite."""

from __future__ import annotations

import os

import pytest

os.environ["GRAPHC_CACHE"] = "0"  # what is tested is what was compiled just now; tests of the cache switch it on


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bless", action="store_true", help="rewrite the expected text of tests/filetests")
    parser.addoption("--no-avx512", action="store_true", help="the processor is taken for one with AVX2 and no more")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--no-avx512"):
        import llvmlite.binding as binding

        found = binding.get_host_cpu_features()
        lesser = type(found)((name, has and not name.startswith(("avx512", "avx10"))) for name, has in found.items())
        binding.get_host_cpu_features = lambda: lesser
        binding.get_host_cpu_name = lambda: "x86-64-v3"
