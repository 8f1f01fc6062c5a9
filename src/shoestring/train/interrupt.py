"""Ctrl-C while training: the first ends the step and saves, a second one stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from shoestring._report import interrupt


@contextmanager
def interruptible(stop: Callable[[], None], processes: int = 1) -> Iterator[None]:
    """Calls `stop` at the first Ctrl-C within the block; leaves somebody else's handler alone.

    Several processes cannot agree on the step, so there Ctrl-C leaves the last checkpoint.

    Args:
        stop: asks the loop to end after its step.
        processes: that train together.
    """
    before = signal.getsignal(signal.SIGINT)
    ours = before in (signal.default_int_handler, interrupt)  # nobody else's, not ignored
    if not ours or processes > 1 or threading.current_thread() is not threading.main_thread():
        yield
        return

    def first(*_: object) -> None:
        stop()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
