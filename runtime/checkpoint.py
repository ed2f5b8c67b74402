"""Checkpoints: a folder that holds the last two states of a training run, each one safetensors file.

Files are `checkpoint-000001.safetensors`, counting up. A file holds parameters and states under their paths, slots as
`slot.m/c1.w`, hyper-parameters as `hyper.lr`, the best weights so far as `best.c1.w`, and in its metadata the step, the
seed and the position in the training data. The order of the data is a function of seed and epoch. Restored, training
goes on bit for bit as if never interrupted.
"""

from __future__ import annotations

import contextlib
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from graphc.runtime.durable import sweep
from graphc.runtime.errors import WeightsError
from graphc.runtime.safetensors import Tensors
from graphc.runtime.weights import load_tensors, save_tensors

_NAME = re.compile(r"checkpoint-(\d{6,18})\.safetensors")


def numbered(folder: Path) -> list[tuple[int, Path]]:
    """The checkpoints in `folder` as (number, path), oldest first."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise WeightsError(f"{folder}: {error}") from None
    return sorted((int(match[1]), folder / match[0]) for match in map(_NAME.fullmatch, names) if match)


def write(
    folder: str | os.PathLike[str], tensors: Tensors, metadata: Mapping[str, Any], previous: Path | None = None
) -> Path:
    """Add a checkpoint, and delete all but it and the one before; returns its path.

    The one before is `previous`, known to be whole, if that is in this folder, else the newest there.
    `OSError` leaves the old ones as they were.
    """
    home = Path(folder)
    home.mkdir(parents=True, exist_ok=True)
    before = numbered(home)
    path = home / f"checkpoint-{before[-1][0] + 1 if before else 1:06d}.safetensors"
    save_tensors(path, tensors, metadata)
    olds = [old for _, old in before]
    kept = previous if previous in olds else olds[-1] if olds else None
    for old in olds:
        if old != kept:
            with contextlib.suppress(OSError):  # another process may have been faster
                old.unlink()
    sweep(home)
    return path


def read(folder: str | os.PathLike[str]) -> tuple[dict[str, NDArray[Any]], dict[str, Any], Path]:
    """The newest checkpoint that is whole (a damaged newer one is named in a warning), its metadata and path."""
    home = Path(folder)
    damage: list[str] = []
    for _, path in reversed(numbered(home)):
        try:
            tensors, metadata = load_tensors(path, need_checksum=True)
        except WeightsError as error:
            damage.append(str(error))
            continue
        if damage:
            warnings.warn(f"an older checkpoint is used: {'; '.join(damage)}", RuntimeWarning, stacklevel=3)
        return tensors, metadata, path
    raise WeightsError("; ".join(damage) or f"{home}: no checkpoint there")
