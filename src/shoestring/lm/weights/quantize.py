"""How weights become 8, 5 and 4 bits; `few_bits` has the layers that compute with them.

- int8: a scale for every `GROUP` inputs, so that a large weight costs its neighbours alone.
- int4: 4, 5 or 8 bits (`skeleton.bits_of`). 4 and 5 have a scale and a zero for every `HALF` inputs, both fitted by
  least squares and kept in a byte, in units that each output has.
- All lie in tiles of `TILE` outputs, as `lm/kernel` reads them: (tiles, groups, steps, `TILE`, 4), where a step is
  four inputs of 8 bits, or the lowest four bits of eight inputs, of which a byte holds one and the one four further. Of
  5 bits two steps more have the fifth: bit k of a byte is that of the k-th four inputs. What fills the last tile and
  group is zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from shoestring.lm.weights.safetensors_file import Shape

Parts = tuple[Tensor, Tensor, Tensor, Tensor]  # levels; scale and zero of half a group; units of an output
GROUP = 64  # inputs that lie together; of 8 bits they share a scale
HALF = 32  # inputs whose weights of 4 or 5 bits share a scale and a zero
TILE = 16  # outputs that lie side by side
_FOURS = GROUP // 8  # steps of a group in which two inputs share a byte
_PARTS = (1.0, 0.95, 0.9)  # of the span of a group that the levels first have; the fit that is best is taken
_FITS = 4  # times that levels and scales are fitted to each other; more gains less than 1 %
_AT_ONCE = 1 << 18  # weights that are quantized at once, so that they stay in the processor's cache


def to_int8(weight: Float[Tensor, "outputs inputs"]) -> tuple[Tensor, Tensor]:
    """Returns (int8 weight, bfloat16 scale of each group), in tiles: weight = int8 * scale in groups of `GROUP`."""
    return _by_rows(_rows_to_int8, weight)


def to_low(weight: Float[Tensor, "outputs inputs"], bits: int) -> Parts:
    """Returns (levels, scale, zero, unit) in tiles, of 4 or 5 bits.

    weight = ((level - half) * scale + zero * unit[1]) * unit[0] for every `HALF` inputs, half of the levels being 8 or
    16. Scale (uint8) and zero (int8) are fitted by least squares; an output has its two units (float32).
    """
    return _by_rows(lambda rows: _tiled(*_fitted_best(rows, bits), bits), weight)


def takes_low(inputs: int) -> bool:
    """Tells whether a layer of so many inputs can have 4 or 5 bits; others get 8."""
    return inputs % GROUP == 0


def shapes_of(bits: int, outputs: int, inputs: int) -> dict[str, Shape]:
    """Returns types and sizes of what a weight becomes, in tiles, by the names that files give them."""
    tiles, groups = -(-outputs // TILE), -(-inputs // GROUP)
    sizes = (tiles, groups, GROUP * bits // 32, TILE, 4)
    if bits == 8:
        return {"int8": Shape(torch.int8, sizes), "scale": Shape(torch.bfloat16, (tiles, groups, TILE))}
    halves = (tiles, groups * GROUP // HALF, TILE)
    return {
        f"int{bits}": Shape(torch.uint8, sizes), "scale": Shape(torch.uint8, halves),
        "zero": Shape(torch.int8, halves), "unit": Shape(torch.float32, (tiles, 2, TILE)),
    }  # fmt: skip


def low_bits_of(levels: Tensor) -> int:
    """Returns how many bits the levels that `to_low` returned have."""
    return levels.shape[2] * 32 // GROUP


def from_int8(levels: Tensor, scale: Tensor) -> Float[Tensor, "outputs inputs"]:
    """Returns what `to_int8` stands for, with the zeros that fill tiles and groups."""
    return _untiled(levels * scale.float()[:, :, None, :, None])


def from_low(levels: Tensor, scale: Tensor, zero: Tensor, unit: Tensor) -> Float[Tensor, "outputs inputs"]:
    """Returns what `to_low` stands for, with what fills the last tile."""
    bits = low_bits_of(levels)
    fours, fifths = levels[:, :, :_FOURS], levels[:, :, _FOURS:]
    values = torch.stack((fours & 15, fours >> 4), dim=3).flatten(2, 3)
    if bits == 5:
        places = torch.arange(8, dtype=torch.uint8)[:, None, None]
        values = values | ((fifths[:, :, :, None] >> places) & 1).flatten(2, 3) << 4
    halves = values.float().sub_(1 << (bits - 1)).view(len(levels), -1, HALF // 4, TILE, 4)
    halves.mul_(scale[:, :, None, :, None]).add_((zero * unit[:, 1:])[:, :, None, :, None])
    return _untiled(halves.mul_(unit[:, :1, None, :, None]))


def _untiled(values: Tensor) -> Tensor:
    """Returns (outputs, inputs) of (tiles, groups, steps, TILE, inputs of a step)."""
    return values.permute(0, 3, 1, 2, 4).reshape(len(values) * TILE, -1)


def _tiled(levels: Tensor, scale: Tensor, zero: Tensor, unit: Tensor, bits: int) -> Parts:
    """Returns levels from 0 on (outputs, inputs), scale and zero (outputs, halves), units (outputs, 2) in tiles."""
    own = _in_tiles(levels.to(torch.uint8), 4)
    low, high = (own & 15).unflatten(2, (-1, 2)).unbind(3)
    parts = [low | (high << 4)]
    if bits == 5:
        places = torch.arange(8, dtype=torch.uint8)[:, None, None]
        fifths = ((own >> 4) << places.repeat(own.shape[2] // 8, 1, 1)).unflatten(2, (-1, 8))
        parts.append(fifths.sum(3, dtype=torch.uint8))
    scale, zero = scale.to(torch.uint8), zero.to(torch.int8)
    return torch.cat(parts, dim=2), _scales_in_tiles(scale), _scales_in_tiles(zero), _scales_in_tiles(unit)


def _in_tiles(levels: Tensor, step: int) -> Tensor:
    """Returns (tiles, groups, steps, TILE, inputs of a step) of (outputs, inputs)."""
    outputs, inputs = levels.shape
    whole = nn.functional.pad(levels, (0, -inputs % GROUP, 0, -outputs % TILE))
    return whole.view(-(-outputs // TILE), TILE, -1, GROUP // step, step).permute(0, 2, 3, 1, 4)


def _scales_in_tiles(scale: Tensor) -> Tensor:
    whole = nn.functional.pad(scale, (0, 0, 0, -len(scale) % TILE))
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
    scale = (groups.abs().amax(dim=-1, keepdim=True).clamp(min=1e-12) / 127).bfloat16().float()
    levels = (groups / scale).round_().clamp_(-127, 127).to(torch.int8)
    return _in_tiles(levels.flatten(1), 4), _scales_in_tiles(scale.squeeze(-1).bfloat16())


def _fitted_best(weight: Float[Tensor, "outputs inputs"], bits: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns levels from 0 on (outputs, inputs), scale and zero (outputs, halves) and units (outputs, 2)."""
    halves, most = weight.float().unflatten(1, (-1, HALF)), (1 << bits) - 1
    low, high = halves.amin(-1, keepdim=True), halves.amax(-1, keepdim=True)
    largest = halves.abs().amax((1, 2), keepdim=True)
    span = torch.maximum((high - low) / most, 1e-6 * largest + 1e-30)
    unit = span.amax(1, keepdim=True) / 255
    zeros_unit = ((high + low).abs() / 2 + span).amax(1, keepdim=True) / 127 / unit
    halves, low, high = halves / unit, low / unit, high / unit
    (levels, scale, zero, least), *others = (
        _fitted(halves, low * part, high * part, zeros_unit, 1 << (bits - 1)) for part in _PARTS
    )
    for *other, error in others:
        better = error < least
        levels, scale, zero = (
            torch.where(better, new, old) for new, old in zip(other, (levels, scale, zero), strict=True)
        )
    units = torch.cat((unit, zeros_unit), dim=1).squeeze(-1)
    return levels.flatten(1), scale.squeeze(-1), zero.squeeze(-1), units


