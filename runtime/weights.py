"""Tensors in a file: safetensors, plus a checksum and the model's metadata as one JSON text under the key `graphc`.

Keys are the paths of parameters and states. Loading never runs anything. A file without the key `graphc` (written by
another program) is taken without a checksum; a checkpoint is not.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc.runtime.artifact import canonical, parse_json, read_regular_file
from graphc.runtime.durable import write_durably
from graphc.runtime.errors import ArtifactError, WeightsError

MAX_FILE = 1 << 36
_KEY = "graphc"
_FORMAT = 1
_DTYPES = {
    "F64": "float64", "F32": "float32", "I64": "int64", "I32": "int32", "I8": "int8", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip
Tensors = Mapping[str, NDArray[Any]]


def save_tensors(path: str | os.PathLike[str], tensors: Tensors, metadata: Mapping[str, Any]) -> None:
    """Write `tensors` and JSON-able `metadata` durably; the same content gives the same bytes."""
    from safetensors.numpy import save

    body = {"format": _FORMAT, "metadata": dict(metadata)}
    text = canonical({**body, "sha256": _digest(tensors, body)}).decode("ascii")
    contiguous = {name: np.require(array, requirements=["C"]) for name, array in tensors.items()}
    write_durably(path, save(contiguous, metadata={_KEY: text}))


def load_tensors(
    path: str | os.PathLike[str], need_checksum: bool = False
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The tensors and the metadata (empty for a foreign file); `WeightsError` naming the file if it is damaged."""
    from safetensors import deserialize

    name = str(path)
    data = read_regular_file(path, MAX_FILE, WeightsError)
    note = _note(data, name)
    try:
        parts: list[tuple[str, dict[str, Any]]] = deserialize(data)  # type: ignore[no-untyped-call]
    except Exception as error:  # SafetensorError, and ValueError for some damage
        raise WeightsError(f"{name}: not a safetensors file ({error})") from None
    tensors: dict[str, NDArray[Any]] = {}
    for key, part in parts:
        if part["dtype"] not in _DTYPES:
            raise WeightsError(f"{name}: tensor `{key[:80]}` has dtype {part['dtype']}, which graphc does not have")
        tensors[key] = np.frombuffer(part["data"], _DTYPES[part["dtype"]]).reshape(part["shape"])
        if part["dtype"] == "BOOL" and (tensors[key].view(np.uint8) > 1).any():
            raise WeightsError(f"{name}: tensor `{key[:80]}` holds bytes that are not truth values")
    if note is None and not need_checksum:
        return tensors, {}
    return tensors, _checked(note, tensors, name)


def _note(data: bytes, name: str) -> str | None:
    """The text under `graphc` in the header's metadata. Parsed here too: safetensors accepts repeated keys."""
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > len(data) - 8:
        raise WeightsError(f"{name}: header length: {size} bytes, but {max(0, len(data) - 8)} are there")
    try:
        header = parse_json(data[8 : 8 + size])
    except ArtifactError as error:
        raise WeightsError(f"{name}: header: {error}") from None
    metadata = header.get("__metadata__", {}) if isinstance(header, dict) else {}
    note = metadata.get(_KEY) if isinstance(metadata, dict) else None
    return note if isinstance(note, str) else None


def _checked(note: str | None, tensors: Tensors, name: str) -> dict[str, Any]:
    """The metadata, once format and checksum have been found right."""
    try:
        body = parse_json(note.encode()) if note is not None else None
    except ArtifactError as error:
        raise WeightsError(f"{name}: metadata: {error}") from None
    if not isinstance(body, dict) or sorted(body) != ["format", "metadata", "sha256"]:
        raise WeightsError(f"{name}: metadata: not written by graphc, or damaged")
    if body["format"] != _FORMAT:
        raise WeightsError(f"{name}: metadata: format {str(body['format'])[:20]} is not {_FORMAT}")
    digest = body.pop("sha256")
    if digest != _digest(tensors, body):
        raise WeightsError(f"{name}: checksum: the file is damaged")
    metadata = body["metadata"]
    if not isinstance(metadata, dict):
        raise WeightsError(f"{name}: metadata: expected an object")
    return metadata


def _digest(tensors: Tensors, body: Mapping[str, Any]) -> str:
    """SHA-256 over metadata, names, dtypes, shapes and bytes, in the order of the names."""
    sha = hashlib.sha256(canonical(body))
    for name in sorted(tensors):
        array = tensors[name]
        sha.update(canonical([name, array.dtype.name, list(array.shape)]))
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()


def assign_all(target: Tensors, source: Tensors, where: str) -> None:
    """Copy every tensor of `source` over that of the same name, or list all differences and change nothing."""
    wrong = [f"missing `{name}`" for name in target if name not in source]
    wrong += [f"unknown `{name[:80]}`" for name in source if name not in target]
    for name in target:
        if name in source and (source[name].dtype != target[name].dtype or source[name].shape != target[name].shape):
            have, want = (f"{one.dtype}{list(one.shape)}" for one in (source[name], target[name]))
            wrong.append(f"`{name}` is {have} in the file, {want} in the model")
    if wrong:
        raise WeightsError(f"{where} does not fit the model; nothing was loaded:\n  " + "\n  ".join(wrong))
    for name, array in target.items():
        array[...] = source[name]
