"""Autoregressive flows that make a posterior richer than a Normal: pairs, one in raster order, one in reverse.

- `shift`: z' = z - mu(z). The Jacobian is triangular with a diagonal of 1, so the volume stays.
- `affine`: z' = exp(a(z, h)) z - mu(z, h) with |a| < 1, where h are the features of the image; log|J| = sum a.
- mu and a of one number see only the numbers before it: pixels above and to the left, and channels below at the
  same pixel. In reverse the pixels are below and to the right; the order of channels stays, as published.

Kingma et al. 2016 (arXiv 1606.04934); NVAE, section 3.4.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from shoestring._errors import OptionError
from shoestring.nvae.model.layers import WeightNormConv2d

Latents = Float[Tensor, "batch latents height width"]
WIDTH = 6  # hidden channels per latent channel
START = 0.1  # of the last layer: a flow starts near the identity


def causal_mask(
    inputs: int, outputs: int, kernel: int, latents: int, strict: bool, reverse: bool
) -> Float[Tensor, "outputs inputs kernel kernel"]:
    """Returns 1 where a weight may be used: where an output sees only what comes before it.

    Args:
        inputs: channels that a kernel sees; 1 is depthwise.
        outputs: channels; output o belongs to latent channel o * latents // outputs, and inputs likewise.
        kernel: odd side.
        latents: number of latent channels, in whose order "before" is meant.
        strict: the number itself is not seen either.
        reverse: pixels in the other order.
    """
    middle = kernel // 2
    mask = torch.zeros(outputs, inputs, kernel, kernel)
    mask[:, :, :middle] = mask[:, :, middle, :middle] = 1
    if inputs == 1:  # depthwise: the channel itself
        mask[:, :, middle, middle] = 0 if strict else 1
    else:
        to = torch.arange(outputs)[:, None] * latents // outputs
        of = torch.arange(inputs)[None, :] * latents // inputs
        mask[:, :, middle, middle] = (of < to).float() if strict else (of <= to).float()
    return mask.flip((2, 3)) if reverse else mask


class Flow(nn.Module):
    """One autoregressive flow.

    Args:
        latents: channels.
        features: channels of what `affine` is conditioned on.
        kind: `shift` or `affine`.
        reverse: from the last pixel to the first.
    """

    def __init__(self, latents: int, features: int, kind: str, *, reverse: bool) -> None:
        super().__init__()
        hidden = latents * WIDTH

        def masked(inputs: int, outputs: int, kernel: int, **more: Any) -> WeightNormConv2d:
            seen = causal_mask(
                inputs // more.get("groups", 1), outputs, kernel, latents, kernel == 3, reverse
            )
            return WeightNormConv2d(inputs, outputs, kernel, mask=seen, bias=kernel == 1, **more)

        self.affine = kind == "affine"
        self.first = masked(latents, hidden, 3)
        self.spread = masked(hidden, hidden, 5, groups=hidden)
        self.shift = masked(hidden, latents, 1, scale=START)
        if self.affine:
            self.log_scale = masked(hidden, latents, 1, scale=START)
            self.condition = WeightNormConv2d(features, hidden, 1)

    def terms(self, z: Latents, features: Tensor) -> tuple[Tensor, Tensor]:
        """Returns mu and a, each a function of the numbers before."""
        y = self.first(z)
        if self.affine:
            y = y + self.condition(features)
        y = functional.elu(functional.elu(self.spread(functional.elu(y))))  # twice, as published
        mu = self.shift(y).to(z.dtype)  # fp32, whatever the network computes in
        return mu, torch.tanh(self.log_scale(y).to(z.dtype)) if self.affine else torch.zeros_like(mu)

    def forward(self, z: Latents, features: Tensor) -> tuple[Latents, Latents]:
        """Returns z' and the log of the Jacobian's diagonal."""
        mu, log_scale = self.terms(z, features)
        return (torch.exp(log_scale) * z if self.affine else z) - mu, log_scale

    def inverse(self, z: Latents, features: Tensor) -> Latents:
        """Returns the z whose image this is, by as many passes as one item has numbers."""
        target, x = z, torch.zeros_like(z)
        for _ in range(z[0].numel()):
            mu, log_scale = self.terms(x, features)
            following = (target + mu) * torch.exp(-log_scale)
            if torch.equal(following, x):
                return x
            x = following
        return x


class Flows(nn.Module):
    """Pairs of flows, one after the other."""

    def __init__(self, pairs: int, latents: int, features: int, kind: str) -> None:
        super().__init__()
        if latents < 2 and pairs:
            raise OptionError(f"latents {latents}: flows need at least 2 channels; take flows=0")
        self.steps: Any = nn.ModuleList(
            Flow(latents, features, kind, reverse=reverse) for _ in range(pairs) for reverse in (False, True)
        )

    def forward(self, z: Latents, features: Tensor) -> tuple[Latents, Latents]:
        """Returns the transformed latents and the log-determinant, told per number."""
        total = torch.zeros_like(z)
        for step in self.steps:
            z, log_scale = step(z, features)
            total = total + log_scale
        return z, total

    def inverse(self, z: Latents, features: Tensor) -> Latents:
        """Undoes `forward`."""
        for step in reversed(self.steps):
            z = step.inverse(z, features)
        return z
