"""The batches of a run: example k is a pure function of (seed, k), so resuming replays nothing.

Images are shuffled anew each epoch. Under a Bernoulli likelihood pixels are drawn black or white anew each time they
are seen (dynamic binarisation), with their gray value as probability.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from shoestring.nvae.images import Images
from shoestring.nvae.model.configuration import NVAEConfig
from shoestring.nvae.model.likelihoods import quantised


def indices(seed: int, start: int, stop: int, count: int) -> np.ndarray:
    """Returns which of `count` images the examples from `start` to `stop` of a run are.

    >>> sorted(indices(0, 5, 10, 5).tolist())
    [0, 1, 2, 3, 4]
    """
    examples = np.arange(start, stop)
    return np.array([_order(seed, int(k) // count, count)[k % count] for k in examples], dtype=np.int64)


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(count)


def tensor(images: Images, chosen: np.ndarray) -> Tensor:
    """Returns images in [0, 1], (b, c, h, w)."""
    return torch.from_numpy(np.ascontiguousarray(images.take(chosen))).float() / 255


def prepared(x: Tensor, config: NVAEConfig, *, flip: bool = False) -> Tensor:
    """Returns images binarised or quantised as the model wants them, mirrored at random if asked."""
    if flip:
        x = torch.where(torch.rand(len(x), 1, 1, 1, device=x.device) < 0.5, x.flip(3), x)
    return torch.bernoulli(x) if config.likelihood == "bernoulli" else quantised(x, config)


def step_seed(seed: int, step: int, rank: int) -> int:
    """Returns the seed of everything random in one step of one process."""
    return int(np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0] >> 1)
