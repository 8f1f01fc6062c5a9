"""Dropout whose mask is computed and not stored: a hash of (seed, batch, head, query, key) decides each weight.

- The backward pass regenerates it; chunks, back ends and devices agree on it bit for bit.
- The hash is the finaliser of MurmurHash3 (Appleby, public domain), once for a row and once for an element.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Int32
from torch import Tensor

GOLDEN, FIRST, SECOND = -1640531527, -2048144789, -1028477387  # 0x9E3779B9, 0x85EBCA6B, 0xC2B2AE35 as int32


class Dropout(NamedTuple):
    """A rate and the seed that names the mask.

    Args:
        rate: share of the weights set to 0; the others grow by 1 / (1 - rate).
        seed: int32 (1,), on the device of the weights.
    """

    rate: float
    seed: Tensor

    @property
    def threshold(self) -> int:
        """A hash below this drops its weight."""
        return round(self.rate * 2**32) - 2**31

    def factors(self, like: Tensor, row: int = 0, query: int = 0, key: int = 0) -> Tensor:
        """Returns 0 or 1 / (1 - rate) for weights (batch, heads, query, key) that start at those places."""
        keep = self.hashes(like, row, query, key) >= self.threshold
        return keep.to(like.dtype) * (1 / (1 - self.rate))

    def hashes(self, like: Tensor, row: int, query: int, key: int) -> Int32[Tensor, "b h n m"]:
        """Returns the hash of every weight."""
        places = (
            torch.arange(start, start + size, dtype=torch.int32, device=like.device)
            for start, size in zip((row, 0, query, key), like.shape, strict=True)
        )
        batch, heads, queries, keys = places
        state = scrambled(self.seed + batch * GOLDEN)  # (b,)
        state = scrambled(state[:, None] + heads * GOLDEN)
        state = scrambled(state[:, :, None] + queries * GOLDEN)
        return scrambled(state[..., None] + keys * GOLDEN)


def new_seed(device: torch.device) -> Tensor:
    """Draws a seed from torch's generator, so that a repeated forward pass (checkpointing) draws it again."""
    return torch.randint(-(2**31), 2**31, (1,), device=device).to(torch.int32)


def scrambled(x: Int32[Tensor, "*s"]) -> Int32[Tensor, "*s"]:
    """Returns a bijection of 32-bit numbers in which every input bit changes about half of the output bits."""
    x = x ^ (x >> 16 & 0xFFFF)
    x = x * FIRST
    x = x ^ (x >> 13 & 0x7FFFF)
    x = x * SECOND
    return x ^ (x >> 16 & 0xFFFF)
