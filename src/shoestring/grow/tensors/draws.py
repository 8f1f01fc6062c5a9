"""Random numbers that depend on (seed, tensor, stream, row) alone: Philox, a counter-based generator.

Which thread computes a row, how rows are cut into chunks and tensors into shards, whether a run was interrupted:
nothing of it changes a draw (Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3").
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from shoestring.grow.stored.dtypes import Array

_PER_COUNT = 32  # bytes that Philox 4x64 makes of one counter


@dataclass(frozen=True)
class Draws:
    """The draws of one tensor.

    Args:
        seed: of the whole growth.
        name: of the tensor.

    >>> draws = Draws(0, "model.norm.weight")
    >>> bool((draws.bytes(1, 2, 5, 3) == draws.bytes(1, 4, 5, 3)[:0]).all())
    True
    """

    seed: int
    name: str

    def bytes(self, stream: int, start: int, stop: int, width: int) -> Array:
        """Returns (stop - start, width) random bytes: rows `start` to `stop` of a stream."""
        digest = hashlib.blake2b(f"{self.seed}/{stream}/{self.name}".encode(), digest_size=16).digest()
        blocks = -(-width // _PER_COUNT)
        counter = start * blocks
        philox = np.random.Philox(key=int.from_bytes(digest, "little"), counter=counter)
        raw = philox.random_raw((stop - start) * blocks * (_PER_COUNT // 8))
        return raw.view(np.uint8).reshape(stop - start, blocks * _PER_COUNT)[:, :width]

    def normal(self, stream: int, start: int, stop: int, width: int) -> Array:
        """Returns (stop - start, width) numbers of mean 0 and deviation 1: the sum of four bytes, nearly Gaussian."""
        four = self.bytes(stream, start, stop, 4 * width).reshape(stop - start, width, 4)
        return (four.sum(-1, dtype=np.float64) - 510.0) / np.sqrt((256.0**2 - 1) / 3)
