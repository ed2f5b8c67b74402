"""Checks of what users choose."""

from __future__ import annotations

import operator
import os
from pathlib import Path
from typing import Any

import numpy as np

from graphc.runtime.errors import InputTypeError, OptionError, shown


def check_count(name: str, value: Any) -> int:
    """`value` as an int from 1 to 2**31; `OptionError` otherwise."""
    try:
        number = 0 if isinstance(value, bool | np.bool_) else operator.index(value)
    except TypeError:
        number = 0
    if not 1 <= number < 1 << (62 if name == "arena_limit" else 31):
        raise OptionError(f"{name} must be a positive whole number, not {shown(value)}")
    return number


def check_path(path: Any) -> Path:
    """`path` as a Path; `InputTypeError` if it is no path, `OptionError` if it holds a NUL."""
    try:
        text = os.fsdecode(os.fspath(path))
    except TypeError:
        raise InputTypeError(f"a path must be a text or a Path, not {shown(path)}") from None
    if "\0" in text:
        raise OptionError(f"a path cannot hold a NUL: {shown(text)}")
    return Path(text)
