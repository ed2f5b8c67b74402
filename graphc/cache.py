"""Compiled models kept on disk between processes, by a key that decides every byte of them (graphc/cache_key.py).

    $GRAPHC_CACHE_DIR, else `graphc` in the user's cache folder
        KEY.gca                     an artifact as `Artifact.to_bytes` writes it, which ends in its checksum
        KEY.lalr                    tables of the parser (graphc/frontend/tables.py), with a checksum
        KEY.o                       what all artifacts have in common (graphc/support.py), with a checksum
        .graphc-PID-RANDOM.tmp      one that is being written

An artifact is a program, so folder and file are used only if they are this user's and nobody else may write to them; a
folder that is not is named in a warning. Files appear by renaming, whole; their checksum shows damage by a crash of the
system, so none is forced to the disk. Whatever the file system refuses (a full disk, a folder that is read-only) means
that nothing is kept, never that a model cannot be compiled. GRAPHC_CACHE=0 keeps and looks up nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

from graphc.runtime.durable import sweep
from graphc.runtime.errors import OptionError, shown

SWITCH, FOLDER = "GRAPHC_CACHE", "GRAPHC_CACHE_DIR"
_DIGEST = 32
LIMIT = 512 << 20  # bytes of all entries; the ones not used for longest make room


def user_cache() -> Cache | None:
    """The cache that the environment asks for; None if it is switched off, or this system has no owners of files.

    Raises OptionError if GRAPHC_CACHE is neither 0 nor 1.
    """
    switch = os.environ.get(SWITCH, "")
    if switch not in ("", "0", "1"):
        raise OptionError(f"{SWITCH} must be 0 (off) or 1, not {shown(switch)}")
    if switch == "0" or os.name != "posix":
        return None
    folder = os.environ.get(FOLDER)
    if folder:
        return Cache(Path(folder))
    try:
        return Cache(_user_folder() / "graphc")
    except RuntimeError:  # a user without a home
        return None


def _user_folder() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    given = os.environ.get("XDG_CACHE_HOME", "")
    return Path(given) if os.path.isabs(given) else Path.home() / ".cache"


class Cache:
    """A folder of entries of at most `limit` bytes in all. Any number of processes may use it at once.

    An entry's name must not begin with a dot.
    """

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        self.folder, self.limit = folder, limit

    def read(self, name: str) -> bytes | None:
        """The entry, which may be damaged: the caller checks it. None if there is none, or it is not to be trusted."""
        with contextlib.suppress(OSError), self._opened() as folder:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            with os.fdopen(os.open(name, flags, dir_fd=folder), "rb") as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode) or not _is_ours_alone(status) or status.st_size > self.limit:
                    return None
                data = file.read(status.st_size)
                with contextlib.suppress(OSError):
                    os.utime(file.fileno())  # the entries used last stay
                return data
        return None

    def write(self, name: str, data: bytes) -> None:
        """Keep an entry, in place of one that may be there; throw away what has not been used for longest."""
        if len(data) > self.limit:
            return
        with contextlib.suppress(OSError):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._opened() as folder:
                _replace(folder, name, data)
                self._trim(folder)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        """A descriptor of the folder: what is checked is what is used. OSError if it is not to be used."""
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if not _is_ours_alone(os.fstat(descriptor)):
                why = "it must be yours, and nobody else may write to it (chmod 700)"
                warnings.warn(f"{self.folder} is not used as a cache: {why}", RuntimeWarning, stacklevel=6)
                raise PermissionError(why)
            yield descriptor
        finally:
            os.close(descriptor)

    def _trim(self, folder: int) -> None:
        """Delete the entries used longest ago until the others fit, and files of writers that died."""
        found = []
        with os.scandir(folder) as files:
            for one in files:
                if not one.name.startswith("."):
                    status = one.stat(follow_symlinks=False)
                    found.append((status.st_mtime_ns, one.name, status.st_size))
        total = sum(size for _, _, size in found)
        for _, name, size in sorted(found):
            if total <= self.limit:
                break
            with contextlib.suppress(FileNotFoundError):  # another process may have been faster
                os.unlink(name, dir_fd=folder)
            total -= size
        sweep(self.folder)


def sealed(data: bytes) -> bytes:
    """The data behind their checksum, for an entry that has none of its own."""
    return hashlib.sha256(data).digest() + data


def unsealed(entry: bytes) -> bytes | None:
    """The data of `sealed`; None if they are damaged."""
    digest, data = entry[:_DIGEST], entry[_DIGEST:]
    return data if hashlib.sha256(data).digest() == digest else None


def _is_ours_alone(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _replace(folder: int, name: str, data: bytes) -> None:
    temporary = f".graphc-{os.getpid()}-{os.urandom(8).hex()}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600, dir_fd=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise
