"""Spectral and batch-norm regularisation, which keep the bound on KL finite.

- Spectral: the sum over all convolutions of the largest singular value of their weights, as matrices outputs x rest,
  by power iteration. The vectors persist, in checkpoints too, so one iteration per step is enough.
- Layers of one shape are stacked and computed at once.
- Batch norm: the sum over all of the largest |scale|.

NVAE, section 3.3; Yoshida & Miyato 2017 (arXiv 1705.10941).
"""

from __future__ import annotations

from collections import defaultdict

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from shoestring.nvae.model.layers import WeightNormConv2d, effective_weight

Matrices = Float[Tensor, "layers rows columns"]
FIRST_ITERATIONS = 20
EPS = 1e-6


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
        total = torch.zeros(())
        for index, layers in enumerate(self.stacks):
            weights = stacked(layers).float()
            left = self._iterate(weights.detach(), index, self.iterations)
            right = getattr(self, f"right_{index}")
            total = total.to(weights.device) + torch.einsum("lr,lrc,lc->", left, weights, right)
        return total

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
