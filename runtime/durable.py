"""Writing a file so that a crash at any moment leaves either the old or the new one, whole."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def write_durably(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path`: a new file in the same folder, fsync, rename over `path`, fsync of the folder.

    `OSError` (disk full, no permission, no such folder) leaves what was at `path` untouched.
    """
    final = Path(path)
    temporary = final.parent / f".graphc-{os.getpid()}-{os.urandom(8).hex()}.tmp"  # short: the name may be near 255
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, final)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_folder(final.parent)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the system has such a thing."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