def _fitted(
    halves: Tensor, low: Tensor, high: Tensor, zeros_unit: Tensor, half: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns levels, scale and zero of each half of a group, and the squared error; all in the output's unit.

    From twice `half` levels between low and high on, levels and the line through them are fitted to each other in turn.
    """
    scale = _kept((high - low) / (2 * half - 1), 1, 255)
    zero = _kept((low + half * scale) / zeros_unit, -127, 127)
    mean = halves.mean(-1, keepdim=True)
    for _ in range(_FITS):
        steps = _steps(halves, scale, zero * zeros_unit, half)
        middle = steps.mean(-1, keepdim=True)
        spread = (steps * steps).mean(-1, keepdim=True) - middle * middle
        slope = ((halves * steps).mean(-1, keepdim=True) - mean * middle) / spread.clamp(min=1e-6)
        scale = _kept(slope, 1, 255)
        zero = _kept((mean - middle * scale) / zeros_unit, -127, 127)
    steps = _steps(halves, scale, zero * zeros_unit, half)
    error = (steps * scale + zero * zeros_unit - halves).square_().sum(-1, keepdim=True)
    return steps + half, scale, zero, error


def _steps(groups: Tensor, scale: Tensor, zero: Tensor, half: int) -> Tensor:
    return ((groups - zero) / scale).round_().clamp_(-half, half - 1)


def _kept(value: Tensor, least: int, most: int) -> Tensor:
    """Returns a value as a byte keeps it."""
    return value.round().clamp_(least, most)
