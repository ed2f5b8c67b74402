"""Writing a file so that a crash at any moment leaves either the old or the new one, whole."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Sequence
from pathlib import Path

_TEMPORARY = re.compile(r"\.graphc-(\d{1,9})-[0-9a-f]+\.tmp")


def write_durably(path: str | os.PathLike[str], *pieces: bytes | memoryview) -> None:
    """Write `pieces` to `path`: a new file in the same folder, fsync, rename over `path`, fsync of the folder.

    `OSError` (disk full, no permission, no such folder) names `path` and leaves what was there untouched. A device
    (`/dev/null`) is written to and stays what it is; a folder or pipe is refused.
    """
    final = Path(path)
    try:
        if final.exists() and not final.is_file():
            _write_to_device(final, pieces)
        else:
            _replace(final, pieces)
            _sync_folder(final.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fspath(path)) from None  # not the name of the temporary file


def _replace(final: Path, pieces: Sequence[bytes | memoryview]) -> None:
    temporary = final.parent / f".graphc-{os.getpid()}-{os.urandom(8).hex()}.tmp"  # short: the name may be near 255
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, final)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _write_to_device(path: Path, pieces: Sequence[bytes | memoryview]) -> None:
    """A rename would put a file in the device's place, and root may do so."""
    if path.is_dir():
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not path.is_char_device():
        raise OSError(errno.EINVAL, "neither a regular file nor a device")
    with path.open("wb", buffering=0) as device:
        for piece in pieces:
            device.write(piece)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the system has such a thing."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(folder: str | os.PathLike[str]) -> None:
    """Delete the temporary files of processes that died while they wrote to `folder`."""
    home = Path(folder)
    for name in os.listdir(home):
        match = _TEMPORARY.fullmatch(name)
        if match and int(match[1]) != os.getpid() and not _is_alive(int(match[1])):
            with contextlib.suppress(OSError):
                (home / name).unlink()


def _is_alive(process: int) -> bool:
    if os.name != "posix":  # signal 0 is not a question there
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True
