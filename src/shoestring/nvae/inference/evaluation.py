"""How good a model is: bounds on log p(x) in nats and bits per dimension, and where its information lies.

- ELBO: one sample of the posterior.
- Importance-weighted (Burda et al. 2016, arXiv 1509.00519): log mean_k p(x, z_k) / q(z_k | x). The features of an image
  are computed once and its K samples run side by side.
- Every image counts once, whatever the batches are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shoestring.nvae.batches import prepared, step_seed, tensor
from shoestring.nvae.images import Images
from shoestring.nvae.model.modeling import NVAE, Bound
from shoestring.ui import UI

ACTIVE = 0.01  # nats per image from which a latent channel says something
TOGETHER = 256  # images times samples in one pass


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found; nats per image.

    Args:
        images: how many.
        elbo: the evidence lower bound.
        reconstruction: -log p(x | z).
        kl: KL divergence, all groups.
        kl_per_group: the same for each, coarsest first.
        active: latent channels with more than 0.01 nats.
        latents: latent channels.
        importance_weighted: the bound by `samples` samples, or None.
        samples: K.
        bits_per_dimension: of the better bound.
    """

    images: int
    elbo: float
    reconstruction: float
    kl: float
    kl_per_group: tuple[float, ...]
    active: int
    latents: int
    importance_weighted: float | None
    samples: int
    bits_per_dimension: float


@torch.no_grad()
def evaluate(
    model: NVAE, images: Images, *, samples: int = 1, seed: int = 0, ui: UI | None = None
) -> Evaluation:
    """Returns the bounds over a set of images.

    Args:
        model: put into evaluation mode.
        images: each counts once.
        samples: of the importance-weighted bound; 1 leaves it out.
        seed: of binarisation and latents; the same seed gives the same figures.
        ui: shows progress.
    """
    model.eval()
    likelihood, kl, channels, weighted = [], [], [], []
    with (
        torch.random.fork_rng(devices=[]),
        (ui or UI(quiet=True)).bar("evaluating", len(images), "image") as bar,
    ):
        for x in prepared_batches(model, images, max(1, TOGETHER // samples), seed):
            bound = model(x)
            likelihood.append(bound.likelihood)
            kl.append(bound.kl)
            channels.append(bound.by_channel.sum(1))
            if samples > 1:
                weighted.append(importance_weighted(model, x, samples))
            bar.update(len(x))
    return _summary(
        model, torch.cat(likelihood), torch.cat(kl, 1), torch.stack(channels).sum(0), weighted, samples
    )


@torch.no_grad()
def importance_weighted(model: NVAE, x: Tensor, samples: int) -> Tensor:
    """Returns the importance-weighted bound of every image (b,), in nats."""
    features = model.ascend(x)
    weights = []
    for chunk in _chunks(samples, max(1, TOGETHER // len(x))):
        many = [each.repeat_interleave(chunk, 0) for each in features]
        bound: Bound = model(x.repeat_interleave(chunk, 0), many)
        weights.append(bound.log_weight.unflatten(0, (len(x), chunk)))
    return torch.logsumexp(torch.cat(weights, 1).double(), 1) - math.log(samples)


def prepared_batches(model: NVAE, images: Images, size: int, seed: int) -> Iterator[Tensor]:
    """Yields all images in order, each batch under a seed of its own."""
    device = next(model.parameters()).device
    for start in range(0, len(images), size):
        torch.manual_seed(step_seed(seed, start, 0))
        chosen = np.arange(start, min(start + size, len(images)))
        yield prepared(tensor(images, chosen), model.config).to(device)


def _chunks(total: int, size: int) -> list[int]:
    return [min(size, total - start) for start in range(0, total, size)]


def _summary(
    model: NVAE, likelihood: Tensor, kl: Tensor, by_channel: Tensor, weighted: list[Tensor], samples: int
) -> Evaluation:
    count = likelihood.shape[0]
    per_group = kl.double().mean(1)
    reconstruction = -likelihood.double().mean().item()
    elbo = -reconstruction - per_group.sum().item()
    better = torch.cat(weighted).mean().item() if weighted else None
    return Evaluation(
        images=count,
        elbo=elbo,
        reconstruction=reconstruction,
        kl=per_group.sum().item(),
        kl_per_group=tuple(per_group.tolist()),
        active=int((by_channel / count > ACTIVE).sum()),
        latents=by_channel.numel(),
        importance_weighted=better,
        samples=samples,
        bits_per_dimension=-(elbo if better is None else better) / math.log(2) / model.config.dimensions,
    )
