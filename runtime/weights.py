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

from graphc.runtime import safetensors
from graphc.runtime.artifact import canonical, parse_json, read_regular_file
from graphc.runtime.durable import write_durably
from graphc.runtime.errors import ArtifactError, WeightsError
from graphc.runtime.safetensors import Tensors

MAX_FILE = 1 << 36
_KEY = "graphc"
_CHECKSUM = "sha256"
_FORMAT = 1


def save_tensors(path: str | os.PathLike[str], tensors: Tensors, metadata: Mapping[str, Any]) -> None:
    """Write `tensors` and JSON-able `metadata` durably; the same content gives the same bytes."""
    body = {"format": _FORMAT, "metadata": dict(metadata)}
    text = canonical({**body, _CHECKSUM: digest(tensors, body)}).decode("ascii")
    write_durably(path, *safetensors.encode(tensors, {_KEY: text}))


def load_tensors(
    path: str | os.PathLike[str], need_checksum: bool = False
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The tensors and the metadata (empty for a foreign file); `WeightsError` naming the file if it is damaged."""
    name = str(path)
    data = read_regular_file(path, MAX_FILE, WeightsError)
    tensors, notes = safetensors.decode(data, name)
    if _KEY not in notes and not need_checksum:
        if any(_CHECKSUM in text for text in notes.values()):
            raise WeightsError(f"{name}: metadata: the key `{_KEY}` is damaged")
        return tensors, {}
    metadata = _checked(notes.get(_KEY), tensors, name)
    if not data.startswith(safetensors.header(tensors, notes)):  # damage that changes no value is damage all the same
        raise WeightsError(f"{name}: header: not as graphc writes it: the file is damaged")
    return tensors, metadata


def _checked(note: str | None, tensors: Tensors, name: str) -> dict[str, Any]:
    """The metadata, once format and checksum have been found right."""
    try:
        body = parse_json(note.encode()) if note is not None else None
    except ArtifactError as error:
        raise WeightsError(f"{name}: metadata: {error}") from None
    except UnicodeEncodeError:
        raise WeightsError(f"{name}: metadata: not text") from None
    if not isinstance(body, dict) or sorted(body) != ["format", "metadata", _CHECKSUM]:
        raise WeightsError(f"{name}: metadata: not written by graphc, or damaged")
    if body["format"] != _FORMAT:
        raise WeightsError(f"{name}: metadata: format {str(body['format'])[:20]} is not {_FORMAT}")
    if body.pop(_CHECKSUM) != digest(tensors, body):
        raise WeightsError(f"{name}: checksum: the file is damaged")
    metadata = body["metadata"]
    if not isinstance(metadata, dict):
        raise WeightsError(f"{name}: metadata: expected an object")
    return metadata


def digest(tensors: Tensors, note: Any) -> str:
    """SHA-256 over a JSON-able note and names, dtypes, shapes and bytes of tensors, in the order of the names."""
    sha = hashlib.sha256(canonical(note))
    for name in sorted(tensors):
        array = tensors[name]
        sha.update(canonical([name, array.dtype.name, list(array.shape)]))
        sha.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return sha.hexdigest()


def differences(target: Tensors, source: Tensors) -> list[str]:
    """What keeps `source` from being copied over `target`: names and types, each in words."""
    wrong = [f"missing `{name}`" for name in target if name not in source]
    wrong += [f"unknown `{name[:80]}`" for name in source if name not in target]
    for name in target:
        if name in source and (source[name].dtype != target[name].dtype or source[name].shape != target[name].shape):
            have, want = (f"{one.dtype}{list(one.shape)}" for one in (source[name], target[name]))
            wrong.append(f"`{name}` is {have} in the file, {want} in the model")
    return wrong


def refuse(where: str, wrong: list[str]) -> None:
    """`WeightsError` with the list, if there is anything on it."""
    if wrong:
        raise WeightsError(f"{where} does not fit the model; nothing was loaded:\n  " + "\n  ".join(wrong))


def assign_all(target: Tensors, source: Tensors, where: str) -> None:
    """Copy every tensor of `source` over that of the same name, or list all differences and change nothing."""
    refuse(where, differences(target, source))
    for name, array in target.items():
        array[...] = source[name]
