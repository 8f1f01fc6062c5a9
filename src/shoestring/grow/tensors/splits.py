"""Dividing a weight among the copies of what it reads: part 1 + ... + part n == weight.

- `grid`: random unequal parts on the weight's own grid. All parts are whole multiples of its unit in the last place
  and no larger than itself, so each is representable and the sum is exact in any dtype, bf16 too.
- `noise`: equal parts plus Gaussian noise that cancels; exact in fp64, rounded in what is stored.
- `equal`: equal parts. Copies that start equal stay equal: they get the same gradients for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from shoestring.grow.stored.dtypes import Array, decode, encode, grid

SPLITS = ("grid", "noise", "equal")
Bytes = Callable[[int], Array]  # stream within this division -> a random byte for every weight
Noise = Callable[[int], Array]


def divided(weights: Array, dtype: str, count: int, kind: str, draw: Bytes, noise: Noise) -> list[Array]:
    """Returns `count` arrays that sum to the weights, stored like them.

    Args:
        weights: stored numbers.
        dtype: how they are stored.
        count: number of parts.
        kind: one of `SPLITS`.
        draw: random bytes, for `grid`.
        noise: what is added, for `noise`.
    """
    if kind == "grid":
        if dtype == "BF16" and count == 2:
            return _pair_of_bf16(weights, draw(0))
        return _on_grid(weights, dtype, count, draw)
    if kind == "equal":
        return [_equal(weights, dtype, count)] * count
    parts = np.stack([noise(copy) for copy in range(count)])
    parts -= parts.mean(0)
    values = decode(weights, dtype).astype(np.float64)
    return [encode(values / count + part, dtype) for part in parts]


def _on_grid(weights: Array, dtype: str, count: int, draw: Bytes) -> list[Array]:
    """Breaks the stick from one end; what a break takes is 0.1 to 0.9 of two fair shares."""
    values = decode(weights, dtype).astype(np.float64)
    units = grid(decode(weights, dtype), dtype).astype(np.float64)
    usable = np.isfinite(values)
    left = np.where(usable, np.abs(values), 0.0) / np.where(usable, units, 1.0)  # whole numbers
    parts = []
    for copy in range(count - 1):
        share = (draw(copy) + 0.5) * (1.6 / 256) + 0.2
        part = np.minimum(np.floor(left * share / (count - copy)), left)
        parts.append(part)
        left = left - part
    scale = np.copysign(np.where(usable, units, 0.0), values)
    stored = [encode(part * scale, dtype) for part in (*parts, left)]
    if not usable.all():
        stored[0] = np.where(usable, stored[0], weights)
    return stored


def _equal(weights: Array, dtype: str, count: int) -> Array:
    halvings = count.bit_length() - 1
    if dtype != "BF16" or count != 1 << halvings:
        return encode(decode(weights, dtype) / count, dtype)
    exponents = weights & np.uint16(0x7F80)
    step = np.uint16(halvings << 7)
    halved = weights - step
    odd = (exponents <= step) | (exponents == 0x7F80)  # zero, subnormal or not finite
    if odd.any():
        halved[odd] = encode(decode(weights[odd], dtype) / count, dtype)
    return halved


def _pair_of_bf16(weights: Array, bytes_: Array) -> list[Array]:
    """The same as `_on_grid` for two parts, by a table: a part's bits are the weight's plus an offset that depends
    on its 7 bits of mantissa and on the random byte alone."""
    first, second = _offsets()
    index = (weights & np.uint16(0x7F)) << np.uint16(8)
    index |= bytes_
    parts = [np.take(first, index), np.take(second, index)]
    np.add(parts[0], weights, out=parts[0])
    np.add(parts[1], weights, out=parts[1])
    exponents = weights & np.uint16(0x7F80)
    if (odd := (exponents < 0x0480) | (exponents == 0x7F80)).any():  # too small to divide, or not finite
        parts[0][odd] = weights[odd]
        parts[1][odd] = weights[odd] & np.uint16(0x8000)
    return parts


@cache
def _offsets() -> tuple[Array, Array]:
    mantissa = np.arange(128, 256)[:, None]  # with the hidden bit
    share = (np.arange(256) + 0.5) * (1.6 / 256) + 0.2
    first = np.floor(mantissa * share / 2).astype(np.int64)
    return tuple(_offset(part, mantissa).reshape(-1) for part in (first, mantissa - first))  # pyrefly: ignore


def _offset(part: Array, mantissa: Array) -> Array:
    """Returns bits(part * unit) - bits(mantissa * unit), modulo 2^16; parts are at least 12 units."""
    shift = 7 - np.floor(np.log2(part)).astype(np.int64)
    bits = (part << shift) - 128 - (shift << 7)
    return (bits - (mantissa - 128)).astype(np.uint16)
