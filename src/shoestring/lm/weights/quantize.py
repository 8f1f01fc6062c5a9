"""How weights become 8 and 4 bits; `few_bits` has the layers that compute with them.

- int8: a scale for every `GROUP` inputs, so that a large weight costs its neighbours alone.
- int4: a scale and a zero for every `GROUP` inputs, both fitted by least squares. `calibrate` chooses better ones, for
  a text.
- Both lie in tiles of `TILE` outputs, as `lm/kernel` reads them: (tiles, groups, steps, `TILE`, 4), where a step is
  four inputs of 8 bits, or eight of 4 bits, of which a byte holds one and the one four further. What fills the last
  tile and group is zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

Parts = tuple[Tensor, Tensor, Tensor]  # levels, two a byte; scale and zero of each group
GROUP = 64  # inputs whose weights share a scale
TILE = 16  # outputs that lie side by side
_FITS = 4  # times that levels and scales are fitted to each other; more gains less than 1 %
_AT_ONCE = 1 << 18  # weights that are quantized at once, so that they stay in the processor's cache


def to_int8(weight: Float[Tensor, "outputs inputs"]) -> tuple[Tensor, Tensor]:
    """Returns (int8 weight, bfloat16 scale of each group), in tiles: weight = int8 * scale in groups of `GROUP`."""
    return _by_rows(_rows_to_int8, weight)


def to_int4(weight: Float[Tensor, "outputs inputs"]) -> Parts:
    """Returns (two weights a byte, scale, zero), in tiles: weight = (int4 - 8) * scale + zero in groups of `GROUP`.

    Scale and zero are fitted to the group by least squares.
    """
    return _by_rows(lambda rows: tiled4(*fitted4(rows)), weight)


def takes_int4(inputs: int) -> bool:
    """Tells whether a layer of so many inputs can have 4 bits; others get 8."""
    return inputs % GROUP == 0


def shapes_of(bits: int, outputs: int, inputs: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Returns the sizes of a weight's levels and of its scales, in tiles."""
    tiles, groups = -(-outputs // TILE), -(-inputs // GROUP)
    return (tiles, groups, GROUP * bits // 32, TILE, 4), (tiles, groups, TILE)


def tiled4(levels: Tensor, scale: Tensor, zero: Tensor) -> Parts:
    """Returns levels of 0 to 15 (outputs, inputs), scale and zero (outputs, groups) as `to_int4` does."""
    low, high = _in_tiles(levels.to(torch.uint8), 8).unflatten(-1, (2, 4)).unbind(-2)
    return low | (high << 4), _scales_in_tiles(scale), _scales_in_tiles(zero)


def from_int8(levels: Tensor, scale: Tensor) -> Float[Tensor, "outputs inputs"]:
    """Returns what `to_int8` stands for, with the zeros that fill tiles and groups."""
    return _weighted(levels.float(), scale)


def from_int4(packed: Tensor, scale: Tensor, zero: Tensor) -> Float[Tensor, "outputs inputs"]:
    """Returns what `to_int4` stands for, with what fills the last tile."""
    levels = torch.cat((packed & 15, packed >> 4), dim=-1).float().sub_(8)
    return _weighted(levels, scale, zero)


def _weighted(levels: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    """Returns (outputs, inputs) of (tiles, groups, steps, TILE, inputs of a step)."""
    values = levels.mul_(scale.float()[:, :, None, :, None])
    values = values if zero is None else values.add_(zero.float()[:, :, None, :, None])
    return values.permute(0, 3, 1, 2, 4).reshape(len(values) * TILE, -1)


def _in_tiles(levels: Tensor, step: int) -> Tensor:
    """Returns (tiles, groups, steps, TILE, inputs of a step) of (outputs, inputs)."""
    outputs, inputs = levels.shape
    whole = nn.functional.pad(levels, (0, -inputs % GROUP, 0, -outputs % TILE))
    return whole.view(-(-outputs // TILE), TILE, -1, GROUP // step, step).permute(0, 2, 3, 1, 4)


def _scales_in_tiles(scale: Tensor) -> Tensor:
    whole = nn.functional.pad(scale, (0, 0, 0, -len(scale) % TILE)).bfloat16()
    return whole.unflatten(0, (-1, TILE)).transpose(1, 2)


def _by_rows(function: Callable[[Tensor], tuple[Tensor, ...]], weight: Tensor) -> Any:
    """Applies a function of rows to a few tiles at a time, so that memory holds few of them as float32."""
    found: list[Tensor] = []
    rows = max(1, _AT_ONCE // max(weight.shape[1], 1) // TILE) * TILE
    for begin in range(0, len(weight), rows):
        parts = function(weight[begin : begin + rows])
        tiles = -(-len(weight) // TILE)
        found = found or [part.new_empty(tiles, *part.shape[1:]) for part in parts]
        for whole, part in zip(found, parts, strict=True):
            whole[begin // TILE : begin // TILE + len(part)] = part
    return tuple(found)


def _rows_to_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    inputs = weight.shape[1]
    groups = nn.functional.pad(weight.float(), (0, -inputs % GROUP)).unflatten(1, (-1, GROUP))
    scale = _kept(groups.abs().amax(dim=-1, keepdim=True).clamp(min=1e-12) / 127)
    levels = (groups / scale).round_().clamp_(-127, 127).to(torch.int8)
    return _in_tiles(levels.flatten(1), 4), _scales_in_tiles(scale.squeeze(-1))


def fitted4(weight: Float[Tensor, "outputs inputs"]) -> tuple[Tensor, Tensor, Tensor]:
    """Returns levels of 0 to 15 (outputs, inputs), scale and zero (outputs, groups) that least squares give."""
    groups = weight.float().unflatten(1, (-1, GROUP))
    low, high = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
    (levels, scale, zero, least), *others = (
        _fitted(groups, low * part, high * part) for part in (0.95, 0.85)
    )
    for *other, error in others:
        better = error < least
        levels, scale, zero = (
            torch.where(better, new, old) for new, old in zip(other, (levels, scale, zero), strict=True)
        )
    return levels.flatten(1), scale.squeeze(-1), zero.squeeze(-1)


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
