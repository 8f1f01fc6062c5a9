"""Files that only their owner may read, written whole or not at all."""

from __future__ import annotations

import os


def write_private(path: str, data: bytes, sync: bool = False) -> None:
    """Writes a file of mode 0600 beside its place and renames it into it; a failure leaves what was there.

    Args:
        path: of the file.
        data: its bytes.
        sync: wait until the disk has them.

    Raises:
        OSError: it cannot be written; the error names the file.
    """
    beside = f"{path}.{os.getpid()}"
    remove(beside)  # of an earlier process of that number
    number = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        try:
            with open(number, "wb") as file:
                file.write(data)
                file.flush()
                if sync:
                    os.fsync(number)
            os.replace(beside, path)
        except OSError as error:
            raise OSError(error.errno, os.strerror(error.errno or 0), path) from None
    finally:
        remove(beside)


def remove(path: str) -> None:
    """Removes a file, if it is there. (`contextlib.suppress` would take 0.1 MB of the router's memory.)"""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
