"""The batches of a run: example k is a pure function of (seed, k), so resuming replays nothing.

Images are shuffled anew each epoch. Under a Bernoulli likelihood pixels are drawn black or white anew each time they
are seen (dynamic binarisation), with their gray value as probability.

`Feed` hands out the bytes of one step after the other; where a device computes, the next ones are fetched meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

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


class _Steps(Dataset):
    """Item `step` is the bytes of one process's images of a step, (b, c, h, w)."""

    def __init__(self, images: Images, seed: int, batch_size: int, share: range) -> None:
        self.images, self.seed, self.batch_size, self.share = images, seed, batch_size, share

    def __getitem__(self, index: int) -> Tensor:
        start = index * self.batch_size
        chosen = indices(self.seed, start + self.share.start, start + self.share.stop, len(self.images))
        return torch.from_numpy(np.ascontiguousarray(self.images.take(chosen)))


class Feed:
    """Hands out the bytes of the steps of a run.

    Args:
        images: to learn from.
        seed: of their order.
        batch_size: images of a step, over all processes.
        share: which of them are this process's.
        steps: of the run.
        ahead: fetch the next steps in other processes, into memory from which a GPU copies by itself.
    """

    def __init__(
        self, images: Images, seed: int, batch_size: int, share: range, steps: int, *, ahead: bool
    ) -> None:  # fmt: skip
        self.data, self.steps, self.ahead = _Steps(images, seed, batch_size, share), steps, ahead
        self.next, self.coming = -1, iter(())

    def take(self, step: int) -> Tensor:
        """Returns the bytes of a step, (b, c, h, w); quick if it follows the one before."""
        if step != self.next:
            self.coming = self._from(step)
        self.next = step + 1
        return next(self.coming)

    def _from(self, step: int) -> Iterator[Tensor]:
        return iter(
            DataLoader(
                self.data,
                batch_size=None,
                sampler=range(step, self.steps),
                num_workers=2 if self.ahead else 0,
                pin_memory=self.ahead,
            )
        )


def step_seed(seed: int, step: int, rank: int) -> int:
    """Returns the seed of everything random in one step of one process."""
    return int(np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0] >> 1)
