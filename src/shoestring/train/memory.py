"""What the C library does with freed memory, where it is glibc; elsewhere these do nothing. See mallopt(3).

By itself it gives large pieces back to the system and keeps smaller ones, which suits neither training, where each
step needs again what the step before has freed, nor loading a model, where temporaries lie between what stays.
"""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

_MMAP_THRESHOLD, _TRIM_THRESHOLD, _TOP_PAD = -3, -1, -2


def keep_freed() -> None:
    """Keeps freed memory for the next step, so that its pages are not faulted in again.

    The setting is the process's and remains.
    """
    _set({_MMAP_THRESHOLD: 32 << 20, _TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 64 << 20})


@contextmanager
def giving_back() -> Iterator[None]:
    """Gives back what a block of code frees.

    The setting is the process's and remains.
    """
    libc = _set({_MMAP_THRESHOLD: 1 << 20, _TRIM_THRESHOLD: 1 << 24, _TOP_PAD: 1 << 17})
    yield
    gc.collect()
    if libc is not None:
        libc.malloc_trim(0)


def _set(options: dict[int, int]) -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None) if os.name == "posix" else None
    if not hasattr(libc, "mallopt"):
        return None
    for option, value in options.items():
        libc.mallopt(option, value)
    return libc
