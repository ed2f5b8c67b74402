"""The safetensors format (https://huggingface.co/docs/safetensors): named arrays in a file that cannot run anything.

    offset  bytes  field
         0      8  N: length of the header, u64 little-endian
         8      N  header: JSON, {name: {"dtype": "F32", "shape": [...], "data_offsets": [begin, end]}, ...}
                   and, under the name `__metadata__`, an object of texts; spaces may follow
       8+N         the arrays, little-endian, C order, without gaps, in any order

Written here rather than imported, for it is short, an artifact's runtime needs nothing but NumPy this way, and every
size is compared with the bytes present before it is believed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc.runtime.artifact import parse_json
from graphc.runtime.errors import ArtifactError, WeightsError

MAX_RANK = 32
_DTYPES = {
    "F64": "<f8", "F32": "<f4", "I64": "<i8", "I32": "<i4", "I8": "<i1", "U8": "<u1", "BOOL": "?",
}  # fmt: skip
_NAMES = {np.dtype(spelling): name for name, spelling in _DTYPES.items()}
_METADATA = "__metadata__"
Tensors = Mapping[str, NDArray[Any]]


def encode(tensors: Tensors, metadata: Mapping[str, str]) -> list[bytes | memoryview]:
    """The file in pieces, the header first. The same content gives the same bytes."""
    pieces: list[bytes | memoryview] = [header(tensors, metadata)]
    for name in _order(tensors):
        array = np.ascontiguousarray(tensors[name], tensors[name].dtype.newbyteorder("<"))
        pieces.append(array.reshape(-1).view(np.uint8).data)
    return pieces


def header(tensors: Tensors, metadata: Mapping[str, str]) -> bytes:
    """Length and header. Wide dtypes come first and the header is padded to 8 bytes, so all arrays are aligned."""
    if _METADATA in tensors:
        raise WeightsError(f"a tensor cannot be named `{_METADATA}`: the file format keeps this name for itself")
    entries: dict[str, Any] = {_METADATA: dict(metadata)} if metadata else {}
    begin = 0
    for name in _order(tensors):
        array = tensors[name]
        end = begin + array.nbytes
        kind = _NAMES[array.dtype.newbyteorder("<")]
        entries[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(entries, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _order(tensors: Tensors) -> list[str]:
    return sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))


def decode(data: bytes, where: str) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """The arrays, read-only views of `data`, and the metadata; `WeightsError` starting with `where`."""
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > len(data) - 8:
        raise WeightsError(f"{where}: header length: {size} bytes, but {max(0, len(data) - 8)} are there")
    try:
        entries = parse_json(data[8 : 8 + size])
    except ArtifactError as error:
        raise WeightsError(f"{where}: header: {error}") from None
    if not isinstance(entries, dict):
        raise WeightsError(f"{where}: header: expected an object")
    metadata = entries.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise WeightsError(f"{where}: metadata: expected an object of texts")
    tensors: dict[str, NDArray[Any]] = {}
    spans = []
    body = memoryview(data)[8 + size :]
    for name, entry in entries.items():
        tensors[name], span = _tensor(entry, body, f"{where}: tensor `{name[:80]}`")
        spans.append(span)
    end = 0
    for begin, stop in sorted(spans):
        if begin != end:
            raise WeightsError(f"{where}: data_offsets: a gap or an overlap at byte {min(begin, end)}")
        end = stop
    if end != len(body):
        raise WeightsError(f"{where}: data_offsets: the tensors end at byte {end}, the file at {len(body)}")
    return tensors, metadata


def _tensor(entry: Any, body: memoryview, where: str) -> tuple[NDArray[Any], tuple[int, int]]:
    """One array and its span."""
    if not isinstance(entry, dict) or sorted(entry) != ["data_offsets", "dtype", "shape"]:
        raise WeightsError(f"{where}: expected dtype, shape and data_offsets")
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(kind, str) or kind not in _DTYPES:
        raise WeightsError(f"{where} has dtype {str(kind)[:20]}, which graphc does not have")
    if not _are_sizes(shape) or len(shape) > MAX_RANK:
        raise WeightsError(f"{where}: shape: expected at most {MAX_RANK} whole numbers")
    if not _are_sizes(offsets) or len(offsets) != 2:
        raise WeightsError(f"{where}: data_offsets: expected two whole numbers")
    begin, end = offsets
    dtype = np.dtype(_DTYPES[kind])
    need = math.prod(shape) * dtype.itemsize  # Python integers: nothing wraps
    if end - begin != need or end > len(body):
        raise WeightsError(f"{where}: {need} bytes are needed, {min(end, len(body)) - begin} are there")
    raw = np.frombuffer(body[begin:end], np.uint8)
    if kind == "BOOL" and (raw > 1).any():
        raise WeightsError(f"{where} holds bytes that are not truth values")
    return raw.view(dtype).reshape(shape), (begin, end)


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(one) is int and 0 <= one < 1 << 63 for one in value)
