"""Images that a model draws, in batches of bounded memory; image i of a seed is the same in any number of images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from shoestring.nvae.batches import step_seed
from shoestring.nvae.inference.noise import latent_noise
from shoestring.nvae.model.likelihoods import mean_image, published_image, sample_image
from shoestring.nvae.model.modeling import NVAE

TOGETHER = 64  # images in one pass
PIXELS = ("expected", "published", "drawn")


@torch.no_grad()
def draw(
    model: NVAE, count: int, temperature: float | Sequence[float] = 1.0, *, seed: int = 0, pixels: str = "expected",
    given: Sequence[Tensor] = (), first: int = 0,
) -> Iterator[Tensor]:  # fmt: skip
    """Yields batches of images in [0, 1], (b, c, h, w).

    Args:
        model: in evaluation mode.
        count: of images.
        temperature: of the priors; as for `NVAE.sample_head`.
        seed: of latents and pixels.
        pixels: `expected` (the mean of the likelihood), `published` (what published pictures and distances show in its
            place) or `drawn` (a sample of the likelihood).
        given: latents of the first groups, coarsest first; image i has those of row i modulo their number.
        first: the number of the first image.
    """
    config, device = model.config, next(model.parameters()).device
    for start in range(first, first + count, TOGETHER):
        numbers = range(start, min(start + TOGETHER, first + count))
        noise = latent_noise(config, seed, numbers, device=device)
        if given:
            rows = torch.tensor([number % len(given[0]) for number in numbers])
            head = model.decode([group[rows].to(device) for group in given], temperature, noise)
        else:
            head = model.sample_head(len(numbers), temperature, noise)
        yield shown(model, head, pixels, seed, numbers)


def shown(model: NVAE, head: Tensor, pixels: str, seed: int, numbers: Sequence[int]) -> Tensor:
    """Returns images of the head's numbers; drawn ones follow from (seed, number)."""
    if pixels != "drawn":
        show: Callable = {"expected": mean_image, "published": published_image}[pixels]
        return show(head, model.config)
    images = []
    with torch.random.fork_rng():
        for number, one in zip(numbers, head.split(1), strict=True):
            torch.manual_seed(step_seed(seed, number, 0))
            images.append(sample_image(one, model.config))
    return torch.cat(images)
