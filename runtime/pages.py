"""Memory that can be made executable: written first, then made read-only or executable, never both at once."""

from __future__ import annotations

import ctypes
import mmap
import os
from functools import cache
from typing import Any

from graphc.runtime.errors import ArtifactError

PAGE = mmap.PAGESIZE


class Pages:
    """Private zeroed pages, given back when this object dies. `buffer` is for writing, before `protect`."""

    def __init__(self, size: int) -> None:
        if not hasattr(mmap, "MAP_ANONYMOUS"):  # Windows
            raise ArtifactError("this system has no memory mapping as POSIX defines it, so no native code can be run")
        flags, mode = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ | mmap.PROT_WRITE
        try:
            self.buffer = mmap.mmap(-1, size, flags=flags, prot=mode)
        except (OSError, ValueError) as error:
            raise ArtifactError(f"no memory for {size:,} bytes of code: {error}") from None
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.buffer))

    def protect(self, start: int, end: int, executable: bool) -> None:
        """Make the pages that hold bytes [start, end) read-only, and executable if asked for."""
        low, high = start // PAGE * PAGE, -(-end // PAGE) * PAGE
        mode = mmap.PROT_READ | (mmap.PROT_EXEC if executable else 0)
        if _mprotect()(self.address + low, high - low, mode) != 0:
            raise ArtifactError(f"the system makes no memory executable: {os.strerror(ctypes.get_errno())}")


@cache
def _mprotect() -> Any:
    function = ctypes.CDLL(None, use_errno=True).mprotect
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return function
