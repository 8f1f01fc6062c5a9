"""Ctrl-C while training: the first ends the step and saves, a second one stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def interruptible(stop: Callable[[], None], processes: int = 1) -> Iterator[None]:
    """Calls `stop` at the first Ctrl-C within the block; leaves somebody else's handler alone.

    Several processes cannot agree on the step, so there Ctrl-C leaves the last checkpoint.

    Args:
        stop: asks the loop to end after its step.
        processes: that train together.
    """
    ours = threading.current_thread() is threading.main_thread()
    ours = (
        ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )  # nobody else's, not ignored
    if not ours or processes > 1:
        yield
        return

    def first(*_: object) -> None:
        stop()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
