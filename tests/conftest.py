"""Options of the whole test suite."""

from __future__ import annotations

import os

import pytest

os.environ["GRAPHC_CACHE"] = "0"  # what is tested is what was compiled just now; tests of the cache switch it on


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bless", action="store_true", help="rewrite the expected text of tests/filetests")
