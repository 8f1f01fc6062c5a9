"""What a step makes smaller: reconstruction, balanced KL, and the regularisers that keep the bound on KL finite.

loss = mean over the batch of (-log p(x | z) + weight * sum_g gamma_g KL_g) + lambda (spectral + batch-norm scales)

- KL balancing (NVAE, appendix A; Vahdat et al. 2018): a group's coefficient gamma grows with its KL and falls with the
  size of its scale and the number of groups there, and is 1 on average; once the warm-up is over all are 1.
- Spectral: the sum over all convolutions of the largest singular value of their weights, as matrices outputs x rest,
  by power iteration (NVAE, section 3.3; Yoshida & Miyato 2017, arXiv 1705.10941). The vectors persist, in checkpoints
  too, so one iteration per step is enough. Layers of one shape are stacked and computed at once.
- Batch norm: the sum over all of the largest |scale|.

Nothing here waits for a device.
"""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from shoestring.nvae.model.configuration import NVAEConfig
from shoestring.nvae.model.layers import WeightNormConv2d, effective_weight
from shoestring.nvae.model.modeling import Bound

Matrices = Float[Tensor, "layers rows columns"]
FIRST_ITERATIONS = 20
EPS = 1e-6


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
    activity = (kl.abs().mean(1) + 0.01) / _sizes(config, kl.device)
    return activity / activity.mean()


@lru_cache(maxsize=8)
def _sizes(config: NVAEConfig, device: torch.device) -> Float[Tensor, " groups"]:
    """Returns alpha of every group; it is sent to a device once."""
    coarsest = len(config.groups) - 1
    sizes = [4.0 ** (coarsest - scale) / config.groups[scale] for scale in config.scale_of_group]
    return torch.tensor(sizes, device=device) / min(sizes)


class SpectralRegulariser(nn.Module):
    """Sums the largest singular values of a model's convolutions.

    Args:
        model: whose convolutions; they are not made part of this module.
        iterations: of the power method, per call.
    """

    def __init__(self, model: nn.Module, iterations: int = 1) -> None:
        super().__init__()
        self.iterations = iterations
        stacks = defaultdict(list)
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d):
                stacks[shape_of(layer)].append(layer)
        self.stacks = tuple(tuple(layers) for layers in stacks.values())
        for index, layers in enumerate(self.stacks):
            with torch.no_grad():
                weights = stacked(layers)
                self.register_buffer(f"right_{index}", torch.ones_like(weights[:, 0]))
                self._iterate(weights, index, FIRST_ITERATIONS)

    def forward(self) -> Float[Tensor, ""]:
        """Returns the sum; gradients flow into the weights, not into the vectors."""
        sums = []
        for index, layers in enumerate(self.stacks):
            weights = stacked(layers).float()
            left = self._iterate(weights.detach(), index, self.iterations)
            right = getattr(self, f"right_{index}")
            sums.append(torch.einsum("lr,lrc,lc->", left, weights, right))
        return torch.stack(sums).sum()

    @torch.no_grad()
    def _iterate(self, weights: Matrices, index: int, times: int) -> Float[Tensor, "layers rows"]:
        right = getattr(self, f"right_{index}")
        for _ in range(times):
            left = normalize(torch.bmm(weights, right.unsqueeze(2)).squeeze(2), dim=1, eps=EPS)
            right = normalize(torch.bmm(left.unsqueeze(1), weights).squeeze(1), dim=1, eps=EPS)
        getattr(self, f"right_{index}").copy_(right)
        return normalize(torch.bmm(weights, right.unsqueeze(2)).squeeze(2), dim=1, eps=EPS)


def shape_of(layer: nn.Conv2d) -> tuple[object, ...]:
    """Returns what layers of one stack have in common."""
    normed = isinstance(layer, WeightNormConv2d)
    return tuple(layer.weight.shape), _parts(layer), normed, normed and layer.mask is not None


def stacked(layers: tuple[nn.Conv2d, ...]) -> Matrices:
    """Returns the weights of layers of one shape as matrices; a grouped convolution is one matrix per group.

    A depthwise convolution is one matrix, channels x kernel, as published.
    """
    weights = torch.cat([effective_weight(layer).flatten(1) for layer in layers])
    return weights.unflatten(0, (len(layers) * _parts(layers[0]), -1))


def batch_norm_scales(model: nn.Module) -> Float[Tensor, ""]:
    """Returns the sum over all batch norms of their largest |scale|."""
    stacks = defaultdict(list)
    for layer in model.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            stacks[layer.num_features].append(layer.weight)
    return torch.stack([torch.stack(scales).abs().amax(1).sum() for scales in stacks.values()]).sum()


def _parts(layer: nn.Conv2d) -> int:
    return 1 if layer.groups == layer.in_channels else layer.groups
