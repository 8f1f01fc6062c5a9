"""Linear layers of 8 and 4 bits over torch's own CPU kernels, and how weights become such.

- int8: one scale for each output; activations are rounded row by row, so that a row's result does not depend on
  what else is in the batch, which `torch.ao.quantization`'s dynamic layers do not give.
- int4: a scale and a zero for every `GROUP` inputs; activations in bfloat16. The kernel is made for few rows: for
  many, blocks of weights are unpacked and multiplied as float32.
- Processors without VNNI add pairs of products in 16 bits, which overflow at 8-bit activations; there the
  activations get 7 bits. Whether they do is tried out.

torch gives no public names to these kernels; `KERNELS` lists what a new release of torch must still have.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

GROUP = 64  # inputs that share a scale in int4
_ROWS4 = 256  # that are packed at once for the kernel, which wants them as int32
_INT4_OUTPUTS = 64  # the int4 kernel takes outputs in blocks of so many on every processor
_FITS = 4  # times that levels and scales are fitted to each other; more gains less than 1 %
_DENSE_ROWS = 64  # tokens of a prompt from which on unpacking the weights is quicker
_DENSE_OUTPUTS = 256  # that are unpacked at once, so that they stay in the processor's cache
_AT_ONCE = 1 << 18  # weights that are quantized at once, so that they stay in the processor's cache
KERNELS = (
    "ops.quantized.linear_prepack",
    "ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32",
    "_make_per_channel_quantized_tensor",  # by this name its warning can be caught
    "ops.aten._convert_weight_to_int4pack_for_cpu",
    "ops.aten._weight_int4pack_mm_for_cpu",
)


def to_int8(weight: Float[Tensor, "outputs inputs"]) -> tuple[Tensor, Tensor]:
    """Returns (int8 weight, float32 scale of each output): weight = int8 * scale."""
    return _by_rows(_rows_to_int8, weight)


def to_int4(weight: Float[Tensor, "outputs inputs"]) -> tuple[Tensor, Tensor, Tensor]:
    """Returns (two weights a byte, scale, zero): weight = (int4 - 8) * scale + zero in groups of `GROUP`.

    Both are fitted to the group by least squares.
    """
    return _by_rows(_rows_to_int4, weight)


@lru_cache(maxsize=1)
def levels() -> int:
    """Returns how many steps an activation may have on either side of zero, 127 or, where those overflow, 63."""
    ones, weight = torch.ones(1, 64), torch.full((64, 64), 127, dtype=torch.int8)
    y = _linear8(ones, 127, _packed8(weight, torch.ones(64)))
    return 127 if torch.allclose(y, torch.full_like(y, 127.0 * 64), rtol=1e-3) else 63


@contextmanager
def packing() -> Iterator[None]:
    """Packs int8 weights for fbgemm, several times faster at one row than torch's default, without a warning.

    Both settings are the process's: threads that pack at the same time need one of these around all of them.
    """
    engine = torch.backends.quantized.engine
    torch.backends.quantized.engine = "fbgemm"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tensor type is deprecated, the kernels that take it are not
            yield
    finally:
        torch.backends.quantized.engine = engine


def takes_int4(outputs: int, inputs: int) -> bool:
    """Tells whether a layer of this shape can have 4 bits; others get 8."""
    return outputs % _INT4_OUTPUTS == 0 and inputs % GROUP == 0


class Linear8(nn.Module):
    """y = W x + b with an int8 W.

    Args:
        weight: int8.
        scale: of each output.
        bias: or None.
    """

    def __init__(
        self,
        weight: Int[Tensor, "outputs inputs"],
        scale: Float[Tensor, " outputs"],
        bias: Float[Tensor, " outputs"] | None,
    ) -> None:
        super().__init__()
        self.outputs, self.inputs = weight.shape
        self.packed = _packed8(weight, scale)
        self.bias = None if bias is None else bias.float()

    def forward(self, x: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        """Returns (..., outputs) in float32."""
        flat = x.reshape(-1, self.inputs).float()
        size = flat.abs().amax(dim=1, keepdim=True).clamp_(min=1e-9)
        y = _linear8(flat / size, levels(), self.packed)
        y = y.mul_(size) if self.bias is None else torch.addcmul(self.bias, y, size)
        return y.view(*x.shape[:-1], self.outputs)


class Linear4(nn.Module):
    """y = W x + b with a 4-bit W.

    Args:
        packed: two weights a byte, as `to_int4` returns them.
        scale: of each group.
        zero: of each group.
        bias: or None.
    """

    def __init__(
        self,
        packed: UInt8[Tensor, "outputs half"],
        scale: Float[Tensor, "outputs groups"],
        zero: Float[Tensor, "outputs groups"],
        bias: Float[Tensor, " outputs"] | None,
    ) -> None:
        super().__init__()
        self.outputs, self.inputs = packed.shape[0], packed.shape[1] * 2
        self.packed = torch.empty_like(packed)
        for new, rows in zip(self.packed.split(_ROWS4), packed.split(_ROWS4), strict=True):
            new[:] = _packed4(_levels(rows))
        self.grid = torch.stack((scale, zero), dim=-1).transpose(0, 1).contiguous()
        self.bias = None if bias is None else bias.float()

    def forward(self, x: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        """Returns (..., outputs) in float32."""
        flat = x.reshape(-1, self.inputs).bfloat16()
        if x.ndim > 1 and x.shape[-2] >= _DENSE_ROWS and _block():
            y = self._dense(flat.float())
        else:
            y = torch.ops.aten._weight_int4pack_mm_for_cpu(flat, self.packed, GROUP, self.grid).float()
        y = y if self.bias is None else y.add_(self.bias)
        return y.view(*x.shape[:-1], self.outputs)

    def _dense(self, flat: Float[Tensor, "rows inputs"]) -> Float[Tensor, "rows outputs"]:
        block, y = _block(), flat.new_empty(len(flat), self.outputs)
        packed = self.packed.view(self.outputs // block, self.inputs, block // 2)
        step = _DENSE_OUTPUTS // block
        for begin in range(0, len(packed), step):
            outputs = slice(begin * block, (begin + step) * block)
            weights = _unpacked(packed[begin : begin + step].transpose(0, 1), self.grid[:, outputs].float())
            y[:, outputs] = flat @ weights
        return y


class Embedding8(nn.Module):
    """An embedding whose rows are int8 with a scale each."""

    def __init__(self, weight: Int[Tensor, "tokens hidden"], scale: Float[Tensor, " tokens"]) -> None:
        super().__init__()
        self.weight, self.scale = weight, scale

    def forward(self, ids: Int[Tensor, "*rows"]) -> Float[Tensor, "*rows hidden"]:
        """Returns the rows in float32."""
        return self.weight[ids].float() * self.scale[ids][..., None]


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
    rows = weight.float()
    scale = rows.abs().amax(dim=1).clamp(min=1e-12) / 127
    return (rows / scale[:, None]).round_().clamp_(-127, 127).to(torch.int8), scale


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


def _linear8(x: Tensor, steps: int, packed: object) -> Tensor:
    return torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
        x, 1.0 / steps, steps + 1, packed
    )


def _levels(packed: UInt8[Tensor, "outputs half"]) -> UInt8[Tensor, "outputs inputs"]:
    return torch.stack((packed & 15, packed >> 4), dim=-1).flatten(1)


def _packed4(levels: Tensor) -> Tensor:
    return torch.ops.aten._convert_weight_to_int4pack_for_cpu(levels.to(torch.int32), 1)


@lru_cache(maxsize=1)
def _block() -> int:
    """Returns how many outputs the int4 kernel packs together here; 0 if it packs in a way not known.

    A block has, for each input, bytes with one half of its outputs in the low bits and the other in the high ones.
    """
    levels = torch.arange(128 * 64).mul_(7).remainder_(16).view(128, 64).to(torch.uint8)
    for block in (64, 32):
        bytes_ = _packed4(levels).view(128 // block, 64, block // 2)
        if torch.equal(torch.cat((bytes_ & 15, bytes_ >> 4), -1).transpose(1, 2).reshape(128, 64), levels):
            return block
    return 0


def _unpacked(packed: UInt8[Tensor, "inputs blocks half"], grid: Float[Tensor, "groups outputs 2"]) -> Tensor:
    """Returns weights as (inputs, outputs)."""
    inputs, blocks, half = packed.shape
    levels = torch.empty(inputs, blocks, 2 * half)
    levels[..., :half] = packed & 15
    levels[..., half:] = packed >> 4
    scale, zero = grid[..., 0], grid[..., 1] - 8 * grid[..., 0]
    levels = levels.view(inputs // GROUP, GROUP, -1)
    return torch.addcmul(zero[:, None], levels, scale[:, None]).view(inputs, -1)


def _packed8(weight: Tensor, scale: Tensor) -> object:
    zeros = torch.zeros(len(scale), dtype=torch.long)
    with packing():
        quantized = torch._make_per_channel_quantized_tensor(weight, scale.double(), zeros, 0)
        return torch.ops.quantized.linear_prepack(quantized, None)
