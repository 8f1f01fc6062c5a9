"""How weights become 8 and 4 bits; `few_bits` has the layers that compute with them.

- int8: a scale for every `GROUP` inputs, so that a large weight costs its neighbours alone.
- int4: a scale and a zero for every `GROUP` inputs, both fitted by least squares. `calibrate` chooses better ones, for
  a text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

Parts = tuple[Tensor, Tensor, Tensor]  # levels, two a byte; scale and zero of each group
GROUP = 64  # inputs that share a scale, of weights and of activations
_FITS = 4  # times that levels and scales are fitted to each other; more gains less than 1 %
_AT_ONCE = 1 << 18  # weights that are quantized at once, so that they stay in the processor's cache


def to_int8(weight: Float[Tensor, "outputs inputs"]) -> tuple[Tensor, Tensor]:
    """Returns (int8 weight, bfloat16 scale of each group): weight = int8 * scale in groups of `GROUP`."""
    return _by_rows(_rows_to_int8, weight)


def to_int4(weight: Float[Tensor, "outputs inputs"]) -> tuple[Tensor, Tensor, Tensor]:
    """Returns (two weights a byte, scale, zero): weight = (int4 - 8) * scale + zero in groups of `GROUP`.

    Both are fitted to the group by least squares.
    """
    return _by_rows(_rows_to_int4, weight)


def takes_int4(inputs: int) -> bool:
    """Tells whether a layer of so many inputs can have 4 bits; others get 8."""
    return inputs % GROUP == 0


def levels_of(packed: UInt8[Tensor, "outputs half"]) -> UInt8[Tensor, "outputs inputs"]:
    """Returns the levels, 0 to 15, of which each byte holds two."""
    return torch.stack((packed & 15, packed >> 4), dim=-1).flatten(1)


def from_int8(weight: Tensor, scale: Tensor) -> Float[Tensor, "outputs inputs"]:
    """Returns what `to_int8` stands for."""
    return weight.float() * _over_inputs(scale, weight.shape[1])


def _over_inputs(scale: Float[Tensor, "outputs groups"], inputs: int) -> Float[Tensor, "outputs inputs"]:
    return scale.float().repeat_interleave(GROUP, dim=1)[:, :inputs]


def from_int4(packed: Tensor, scale: Tensor, zero: Tensor) -> Float[Tensor, "outputs inputs"]:
    """Returns what `to_int4` stands for."""
    levels = levels_of(packed).float().sub_(8).unflatten(1, (-1, GROUP))
    return levels.mul_(scale.float()[..., None]).add_(zero.float()[..., None]).flatten(1)


def _by_rows(function: Callable[[Tensor], tuple[Tensor, ...]], weight: Tensor) -> Any:
    """Applies a function of rows to a few at a time, so that memory holds few of them as float32."""
    found: list[Tensor] = []
    rows = max(1, _AT_ONCE // max(weight.shape[1], 1))
    for begin in range(0, len(weight), rows):
        parts = function(weight[begin : begin + rows])
        found = found or [part.new_empty(len(weight), *part.shape[1:]) for part in parts]
        for whole, part in zip(found, parts, strict=True):
            whole[begin : begin + rows] = part
    return tuple(found)


def _rows_to_int8(weight: Tensor) -> tuple[Tensor, ...]:
    inputs = weight.shape[1]
    groups = nn.functional.pad(weight.float(), (0, -inputs % GROUP)).unflatten(1, (-1, GROUP))
    scale = _kept(groups.abs().amax(dim=-1, keepdim=True).clamp(min=1e-12) / 127)
    levels = (groups / scale).round_().clamp_(-127, 127).to(torch.int8)
    return levels.flatten(1)[:, :inputs], scale.squeeze(-1).bfloat16()


def _rows_to_int4(weight: Tensor) -> tuple[Tensor, ...]:
    outputs, inputs = weight.shape
    groups = weight.float().reshape(outputs, inputs // GROUP, GROUP)
    low, high = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
    (levels, scale, zero, least), *others = (
        _fitted(groups, low * part, high * part) for part in (0.95, 0.85)
    )
    for *other, error in others:
        better = error < least
        levels, scale, zero = (
            torch.where(better, new, old) for new, old in zip(other, (levels, scale, zero), strict=True)
        )
    flat = levels.view(outputs, inputs).to(torch.uint8)
    packed = flat[:, ::2] | (flat[:, 1::2] << 4)
    return packed, scale.squeeze(-1).bfloat16(), zero.squeeze(-1).bfloat16()


def _fitted(groups: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns each group's levels, scale and zero, and the squared error.

    From 16 levels between low and high on, levels and the line through them are fitted to each other in turn.
    """
    scale = _kept(((high - low) / 15).clamp(min=1e-8))
    zero = _kept(low + 8 * scale)
    mean = groups.mean(-1, keepdim=True)
    for _ in range(_FITS):
        steps = _steps(groups, scale, zero)
        middle = steps.mean(-1, keepdim=True)
        spread = (steps * steps).mean(-1, keepdim=True) - middle * middle
        slope = ((groups * steps).mean(-1, keepdim=True) - mean * middle) / spread.clamp(min=1e-6)
        scale = _kept(slope.clamp(min=1e-8))
        zero = _kept(mean - middle * scale)
    steps = _steps(groups, scale, zero)
    return steps + 8, scale, zero, (steps * scale + zero - groups).square_().sum(-1, keepdim=True)


def _steps(groups: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    return ((groups - zero) / scale).round_().clamp_(-8, 7)


def _kept(value: Tensor) -> Tensor:
    """Returns a value as bfloat16 keeps it."""
    return value.bfloat16().float()
