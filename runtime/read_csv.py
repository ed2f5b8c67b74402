"""CSV of numbers, strictly: every cell is a plain decimal number, every row as long as the first.

UTF-8 (a byte-order mark is accepted), commas, LF or CRLF, cells may be quoted. The first row holds the names if one of
its cells is not a number; without names, columns are called 1, 2, ... Not numbers: empty, nan, inf, 1e999, 1_000, 0x10,
digits of other scripts. Empty lines are accepted at the end only.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc.runtime.errors import DataError
from graphc.runtime.signature import DTYPES

MAX_CELL = 400
_NUMBER = re.compile(r"[ \t]*[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[ \t]*")
_PLAIN_LINE = re.compile(r"[0-9+\-.eE, \t]*")
_DECIMAL = re.compile(r"[.eE]")


def parse_csv(data: bytes, where: str, columns: Sequence[str] | None, dtype: str | None) -> NDArray[Any]:
    """The chosen columns (all if None): [rows] for one chosen column, else [rows, columns]."""
    lines = _lines(data, where)
    first = _cells(lines[0], where, 1) if lines else []
    if not first:
        raise DataError(f"{where}: the file is empty")
    has_names = any(_NUMBER.fullmatch(cell) is None for cell in first)
    names = [cell.strip() for cell in first] if has_names else [str(i + 1) for i in range(len(first))]
    picked = _pick(names, columns, where)
    start = int(has_names)
    if len(lines) == start:
        raise DataError(f"{where}: there are no rows below the names")
    is_all = picked == list(range(len(first)))
    whole = True
    values: list[list[float]] = []
    for number, line in enumerate(lines[start:], start + 1):
        cells = _cells(line, where, number) if '"' in line else line.split(",")
        if len(cells) != len(first):
            raise DataError(f"{where}:{number}:1: {len(cells)} cells; the first row has {len(first)}")
        chosen = cells if is_all else [cells[i] for i in picked]
        try:
            row = list(map(float, chosen))
        except ValueError:
            row = []
        is_plain = len(line) <= MAX_CELL and _PLAIN_LINE.fullmatch(line)  # then what float() takes is a plain number
        if not row or not (is_plain or all(map(_is_plain, chosen))):
            raise _bad_cell(line, cells, picked, where, number)
        values.append(row)
        whole = whole and not any(map(_DECIMAL.search, chosen))
    table = np.fromiter(chain.from_iterable(values), np.float64, len(values) * len(picked)).reshape(-1, len(picked))
    if not np.isfinite(table).all():
        row_at, column_at = (int(i) for i in np.argwhere(~np.isfinite(table))[0])
        raise DataError(f"{where}:{row_at + start + 1}: column `{names[picked[column_at]]}` holds a number beyond f64")
    array = table[:, 0] if columns is not None and len(picked) == 1 else table
    return _typed(array, whole, dtype, where)


def _is_plain(cell: str) -> bool:
    return len(cell) <= MAX_CELL and _NUMBER.fullmatch(cell) is not None


def _lines(data: bytes, where: str) -> list[str]:
    """The lines without their ends; empty ones at the end of the file are dropped."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError(f"{where}:1:1: UTF-16; write it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise DataError(f"{where}:{line}:{column}: not UTF-8") from None
    if "\0" in text:
        at = text.index("\0")
        raise DataError(f"{where}:{text.count(chr(10), 0, at) + 1}:{at - text.rfind(chr(10), 0, at)}: a NUL character")
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def _cells(line: str, where: str, number: int) -> list[str]:
    """The cells of a line that may hold quotes."""
    try:
        rows = list(csv.reader([line], strict=True))
    except csv.Error as error:
        raise DataError(f"{where}:{number}:1: {error}") from None
    return rows[0] if rows else [""]


def _pick(names: list[str], columns: Sequence[str] | None, where: str) -> list[int]:
    """The places of the columns asked for."""
    if columns is None:
        return list(range(len(names)))
    picked = []
    for column in columns:
        name = column.strip()
        if names.count(name) != 1:
            what = "no column" if name not in names else "more than one column"
            raise DataError(f"{where}: {what} `{name[:80]}`; there are {', '.join(n[:40] for n in names[:20])}")
        picked.append(names.index(name))
    return picked


def _bad_cell(line: str, cells: list[str], picked: list[int], where: str, number: int) -> DataError:
    """The error for the first cell that is not a number, at its place in the line."""
    for i in picked:
        if not _is_plain(cells[i]):
            column = sum(len(cell) + 1 for cell in _starts(line, cells, i)) + 1
            what = "the cell is empty" if not cells[i].strip() else f"`{cells[i].strip()[:40]}` is not a plain number"
            return DataError(f"{where}:{number}:{column}: {what}")
    return DataError(f"{where}:{number}:1: a cell is not a plain number")


def _starts(line: str, cells: list[str], i: int) -> Iterator[str]:
    """The cells before cell i as they stand in the line (quotes included where no comma is quoted)."""
    raw = line.split(",")
    return iter(raw[:i] if len(raw) == len(cells) else cells[:i])


def _typed(array: NDArray[np.float64], whole: bool, dtype: str | None, where: str) -> NDArray[Any]:
    """As `dtype`, or by what is written."""
    biggest = float(np.abs(array).max())
    kind = np.dtype(DTYPES[dtype or ("i32" if whole and biggest < 2**31 else "f32")])
    if kind.kind == "f":
        with np.errstate(over="ignore"):
            out = np.ascontiguousarray(array.astype(kind))
        if not np.isfinite(out).all():
            raise DataError(f"{where}: a number beyond {kind}")
        return out
    if not whole or biggest >= 2.0**53:
        raise DataError(f"{where}: {'decimals' if not whole else 'numbers beyond 2**53'} do not fit {kind}")
    out = array.astype(np.int64).astype(kind)
    if (out.astype(np.float64) != array).any():
        raise DataError(f"{where}: numbers that {kind} cannot represent")
    return np.ascontiguousarray(out)
