"""Linear layers and embeddings of 8, 5 and 4 bits, and how a product with them is computed on a CPU.

- Activations are rounded to 255 steps of their own for every 16 of a row, so that a row's result does not depend
  on what else is in the batch, nor an activation's on an outlier far away. Products are added as whole numbers,
  exactly, and floats in one order: every processor gives the same answer, bit for bit.
- The kernel is `lm/kernel`, in C. Where it was not compiled, blocks of weights are unpacked and multiplied as
  float32: as right, and slow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from shoestring.lm.weights.quantize import GROUP, TILE, from_int8, from_low, low_bits_of

try:
    from shoestring.lm import _kernel

    _NEEDED = (_kernel.product, _kernel.blocks)
except (ImportError, AttributeError):  # no compiler when it was installed, or what it made is of older source
    _kernel = None
INSTRUCTIONS = ("portable", "AVX2", "AVX-512 VNNI")
LEVEL = _kernel.level() if _kernel is not None else None  # place in INSTRUCTIONS of the best one here
_UNPACKED = 1 << 20  # weights that are unpacked at once without the kernel


def kernel_name() -> str:
    """Returns what computes the products here, for people."""
    return "slow: the kernel was not compiled" if LEVEL is None else INSTRUCTIONS[LEVEL]


class Linear8(nn.Module):
    """y = W x + b with an int8 W.

    Args:
        outputs: of W.
        inputs: of W.
        levels: and
        scale: as `to_int8` returns them.
        bias: or None.
    """

    def __init__(
        self,
        outputs: int,
        inputs: int,
        levels: Int[Tensor, "tiles groups steps tile 4"],
        scale: Tensor,
        bias: Float[Tensor, " outputs"] | None = None,
    ) -> None:
        super().__init__()
        self.outputs, self.inputs, self.bits = outputs, inputs, 8
        self.levels, self.scale, self.bias = levels.contiguous(), scale.contiguous(), bias

    def forward(self, x: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        """Returns (..., outputs) in float32."""
        if _kernel is None:
            return _unpacked(x, self, lambda part: from_int8(self.levels[part], self.scale[part]))
        return _product(x, self)


class LinearLow(nn.Module):
    """y = W x + b with a W of 4 or 5 bits.

    Args:
        outputs: of W.
        inputs: of W.
        levels: and
        scale: and
        zero: and
        unit: as `to_low` returns them.
        bias: or None.
    """

    def __init__(
        self,
        outputs: int,
        inputs: int,
        levels: UInt8[Tensor, "tiles groups steps tile 4"],
        scale: Tensor,
        zero: Tensor,
        unit: Tensor,
        bias: Float[Tensor, " outputs"] | None = None,
    ) -> None:
        super().__init__()
        self.outputs, self.inputs, self.bits = outputs, inputs, low_bits_of(levels)
        self.levels, self.bias = levels.contiguous(), bias
        self.scale, self.zero, self.unit = scale.contiguous(), zero.contiguous(), unit.contiguous()

    def forward(self, x: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        """Returns (..., outputs) in float32."""
        if _kernel is None:
            parts = self.levels, self.scale, self.zero, self.unit
            return _unpacked(x, self, lambda part: from_low(*(each[part] for each in parts)))
        return _product(x, self, self.zero.data_ptr(), self.unit.data_ptr())


class Embedding8(nn.Module):
    """An embedding of int8 rows, as `to_int8` returns them, which are multiplied by a number."""

    def __init__(
        self,
        hidden: int,
        levels: Int[Tensor, "tiles groups steps tile 4"],
        scale: Tensor,
        factor: float = 1.0,
    ) -> None:
        super().__init__()
        self.hidden, self.levels, self.scale, self.factor = hidden, levels, scale, factor

    def forward(self, ids: Int[Tensor, "*rows"]) -> Float[Tensor, "*rows hidden"]:
        """Returns the rows in float32."""
        tile, place = ids // TILE, ids % TILE
        levels = self.levels[tile, :, :, place].flatten(-2)  # (*rows, groups, GROUP)
        rows = levels * (self.scale[tile, :, place].float() * self.factor)[..., None]
        return rows.flatten(-2)[..., : self.hidden]


def _product(x: Tensor, layer: Any, zero: int = 0, unit: int = 0) -> Tensor:
    flat = x.reshape(-1, layer.inputs).float().contiguous()
    y = torch.empty(len(flat), layer.outputs, dtype=torch.float32)
    bias = 0 if layer.bias is None else layer.bias.data_ptr()
    kernel: Any = _kernel  # it is there, or `_unpacked` computes
    kernel.product(
        flat.data_ptr(), len(flat), layer.levels.data_ptr(), layer.scale.data_ptr(), zero, unit, bias,
        y.data_ptr(), layer.outputs, layer.inputs, layer.bits, torch.get_num_threads(), LEVEL,
    )  # fmt: skip
    return y.view(*x.shape[:-1], layer.outputs)


def _unpacked(x: Tensor, layer: Any, weight_of: Callable[[slice], Tensor]) -> Tensor:
    flat = nn.functional.pad(x.reshape(-1, layer.inputs).float(), (0, -layer.inputs % GROUP))
    y = torch.cat([flat @ weight_of(part).t() for part in _parts(layer)], dim=1)[:, : layer.outputs]
    y = y if layer.bias is None else y + layer.bias
    return y.reshape(*x.shape[:-1], layer.outputs)


def _parts(layer: Any) -> Iterator[slice]:
    """Yields tiles that are unpacked at once."""
    step = max(1, _UNPACKED // (layer.inputs * TILE))
    for begin in range(0, len(layer.levels), step):
        yield slice(begin, begin + step)
