"""One tensor on disk: where it lies, and its rows as numbers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from shoestring._errors import InputError
from shoestring.grow.stored.dtypes import STORAGE, WHOLE, Array, size


@dataclass(frozen=True)
class Stored:
    """One tensor on disk.

    Args:
        path: the file.
        dtype: as safetensors calls it.
        shape: as stored.
        offset: of its first byte in the file.
    """

    path: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int

    @property
    def rows(self) -> int:
        """The number of rows, of the matrix that it is taken as."""
        return prod(self.shape[:-1])

    @property
    def columns(self) -> int:
        """The number of columns."""
        return self.shape[-1] if self.shape else 1

    @property
    def bytes(self) -> int:
        """Its size on disk."""
        return self.rows * self.columns * size(self.dtype)

    def read(self, handle: int, start: int, stop: int) -> Array:
        """Returns rows `start` to `stop`, as stored.

        Args:
            handle: the file, open for reading.
            start: first row.
            stop: the one after the last.

        Raises:
            InputError: the file ends early.
        """
        kind = np.dtype({**STORAGE, **WHOLE}[self.dtype])
        out = np.empty((stop - start, self.columns), kind)
        view, at = out.data.cast("B") if out.size else memoryview(b""), 0
        while at < len(view):
            got = os.preadv(handle, [view[at:]], self.offset + start * self.columns * kind.itemsize + at)
            if not got:
                raise InputError(f"{self.path}: ends early; copy or save it again")
            at += got
        return out
