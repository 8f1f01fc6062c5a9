"""What a step makes smaller: reconstruction, balanced KL, regularisers.

loss = mean over the batch of (-log p(x | z) + weight * sum_g gamma_g KL_g) + lambda (spectral + batch-norm scales)

KL balancing (NVAE, appendix A; Vahdat et al. 2018): a group's coefficient gamma grows with its KL and falls with the
size of its scale and the number of groups there, and is 1 on average; once the warm-up is over all are 1.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from shoestring.nvae.model.configuration import NVAEConfig
from shoestring.nvae.model.modeling import Bound


class Loss(NamedTuple):
    """The parts of a batch's loss; nats per image."""

    total: Tensor
    reconstruction: Tensor
    kl: Tensor


def objective(bound: Bound, config: NVAEConfig, weight: float, balance: bool) -> Loss:
    """Returns the loss without regularisers.

    Args:
        bound: of a batch.
        config: the model.
        weight: of the KL term.
        balance: balance the groups while the weight is below 1.
    """
    per_group = bound.kl.mean(1)
    balanced = (
        (coefficients(bound.kl, config) * per_group).sum() if balance and weight < 1 else per_group.sum()
    )
    reconstruction = -bound.likelihood.mean()
    return Loss(reconstruction + weight * balanced, reconstruction.detach(), per_group.detach().sum())


@torch.no_grad()
def coefficients(kl: Float[Tensor, "groups batch"], config: NVAEConfig) -> Float[Tensor, " groups"]:
    """Returns gamma of every group, coarsest first; their mean is 1."""
    scales = config.scale_of_group
    coarsest = len(config.groups) - 1
    sizes = [4.0 ** (coarsest - scale) / config.groups[scale] for scale in scales]
    alpha = torch.tensor(sizes, device=kl.device) / min(sizes)
    activity = (kl.abs().mean(1) + 0.01) / alpha
    return activity / activity.mean()
