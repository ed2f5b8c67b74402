"""Writing a file so that a crash at any moment leaves either the old or the new one, whole."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path


def write_durably(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path`: a new file in the same folder, fsync, rename over `path`, fsync of the folder.

    `OSError` (disk full, no permission, no such folder) names `path` and leaves what was there untouched. A device
    (`/dev/null`) is written to and stays what it is; a folder or pipe is refused.
    """
    final = Path(path)
    try:
        if final.exists() and not final.is_file():
            _write_to_device(final, data)
        else:
            _replace(final, data)
            _sync_folder(final.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fspath(path)) from None  # not the name of the temporary file


def _replace(final: Path, data: bytes) -> None:
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


def _write_to_device(path: Path, data: bytes) -> None:
    """A rename would put a file in the device's place, and root may do so."""
    if path.is_dir():
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not path.is_char_device():
        raise OSError(errno.EINVAL, "neither a regular file nor a device")
    with path.open("wb", buffering=0) as device:
        device.write(data)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the system has such a thing."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
