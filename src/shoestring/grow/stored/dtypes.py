"""Stored numbers as numpy arrays, bf16 included: decoding, encoding, and each number's own grid.

- numpy has no bf16; its bits are the upper half of an fp32's, so a bf16 array is kept as `uint16`.
- `grid` is the distance to the next number of the same exponent: every number is a whole multiple of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

STORAGE = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16}
EPSILON = {"F64": 2.0**-53, "F32": 2.0**-24, "F16": 2.0**-11, "BF16": 2.0**-8}  # largest relative rounding
TORCH = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
OF_TORCH = {name: code for code, name in TORCH.items()}
WHOLE = {"I64": np.int64, "I32": np.int32, "U8": np.uint8, "BOOL": np.bool_}  # buffers: copied, never grown


def size(dtype: str) -> int:
    """Returns the bytes of one number.

    >>> size("BF16"), size("F32")
    (2, 4)
    """
    return np.dtype({**STORAGE, **WHOLE}[dtype]).itemsize


def decode(stored: Array, dtype: str) -> Array:
    """Returns the numbers as fp32 (as fp64 if they are stored so); exact."""
    if dtype == "BF16":
        return (stored.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return stored if dtype in ("F32", "F64") else stored.astype(np.float32)


def encode(values: Array, dtype: str) -> Array:
    """Returns the numbers rounded to nearest, ties to even.

    >>> decode(encode(np.array([1.00390625]), "BF16"), "BF16")
    array([1.], dtype=float32)
    """
    if dtype != "BF16":
        with np.errstate(over="ignore"):  # becomes infinite, which whoever writes it looks for
            return values.astype(STORAGE[dtype], copy=False)
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (
        (bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))) >> np.uint32(16)
    ).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FC0), rounded) if np.isnan(values).any() else rounded


def convert(stored: Array, source: str, target: str) -> Array:
    """Returns numbers of one dtype in another; the same array if the dtypes are one."""
    return stored if source == target else encode(decode(stored, source), target)


def finite(stored: Array, dtype: str) -> bool:
    """Tells whether none of the stored numbers is NaN or infinite.

    >>> finite(encode(np.array([1.0, 3e38]), "BF16"), "BF16"), finite(np.array([np.nan]), "F64")
    (True, False)
    """
    if dtype == "BF16":
        return not stored.size or int((stored & np.uint16(0x7FFF)).max()) < 0x7F80
    return bool(np.isfinite(stored).all())


def grid(values: Array, dtype: str) -> Array:
    """Returns each number's unit in the last place, in the precision of `values`.

    Args:
        values: decoded numbers of this dtype.
        dtype: as stored.
    """
    sizes = np.abs(values)
    if dtype == "F16":
        return _spacing(sizes.astype(np.float16)).astype(np.float32)
    if dtype == "BF16":
        return np.spacing(sizes) * np.float32(65536)  # 16 bits fewer than fp32
    return _spacing(sizes)


def _spacing(sizes: Array) -> Array:
    """Returns the distance to the next larger number; of the largest, after which infinity comes, to the one before."""
    with np.errstate(over="ignore"):
        units = np.spacing(sizes)
    last = np.isinf(units) & np.isfinite(sizes)
    units[last] = sizes[last] - np.nextafter(sizes[last], sizes.dtype.type(0))
    return units
