"""One growth at a time into one folder: a lock beside it, which the system lets go of when its process ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shoestring._errors import OutputError


@contextmanager
def alone(target: Path) -> Iterator[None]:
    """Holds the lock of a target; nothing of it is left afterwards.

    Raises:
        OutputError: another process holds it.
    """
    path = target.with_name(f".{target.name}.growing.lock")
    try:
        handle = _locked(path)
    except BlockingIOError:
        raise OutputError(
            f"{target}: another growth into it is running; wait for it, or choose another folder"
        ) from None
    except OSError as error:
        raise OutputError(f"{target}: cannot be written: {error.strerror}") from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # before the lock goes: who comes next makes a file of its own
        os.close(handle)


def _locked(path: Path) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(handle).st_nlink:
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # another process had just finished and taken the file away
