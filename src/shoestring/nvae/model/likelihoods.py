"""How likely an image is under the numbers that the decoder's head puts out, and images from those numbers.

- Bernoulli for binarised images.
- A mixture of discretised logistics for gray and RGB at 1 to 8 bits (Salimans et al. 2017, arXiv 1701.05517); green
  depends on red, blue on both. A bin's mass is (1 - exp(a - b)) sigmoid(b) sigmoid(-a): exact in logarithms, so
  there is no threshold and no approximation, and the masses of all values sum to 1. `bins="published"` computes what
  published figures were computed by: open tails from 0.999 down and 0.99 up (at 8 bits 254 is in the upper one), and
  density times width where the mass is below 1e-5.
- Normal: a density, for images that are not discrete.

Images are in [0, 1]; log-likelihoods are nats, summed over an image, computed in fp32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid, softplus

from shoestring.nvae.model.configuration import NVAEConfig
from shoestring.nvae.model.normal import Normal, precise

Head = Float[Tensor, "batch head height width"]
Image = Float[Tensor, "batch channels height width"]
LEAST_LOG_SCALE = -7.0
IN_DOUBT = 8  # levels around the centre of a logistic that is narrower than a bin
ENUMERATED, NODES = 8, 10  # levels up to which each is a node of a quadrature; nodes of a finer one


def quantised(x: Image, config: NVAEConfig) -> Image:
    """Returns the images with the values that the likelihood knows: k / (2**bits - 1) under `logistic`."""
    if config.likelihood != "logistic" or config.bits == 8:
        return x
    levels = 2**config.bits
    return torch.floor(x * 255 / 2 ** (8 - config.bits) + 1e-3) / (levels - 1)


def log_likelihood(head: Head, x: Image, config: NVAEConfig) -> Float[Tensor, " batch"]:
    """Returns log p(x | z) of every image in nats."""
    head = precise(head)
    if config.likelihood == "bernoulli":
        return -binary_cross_entropy_with_logits(head, x, reduction="none").flatten(1).sum(1)
    if config.likelihood == "normal":
        return _normal(head).log_prob(2 * x - 1).flatten(1).sum(1)
    return _mixture_log_prob(head, 2 * x - 1, config).flatten(1).sum(1)


def mean_image(head: Head, config: NVAEConfig) -> Image:
    """Returns the expected image: of every pixel sum x p(x | z).

    Exact for one colour; in RGB at over 3 bits green and blue are by quadrature, to about 0.005.
    """
    head = precise(head)
    if config.likelihood == "bernoulli":
        return torch.sigmoid(head)
    if config.likelihood == "normal":
        return _to_unit(_normal(head).mean)
    logits, means, log_scales, couplings = _mixture(head, config)
    if couplings is None:
        expected = _discrete_mean(means, log_scales, config)
    else:
        expected = _coupled_mean(means, log_scales, couplings, config)
    return _to_unit((logits.softmax(1).unsqueeze(2) * expected).sum(1))


def published_image(head: Head, config: NVAEConfig) -> Image:
    """Returns what published pictures and distances (FID) were made of, in place of the expected image.

    Of a mixture: means and couplings are averaged over its logistics first, then each colour follows from those before
    it, cut to the range. It is not the expectation: couplings of one logistic meet means of another.
    """
    if config.likelihood != "logistic":
        return mean_image(head, config)
    logits, means, _, couplings = _mixture(precise(head), config)
    weights = logits.softmax(1).unsqueeze(2)
    average = (weights * means).sum(1, keepdim=True)
    if couplings is None:
        return _to_unit(average.squeeze(1))
    mixed = (weights * couplings).sum(1, keepdim=True)
    return _to_unit(_chain(average, mixed, lambda value: value.clamp(-1, 1)).squeeze(1))


def sample_image(head: Head, config: NVAEConfig, temperature: float = 1.0) -> Image:
    """Returns images drawn pixel by pixel; the temperature multiplies the spread, 0 gives the most likely centre."""
    head = precise(head).contiguous()  # the same draws for either memory format
    if config.likelihood == "bernoulli":
        if temperature == 0:
            return (head > 0).float()
        return torch.bernoulli(torch.sigmoid(head / temperature))
    if config.likelihood == "normal":
        return _to_unit(_normal(head).tempered(temperature).sample())
    return _sample_mixture(head, config, temperature)


def _discrete_mean(means: Tensor, log_scales: Tensor, config: NVAEConfig) -> Tensor:
    """Returns the mean of a logistic that is rounded to the levels from -1 to 1: -1 + 2 half sum_k P(x >= level k).

    Of few levels all are summed. Of many, where the logistic is wider than a bin, the sum is an integral (Euler and
    Maclaurin: with the slopes at its ends); where it is narrower, only the levels around its centre are in doubt.
    """
    bins, half = 2**config.bits - 1, 1 / (2**config.bits - 1)
    scales, doubt = torch.exp(log_scales), min(IN_DOUBT, bins)
    first = (torch.floor((means + 1) / (2 * half)) - doubt // 2 + 1).clamp(1, bins - doubt + 1)
    narrow = first - 1
    for offset in range(doubt):
        narrow = narrow + torch.sigmoid((means - (half * (2 * (first + offset) - 1) - 1)) / scales)
    if bins == doubt:
        return -1 + 2 * half * narrow
    upper, lower = (means + 1) / scales, (means - 1) / scales
    slopes = (
        torch.sigmoid(upper) * torch.sigmoid(-upper) - torch.sigmoid(lower) * torch.sigmoid(-lower)
    ) / scales
    wide = scales * (softplus(upper) - softplus(lower)) - half * half / 6 * slopes
    return -1 + torch.where(scales > half, wide, 2 * half * narrow)


def _coupled_mean(means: Tensor, log_scales: Tensor, couplings: Tensor, config: NVAEConfig) -> Tensor:
    """Returns the means of red, green and blue (b, m, 3, h, w), each over what the colours before it may be."""
    red = _discrete_mean(means[:, :, 0], log_scales[:, :, 0], config)
    green, blue = torch.zeros_like(red), torch.zeros_like(red)
    for r, of_red in _nodes(means[:, :, 0], log_scales[:, :, 0], config):
        centre = means[:, :, 1] + couplings[:, :, 0] * r
        green = green + of_red * _discrete_mean(centre, log_scales[:, :, 1], config)
        for g, of_green in _nodes(centre, log_scales[:, :, 1], config):
            last = means[:, :, 2] + couplings[:, :, 1] * r + couplings[:, :, 2] * g
            blue = blue + of_red * of_green * _discrete_mean(last, log_scales[:, :, 2], config)
    return torch.stack([red, green, blue], dim=2)


def _nodes(means: Tensor, log_scales: Tensor, config: NVAEConfig) -> Iterator[tuple[Tensor, Tensor | float]]:
    """Yields values that a rounded logistic may have, and their weights: all, or Gauss-Legendre's in its quantiles."""
    scales, levels = torch.exp(log_scales), 2**config.bits
    if levels <= ENUMERATED:
        below = torch.zeros_like(means)
        for level in range(levels):
            value = 2 * level / (levels - 1) - 1
            edge = torch.sigmoid((value + 1 / (levels - 1) - means) / scales)
            upto = edge if level < levels - 1 else torch.ones_like(edge)
            yield torch.full_like(means, value), upto - below
            below = upto
        return
    for place, weight in zip(*np.polynomial.legendre.leggauss(NODES), strict=True):
        quantile = means + scales * math.log((1 + place) / (1 - place))
        yield _settled(quantile, levels - 1), weight / 2


