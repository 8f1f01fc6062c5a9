"""The Normal distributions of the latents, and the divergence between two.

- Mean and log-deviation are bounded softly by 5 tanh(x / 5), and 0.01 is added to the deviation: no latent can
  explode. So the standard prior of the first group has a deviation of 1.01.
- Everything is computed in fp32, whatever the network computes in; a network in fp64 keeps it.

NVAE, section 3.2: the residual posterior N(mu_p + dmu, sigma_p * dsigma).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

BOUND = 5.0
LEAST = 0.01


def precise(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Returns x in fp32, or in fp64 if it is."""
    return x if x.dtype == torch.float64 else x.float()


def bounded(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Returns x squeezed softly into (-5, 5)."""
    return BOUND * torch.tanh(x / BOUND)


class Normal(NamedTuple):
    """A diagonal Normal; make it with `from_raw`."""

    mean: Tensor
    deviation: Tensor

    @classmethod
    def from_raw(cls, mean: Tensor, log_deviation: Tensor) -> Normal:
        """Returns the Normal of the network's numbers, bounded."""
        return cls(bounded(precise(mean)), torch.exp(bounded(precise(log_deviation))) + LEAST)

    def tempered(self, temperature: float) -> Normal:
        """Returns the same with its deviation multiplied by a temperature."""
        return Normal(self.mean, self.deviation * temperature)

    def sample(self, noise: Tensor | None = None) -> Tensor:
        """Returns a sample that gradients flow through; the same for either memory format.

        Args:
            noise: standard Normal numbers of the mean's shape; drawn if they are not given.
        """
        if noise is None:
            noise = torch.randn(self.mean.shape, dtype=self.mean.dtype, device=self.mean.device)
        return self.mean + self.deviation * noise.to(self.mean.dtype)

    def log_prob(self, z: Tensor) -> Tensor:
        """Returns the log-density of every number, in nats."""
        scaled = (z - self.mean) / self.deviation
        return -0.5 * scaled * scaled - torch.log(self.deviation) - 0.5 * math.log(2 * math.pi)


def divergence(q: Normal, p: Normal) -> Tensor:
    """Returns KL(q || p) of every number in nats.

    With dmu = mu_q - mu_p and dsigma = sigma_q / sigma_p it is (dmu^2 / sigma_p^2 + dsigma^2 - log dsigma^2 - 1) / 2:
    what the residual posterior makes small.
    """
    shift, ratio = (q.mean - p.mean) / p.deviation, q.deviation / p.deviation
    return 0.5 * (shift * shift + ratio * ratio - 1) - torch.log(ratio)
