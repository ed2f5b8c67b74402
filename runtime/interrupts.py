"""Ctrl-C that is not lost: Python discards a KeyboardInterrupt that falls into a finaliser or a weakref's callback."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Interrupts:
    """While it is entered, SIGINT raises KeyboardInterrupt as ever, and `check` raises it again if it was discarded.

    A handler of the program's own is left alone, and so is any thread but the main one.
    """

    def __init__(self) -> None:
        self._heard = False
        self._before: Any = None

    def __enter__(self) -> Interrupts:
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._before = signal.signal(signal.SIGINT, self._hear)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._heard = True
        raise KeyboardInterrupt

    def check(self) -> None:
        """KeyboardInterrupt if there has been a SIGINT."""
        if self._heard:
            raise KeyboardInterrupt