def _settled(values: Tensor, bins: int) -> Tensor:
    """Returns the nearest levels, in [-1, 1]."""
    return 2 * torch.round(_to_unit(values) * bins) / bins - 1


def _to_unit(x: Tensor) -> Tensor:
    return ((x + 1) / 2).clamp(0, 1)


def _normal(head: Tensor) -> Normal:
    mean, log_deviation = head.chunk(2, dim=1)
    return Normal.from_raw(mean, log_deviation)


def _mixture(head: Tensor, config: NVAEConfig) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Returns logits (b, m, h, w); means and log-scales (b, m, c, h, w); couplings (b, m, 3, h, w) for RGB."""
    count, channels = config.mixtures, config.in_channels
    logits, rest = head[:, :count], head[:, count:]
    rest = rest.unflatten(1, (count, -1))  # (b, m, 2c or 2c + 3, h, w)
    means, log_scales = rest[:, :, :channels], rest[:, :, channels : 2 * channels].clamp(min=LEAST_LOG_SCALE)
    couplings = torch.tanh(rest[:, :, 2 * channels :]) if channels == 3 else None
    return logits, means, log_scales, couplings


def _conditioned(means: Tensor, couplings: Tensor, x: Tensor) -> Tensor:
    """Returns the means of green and blue given the channels before them; x is (b, 1, 3, h, w)."""
    red, green = x[:, :, 0], x[:, :, 1]
    return torch.stack(
        [
            means[:, :, 0],
            means[:, :, 1] + couplings[:, :, 0] * red,
            means[:, :, 2] + couplings[:, :, 1] * red + couplings[:, :, 2] * green,
        ],
        dim=2,
    )


def _chain(values: Tensor, couplings: Tensor, settle: Callable[[Tensor], Tensor]) -> Tensor:
    """Returns red, then green given it, then blue given both, each settled before the next."""
    red = settle(values[:, :, 0])
    green = settle(values[:, :, 1] + couplings[:, :, 0] * red)
    blue = settle(values[:, :, 2] + couplings[:, :, 1] * red + couplings[:, :, 2] * green)
    return torch.stack([red, green, blue], dim=2)


def _mixture_log_prob(head: Tensor, x: Tensor, config: NVAEConfig) -> Tensor:
    """Returns log-probabilities per pixel, (b, h, w); x is in [-1, 1]."""
    logits, means, log_scales, couplings = _mixture(head, config)
    x = x.unsqueeze(1)  # (b, 1, c, h, w)
    if couplings is not None:
        means = _conditioned(means, couplings, x)
    half = 1 / (2**config.bits - 1)
    sharpness = torch.exp(-log_scales)
    above, below = (x - means + half) * sharpness, (x - means - half) * sharpness
    width = torch.log(-torch.expm1(-2 * half * sharpness))
    inner = logsigmoid(above) + logsigmoid(-below) + width
    if config.bins == "published":
        return torch.logsumexp(
            _published_bins(x, means, log_scales, half).sum(2) + logits.log_softmax(1), dim=1
        )
    edges = torch.where(x > 1 - half, logsigmoid(-below), inner)
    edges = torch.where(x < -1 + half, logsigmoid(above), edges)
    return torch.logsumexp(edges.sum(2) + logits.log_softmax(1), dim=1)


def _published_bins(x: Tensor, means: Tensor, log_scales: Tensor, half: float) -> Tensor:
    """Returns log-masses per mixture and channel, with the published thresholds."""
    sharpness = torch.exp(-log_scales)
    middle = (x - means) * sharpness
    above, below = (x - means + half) * sharpness, (x - means - half) * sharpness
    mass = torch.sigmoid(above) - torch.sigmoid(below)
    density = logsigmoid(middle) + logsigmoid(-middle) - log_scales + math.log(2 * half)
    inner = torch.where(mass > 1e-5, torch.log(mass.clamp(min=1e-10)), density)
    inner = torch.where(x > 0.99, logsigmoid(-below), inner)
    return torch.where(x < -0.999, logsigmoid(above), inner)


def _sample_mixture(head: Tensor, config: NVAEConfig, temperature: float) -> Tensor:
    logits, means, log_scales, couplings = _mixture(head, config)
    noise = -torch.log(-torch.log(torch.rand_like(logits).clamp(1e-6, 1 - 1e-6)))
    chosen = (logits + (noise if temperature else 0)).argmax(1, keepdim=True).unsqueeze(2)  # (b, 1, 1, h, w)

    def pick(values: Tensor) -> Tensor:
        return values.gather(1, chosen.expand(-1, 1, values.shape[2], -1, -1)).squeeze(1)

    settle = partial(_settled, bins=2**config.bits - 1)
    uniform = torch.rand_like(pick(means)).clamp(1e-5, 1 - 1e-5)
    x = pick(means) + torch.exp(pick(log_scales)) * temperature * torch.logit(uniform)
    if couplings is None:
        return _to_unit(settle(x))
    return _to_unit(_chain(x.unsqueeze(1), pick(couplings).unsqueeze(1), settle).squeeze(1))
