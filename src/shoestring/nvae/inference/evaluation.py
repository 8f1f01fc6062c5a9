"""How good a model is: bounds on log p(x) in nats and bits per dimension, and where its information lies.

- ELBO: one sample of the posterior.
- Importance-weighted (Burda et al. 2016, arXiv 1509.00519): log mean_k p(x, z_k) / q(z_k | x). The features of an image
  are computed once and its K samples run side by side.
- Every image counts once. Binarisation and noise belong to an image and a sample (`noise.py`), so the ELBO is the same
  for any K, any batches and any number of processes.
- Under `torchrun` or `accelerate launch` the processes share the images, and all of them get the figures.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from accelerate.utils import gather_object
from torch import Tensor, distributed

from shoestring.nvae.images import Images
from shoestring.nvae.inference.noise import latent_noise, prepared_images
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
    rank, world = _place()
    mine, found = range(rank, len(images), world), []
    size = max(1, TOGETHER // samples)
    with (ui or UI(quiet=True)).bar("evaluating", len(mine), "image") as bar:
        for start in range(0, len(mine), size):
            numbers = mine[start : start + size]
            found.append(_measured(model, images, numbers, samples, seed))
            bar.update(len(numbers))
    parts = gather_object(found) if world > 1 else found
    return _summary(model, *(torch.cat(each) for each in zip(*parts, strict=True)), samples=samples)


def _measured(
    model: NVAE, images: Images, numbers: Sequence[int], samples: int, seed: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Returns of each image number, log-likelihood, KL (b, groups); the sum of KL by channel; weighted bounds."""
    device = next(model.parameters()).device
    x = prepared_images(model.config, images, numbers, seed).to(device)
    features = model.ascend(x)
    bound = model(x, features, latent_noise(model.config, seed, numbers, device=device))
    weighted = _weighted(model, x, features, samples, seed, numbers) if samples > 1 else bound.likelihood[:0]
    by_channel = bound.by_channel.transpose(0, 1)
    return (
        torch.tensor(list(numbers)),
        bound.likelihood.cpu(),
        bound.kl.T.cpu(),
        by_channel.cpu().double().sum(0, keepdim=True),
        weighted.cpu(),
    )


@torch.no_grad()
def importance_weighted(
    model: NVAE, x: Tensor, samples: int, seed: int = 0, numbers: Sequence[int] | None = None
) -> Tensor:
    """Returns the importance-weighted bound of every image (b,), in nats.

    Args:
        model: in evaluation mode.
        x: images as the model wants them.
        samples: K.
        seed: of the latents.
        numbers: of the images in their set; by default 0, 1, ...
    """
    return _weighted(model, x, model.ascend(x), samples, seed, range(len(x)) if numbers is None else numbers)


def _weighted(
    model: NVAE, x: Tensor, features: Sequence[Tensor], samples: int, seed: int, numbers: Sequence[int]
) -> Tensor:
    weights, chunk = [], max(1, TOGETHER // len(x))
    for start in range(0, samples, chunk):
        some = range(start, min(start + chunk, samples))
        noise = latent_noise(model.config, seed, numbers, some, x.device)
        many = [each.repeat_interleave(len(some), 0) for each in features]
        bound: Bound = model(x.repeat_interleave(len(some), 0), many, noise)
        weights.append(bound.log_weight.unflatten(0, (len(x), len(some))))
    return torch.logsumexp(torch.cat(weights, 1).cpu().double(), 1) - math.log(samples)


def prepared_batches(model: NVAE, images: Images, size: int, seed: int) -> Iterator[Tensor]:
    """Yields all images in order as the model wants them; see `noise.prepared_images`."""
    device = next(model.parameters()).device
    for start in range(0, len(images), size):
        numbers = range(start, min(start + size, len(images)))
        yield prepared_images(model.config, images, numbers, seed).to(device)


def _place() -> tuple[int, int]:
    """Returns this process's number and how many there are."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def _summary(
    model: NVAE, numbers: Tensor, likelihood: Tensor, kl: Tensor, by_channel: Tensor, weighted: Tensor, *, samples: int
) -> Evaluation:  # fmt: skip
    order, count = numbers.argsort(), len(numbers)  # one sum, whoever has measured what
    per_group = kl[order].double().mean(0)
    reconstruction = -likelihood[order].double().mean().item()
    elbo = -reconstruction - per_group.sum().item()
    better = weighted[order].mean().item() if samples > 1 else None
    return Evaluation(
        images=count,
        elbo=elbo,
        reconstruction=reconstruction,
        kl=per_group.sum().item(),
        kl_per_group=tuple(per_group.tolist()),
        active=int((by_channel.sum(0) / count > ACTIVE).sum()),
        latents=by_channel[0].numel(),
        importance_weighted=better,
        samples=samples,
        bits_per_dimension=-(elbo if better is None else better) / math.log(2) / model.config.dimensions,
    )
