"""The residual cells of the encoder and the decoder: skip(x) + 0.1 f(x).

- Encoder: BN-Swish-conv 3x3 twice, then squeeze and excitation.
- Decoder, as published: BN, conv 1x1 to 6 times the channels, BN-Swish, depthwise 5x5, BN-Swish, conv 1x1 back, BN,
  squeeze and excitation. Wide and cheap on a GPU; on a CPU its depthwise backward pass is the slowest part of a step.
- Decoder, dense: the encoder's cell, for models that train on a CPU.

NVAE, section 3.1 and figure 3.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from shoestring.nvae.model.layers import (
    DownSkip,
    Inputs,
    Map,
    SqueezeExcite,
    UpSkip,
    WeightNormConv2d,
    batch_norm,
    bn_conv,
    conv,
)

WEIGHT = 0.1  # of f beside the skip
TOWER_EXPANSION, BLOCK_EXPANSION = 6, 3


class EncoderCell(nn.Module):
    """Two 3x3 convolutions; with `down`, the first has stride 2.

    Args:
        inputs: channels.
        outputs: channels; with `down` they may differ from `inputs`.
        down: halve the resolution.
    """

    def __init__(self, inputs: int, outputs: int, *, down: bool = False) -> None:
        super().__init__()
        self.skip = DownSkip(inputs, outputs) if down else nn.Identity()
        self.norms = nn.ModuleList([batch_norm(inputs), batch_norm(outputs)])
        self.convs = nn.ModuleList(
            [
                WeightNormConv2d(inputs, outputs, 3, stride=2 if down else 1),
                WeightNormConv2d(outputs, outputs, 3),
            ]
        )
        self.gate = SqueezeExcite(outputs)

    def forward(self, x: Inputs) -> Map:
        """Applies the cell."""
        y = x
        for norm, layer in zip(self.norms, self.convs, strict=True):
            y = bn_conv(y, norm, layer)
        return torch.add(self.skip(x), self.gate(y), alpha=WEIGHT)


class DecoderCell(nn.Module):
    """The inverted residual cell with a depthwise convolution; with `up` it doubles the resolution first.

    Args:
        inputs: channels.
        outputs: channels; with `up` they may differ from `inputs`.
        expansion: width inside, as a multiple of `inputs`.
        up: double the resolution.
    """

    def __init__(self, inputs: int, outputs: int, expansion: int, *, up: bool = False) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.up = up
        self.skip = UpSkip(inputs, outputs) if up else nn.Identity()
        self.norms = nn.ModuleList([batch_norm(inputs), batch_norm(hidden), batch_norm(hidden)])
        self.convs = nn.ModuleList(
            [conv(inputs, hidden, 1), conv(hidden, hidden, 5, groups=hidden), conv(hidden, outputs, 1)]
        )
        self.last_norm = batch_norm(outputs)
        self.gate = SqueezeExcite(outputs)

    def forward(self, x: Inputs) -> Map:
        """Applies the cell."""
        y = functional.interpolate(x, scale_factor=2, mode="nearest") if self.up else x
        for place, (norm, layer) in enumerate(zip(self.norms, self.convs, strict=True)):
            y = bn_conv(y, norm, layer, swish=place > 0)
        return torch.add(self.skip(x), self.gate(self.last_norm(y)), alpha=WEIGHT)


class DenseDecoderCell(nn.Module):
    """The encoder's cell in the decoder; with `up` it doubles the resolution first."""

    def __init__(self, inputs: int, outputs: int, expansion: int, *, up: bool = False) -> None:
        super().__init__()
        self.up = up
        self.skip = UpSkip(inputs, outputs) if up else nn.Identity()
        self.norms = nn.ModuleList([batch_norm(inputs), batch_norm(outputs)])
        self.convs = nn.ModuleList([conv(inputs, outputs, 3), conv(outputs, outputs, 3)])
        self.gate = SqueezeExcite(outputs)

    def forward(self, x: Inputs) -> Map:
        """Applies the cell."""
        y = functional.interpolate(x, scale_factor=2, mode="nearest") if self.up else x
        for norm, layer in zip(self.norms, self.convs, strict=True):
            y = bn_conv(y, norm, layer)
        return torch.add(self.skip(x), self.gate(y), alpha=WEIGHT)


DECODER_CELLS = {"depthwise": DecoderCell, "dense": DenseDecoderCell}
