"""The two towers: features of an image bottom-up, groups of latents top-down.

- The encoder leaves one map of features per group; the decoder walks the groups from the coarsest to the finest and
  asks its caller for each group's latents.
- With `recompute` a cell of the decoder keeps only its input and computes the rest again in the backward pass; the
  statistics of its batch norms are updated once, in the forward pass.

NVAE, figure 2; recomputation: Chen et al. 2016 (arXiv 1604.06174).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from shoestring.nvae.model.cells import BLOCK_EXPANSION, DECODER_CELLS, TOWER_EXPANSION, EncoderCell
from shoestring.nvae.model.configuration import NVAEConfig
from shoestring.nvae.model.flows import Flows
from shoestring.nvae.model.layers import Inputs, Map, WeightNormConv2d
from shoestring.nvae.model.likelihoods import Head, Image
from shoestring.nvae.model.normal import Normal, divergence, precise

Raw = tuple[Tensor, Tensor]  # mean and log-deviation of a prior, before they are bounded
Choose = Callable[[int, Raw, Tensor], Tensor]


class Latent(NamedTuple):
    """What the posterior says about one group of latents.

    Args:
        z: the sample (b, l, h, w).
        kl: KL(q || p) per image, in nats; analytic without flows, else the estimate `log_ratio`.
        log_ratio: log q(z) - log p(z) per image, at the sample.
        by_channel: kl summed over positions, (b, l).
    """

    z: Tensor
    kl: Tensor
    log_ratio: Tensor
    by_channel: Tensor


class Cells(nn.Sequential):
    """Cells in a row; with `recompute` each keeps only its input for the backward pass."""

    recompute = False

    def forward(self, input: Inputs) -> Map:
        """Applies them all."""
        if not (self.recompute and self.training and torch.is_grad_enabled()):
            return super().forward(input)
        for cell in self:
            input = checkpoint(
                cell, input, use_reentrant=False, preserve_rng_state=False,
                context_fn=lambda cell=cell: (nullcontext(), unmoved_statistics(cell)),
            )  # fmt: skip
        return input


@contextmanager
def unmoved_statistics(module: nn.Module) -> Iterator[None]:
    """Batch norms of a module move copies of their statistics, which are forgotten."""
    norms = [norm for norm in module.modules() if isinstance(norm, nn.modules.batchnorm._BatchNorm)]
    kept = [(norm, name, buffer) for norm in norms for name, buffer in norm.named_buffers()]
    for norm, name, buffer in kept:
        setattr(norm, name, buffer.clone())
    try:
        yield
    finally:
        for norm, name, buffer in kept:
            setattr(norm, name, buffer)


class Encoder(nn.Module):
    """The bottom-up tower: one map of features per group of latents."""

    def __init__(self, config: NVAEConfig) -> None:
        super().__init__()
        width = config.encoder_channels
        self.stem = WeightNormConv2d(config.in_channels * config.patch**2, width, 3)
        self.patch = config.patch
        self.before = nn.Sequential()
        for _ in range(config.blocks):
            for last in [False] * (config.block_cells - 1) + [True]:
                self.before.append(EncoderCell(width, width * 2 if last else width, down=last))
            width *= 2
        self.towers: Any = nn.ModuleList()
        for scale, groups in enumerate(config.groups):
            tower = nn.ModuleList()
            for group in range(groups):
                cells = nn.Sequential()
                if scale and not group:
                    cells.append(EncoderCell(width, width * 2, down=True))
                    width *= 2
                cells.extend(EncoderCell(width, width) for _ in range(config.encoder_cells))
                tower.append(cells)
            self.towers.append(tower)
        self.top = WeightNormConv2d(width, width, 1)

    def forward(self, x: Image) -> list[Tensor]:
        """Returns the features of each group, coarsest first."""
        x = functional.pixel_unshuffle(x, self.patch) if self.patch > 1 else x
        x = self.before(self.stem(x))
        features = []
        for tower in self.towers:
            for cells in tower:
                x = cells(x)
                features.append(x)
        features[-1] = functional.elu(self.top(functional.elu(x)))
        return features[::-1]


class Group(nn.Module):
    """One group of latents on the way down: cells, prior, posterior, and how latents join the stream.

    Args:
        config: the model.
        scale: whose resolution and channels it has.
        kind: `first` has no cells and a standard prior; `new` comes from a coarser scale; `same` does not.
    """

    def __init__(self, config: NVAEConfig, scale: int, kind: str) -> None:
        super().__init__()
        above, below = (
            channels * 2 ** (config.blocks + scale)
            for channels in (config.encoder_channels, config.decoder_channels)
        )
        cell, latents = DECODER_CELLS[config.decoder_cell], config.latents
        self.first, self.residual = kind == "first", config.residual_posterior
        self.cells = Cells()
        if kind == "new":
            self.cells.append(cell(2 * below, below, TOWER_EXPANSION, up=True))
        if not self.first:
            self.cells.extend(cell(below, below, TOWER_EXPANSION) for _ in range(config.decoder_cells))
            self.to_prior = WeightNormConv2d(below, 2 * latents, 1)
            self.to_features = WeightNormConv2d(below, above, 1)
        self.to_posterior = WeightNormConv2d(above, 2 * latents, 3)
        self.flows = Flows(config.flows, latents, above, config.flow_kind)
        self.join = WeightNormConv2d(below + latents, below, 1)

    def prior(self, stream: Map) -> Raw:
        """Returns the raw mean and log-deviation of the prior."""
        if self.first:
            shape = (stream.shape[0], self.to_posterior.out_channels, *stream.shape[2:])
            mean, log_deviation = stream.new_zeros(shape).chunk(2, dim=1)
        else:
            mean, log_deviation = self.to_prior(functional.elu(stream)).chunk(2, dim=1)
        return precise(mean), precise(log_deviation)

    def posterior(self, stream: Map, features: Tensor, raw: Raw, noise: Tensor | None = None) -> Latent:
        """Returns a sample of the posterior and how far the posterior is from the prior `raw`."""
        features = features if self.first else features + self.to_features(stream)
        mean, log_deviation = (precise(each) for each in self.to_posterior(features).chunk(2, dim=1))
        if self.residual:
            mean, log_deviation = raw[0] + mean, raw[1] + log_deviation
        p, q = Normal.from_raw(*raw), Normal.from_raw(mean, log_deviation)
        start = q.sample(noise)
        z, log_det = self.flows(start, features)
        ratio = q.log_prob(start) - log_det - p.log_prob(z)
        kl = ratio if len(self.flows.steps) else divergence(q, p)
        by_channel = kl.flatten(2).sum(2)
        return Latent(z, by_channel.sum(1), ratio.flatten(1).sum(1), by_channel)


class Decoder(nn.Module):
    """The top-down tower, its groups, and the head that tells the likelihood's numbers."""

    def __init__(self, config: NVAEConfig) -> None:
        super().__init__()
        scales = config.scale_of_group
        width, side = config.decoder_channels * 2 ** (config.blocks + scales[0]), config.resolutions[-1]
        self.start = nn.Parameter(torch.rand(width, side, side))
        self.groups: Any = nn.ModuleList(
            Group(config, scale, "first" if not index else "same" if scale == scales[index - 1] else "new")
            for index, scale in enumerate(scales)
        )
        width, cell = config.decoder_channels * 2**config.blocks, DECODER_CELLS[config.decoder_cell]
        self.after = Cells()
        for _ in range(config.blocks):
            for first in [True] + [False] * (config.block_cells - 1):
                self.after.append(cell(width, width // 2 if first else width, BLOCK_EXPANSION, up=first))
                width = width // 2 if first else width
        self.head = WeightNormConv2d(width, config.head_channels * config.patch**2, 3)
        self.patch, self.padding = config.patch, config.padding

    def forward(self, batch: int, choose: Choose) -> Head:
        """Returns the head's numbers for the latents that `choose(group, raw prior, stream)` returns."""
        stream = self.start.expand(batch, -1, -1, -1).contiguous(
            memory_format=memory_format(self.head.weight)
        )
        for index, group in enumerate(self.groups):
            stream = group.cells(stream)
            z = choose(index, group.prior(stream), stream)
            stream = group.join(torch.cat([stream, z.to(stream.dtype)], dim=1))
        head = self.head(functional.elu(self.after(stream)))
        head = functional.pixel_shuffle(head, self.patch) if self.patch > 1 else head
        edge = self.padding
        return head[:, :, edge:-edge, edge:-edge] if edge else head


def memory_format(weight: Float[Tensor, "outputs inputs height width"]) -> torch.memory_format:
    """Returns the memory format that the model was brought into."""
    last = weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format
