"""Ctrl-C and SIGTERM, noted until an iteration is done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def noted_signals(heed: Callable[[], None]) -> Iterator[list[int]]:
    """A list to which the first SIGINT or SIGTERM is added, for the loop to read; a second one acts at once.

    Args:
        heed: Called when the first comes, in the middle of whatever is done then.

    Local.
    """
    noted: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield noted
        return
    previous: dict[signal.Signals, Any] = {}

    def restore() -> None:
        for one, handler in previous.items():
            signal.signal(one, signal.SIG_DFL if handler is None else handler)

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        restore()
        heed()

    for one in (signal.SIGINT, signal.SIGTERM):
        previous[one] = signal.signal(one, note)
    try:
        yield noted
    finally:
        restore()
