"""Reading data files into arrays: `read("train.csv:age,height")`.

    x.npy                 one array                      x.npz:key           one array of an archive
    x.safetensors:key     one tensor                     x.csv:a,b           columns by their names in the first row
    images-idx3-ubyte     IDX as MNIST comes, .gz too    x.csv               all columns

A key may be left out if there is only one array. IDX, .gz and .npy are known by their first bytes, not by the name.
Nothing in a file is ever executed; sizes are compared with the bytes present before anything is allocated. Errors are
`DataError`, starting with the file.
"""

from __future__ import annotations

import os
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc.runtime.artifact import read_regular_file
from graphc.runtime.errors import DataError, WeightsError
from graphc.runtime.read_arrays import gunzip_idx, parse_idx, parse_npy, parse_npz
from graphc.runtime.read_csv import parse_csv
from graphc.runtime.signature import DTYPES
from graphc.runtime.weights import load_tensors

MAX_FILE = 1 << 34
_KEYED = re.compile(r"(.+\.(npz|csv|safetensors))(?::(.+))?", re.DOTALL | re.IGNORECASE)


def read(spec: str | os.PathLike[str], dtype: str | None = None) -> NDArray[Any]:
    """The array that `spec` names. With `dtype` (graphc's name), converted to it if that keeps every value exactly.

    Without it a CSV column is i32 if all its cells are whole numbers and fit, else f32 (to which decimals are rounded);
    the other formats say themselves what they hold.
    """
    text = os.fspath(spec)
    match = _KEYED.fullmatch(text)
    if match is None:
        return _exactly(_read_plain(text), dtype, text)
    path, kind, key = match[1], match[2].lower(), match[3]
    if kind == "csv":
        return parse_csv(_bytes(path), path, key.split(",") if key else None, dtype)
    if kind == "npz":
        return _exactly(parse_npz(_bytes(path), path, key), dtype, text)
    try:
        tensors, _ = load_tensors(path)
    except WeightsError as error:
        raise DataError(str(error)) from None
    return _exactly(_one_of(tensors, key, path), dtype, text)


def _bytes(path: str) -> bytes:
    return read_regular_file(path, MAX_FILE, DataError)


def _read_plain(path: str) -> NDArray[Any]:
    """A file that holds one array, by its first bytes."""
    data = _bytes(path)
    if data[:2] == b"\x1f\x8b":
        return gunzip_idx(data, path)
    if data[:6] == b"\x93NUMPY":
        return parse_npy(data, path)
    if data[:2] == b"\0\0":
        return parse_idx(data, path)
    kind = "empty" if not data else "of no kind that is read here: .npy, .npz, .csv, .safetensors, IDX, gzipped IDX"
    raise DataError(f"{path}: the file is {kind}")


def _one_of(arrays: dict[str, NDArray[Any]], key: str | None, path: str) -> NDArray[Any]:
    """The array `key`, or the only one."""
    if key is None and len(arrays) == 1:
        return next(iter(arrays.values()))
    if key is None or key not in arrays:
        names = ", ".join(name[:40] for name in list(arrays)[:20])
        what = "say which array" if key is None else f"there is no `{key[:80]}`"
        raise DataError(f"{path}: {what}; it holds {names}")
    return arrays[key]


def _exactly(array: NDArray[Any], dtype: str | None, where: str) -> NDArray[Any]:
    """`array` as a graphc dtype, if no value changes."""
    if dtype is None or array.dtype == DTYPES[dtype]:
        return array
    kind = np.dtype(DTYPES[dtype])
    if array.dtype.kind == "b" or kind.kind == "b" or (array.dtype.kind == "f" and kind.kind != "f"):
        raise DataError(f"{where}: it holds {array.dtype}, not {kind}")
    with np.errstate(all="ignore"):
        out = array.astype(kind)
        same = (out.astype(array.dtype) == array) | ((array != array) & (out != out))
    if not same.all() or (array.dtype.kind in "iu" and kind.kind in "iu" and ((out < 0) != (array < 0)).any()):
        raise DataError(f"{where}: it holds {array.dtype} values that {kind} cannot represent")
    return out
