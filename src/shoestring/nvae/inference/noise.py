"""Randomness that belongs to an image, not to a batch: what is drawn for image i, sample k follows from (seed, i, k).

So figures and pictures are the same however images are cut into batches, shared over processes, or counted. Philox is a
counter-based generator (Salmon et al. 2011): any (key, counter) is a stream of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from shoestring.nvae.batches import tensor
from shoestring.nvae.images import Images
from shoestring.nvae.model.configuration import NVAEConfig
from shoestring.nvae.model.likelihoods import quantised

LATENTS, PIXELS = 0, 1  # streams of an image


def latent_noise(
    config: NVAEConfig, seed: int, images: Sequence[int], samples: Sequence[int] = (0,),
    device: torch.device | str = "cpu",
) -> list[Tensor]:  # fmt: skip
    """Returns standard Normal numbers for every group, (images times samples, l, h, w); an image's samples in a row.

    Args:
        config: whose latents.
        seed: of all.
        images: their numbers in their set.
        samples: the numbers of the samples of each.
        device: where they go.

    >>> from shoestring.nvae import preset
    >>> whole, part = (latent_noise(preset("digits"), 0, numbers)[0] for numbers in ([4, 5, 6], [5]))
    >>> torch.equal(whole[1:2], part)
    True
    """
    sizes = [int(np.prod(shape)) for shape in config.latent_shapes]
    rows = np.empty((len(images) * len(samples), sum(sizes)), np.float32)
    streams = [(image, sample) for image in images for sample in samples]
    for row, (image, sample) in zip(rows, streams, strict=True):
        _stream(seed, image, sample, LATENTS).standard_normal(out=row, dtype=np.float32)
    groups = torch.from_numpy(rows).to(device).split(sizes, 1)
    return [group.unflatten(1, shape) for group, shape in zip(groups, config.latent_shapes, strict=True)]


def prepared_images(config: NVAEConfig, images: Images, numbers: Sequence[int], seed: int) -> Tensor:
    """Returns images of a set as a model wants them, (b, c, h, w); binarisation follows from (seed, number)."""
    x = tensor(images, np.asarray(numbers))
    if config.likelihood != "bernoulli":
        return quantised(x, config)
    drawn = [_stream(seed, number, 0, PIXELS).random(x[0].shape, np.float32) for number in numbers]
    return (torch.from_numpy(np.stack(drawn)) < x).float()


def _stream(seed: int, image: int, sample: int, kind: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[seed, image], counter=[0, 0, sample, kind]))
