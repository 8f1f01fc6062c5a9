"""Images that lie in a file as numbers: MNIST's idx, .npy (memory-mapped), .npz, and scikit-learn's digits."""

from __future__ import annotations

import gzip
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from shoestring._errors import InputError
from shoestring._extras import require

SAMPLE = 256  # images that are looked at before all are
CHANNELS = (1, 3)  # gray, RGB


def read_array(path: Path) -> np.ndarray:
    """Returns the numbers of a .npy, .npz or idx file (also .gz), as they lie there.

    Raises:
        InputError: damaged, or no images.
    """
    suffix = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    return _from_numpy(path) if suffix in (".npy", ".npz") else read_idx(path)


def read_idx(path: Path) -> np.ndarray:
    """Reads an idx file of bytes: 0, 0, type 8, rank, big-endian sizes, bytes (LeCun's format)."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        damage = "damaged gzip" if path.suffix == ".gz" else "cannot be read"
        raise InputError(f"{path}: {damage}: {error}") from error
    rank = content[3] if content[:3] == b"\0\0\x08" else 0
    shape = tuple(int.from_bytes(content[4 + 4 * axis : 8 + 4 * axis], "big") for axis in range(rank))
    if rank not in (3, 4) or len(content) != 4 + 4 * rank + int(np.prod(shape)):
        raise InputError(
            f"{path}: not a whole idx file of images; give .npy, .npz, .zip, idx, a folder of pictures or digits"
        )
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)


def idx_file(folder: Path, test: bool) -> Path | None:
    """Returns the idx file of a folder's training or test images (`t10k` or `test` in its name), or None.

    Raises:
        InputError: several could be meant.
    """
    found = [path for path in sorted(folder.glob("*images*idx[34]-ubyte*")) if path.is_file()]
    of = [path for path in found if _is_test(path) == test]
    names = {path.name.removesuffix(".gz") for path in of}
    if len(names) > 1:
        raise InputError(f"{folder}: has {', '.join(sorted(names))}; give the file that is meant")
    return of[0] if of else None


def _is_test(path: Path) -> bool:
    return bool({"t10k", "test"} & set(re.split("[^a-z0-9]+", path.name.lower())))


def _from_numpy(path: Path) -> np.ndarray:
    try:
        loaded = np.load(path, mmap_mode="r" if path.suffix == ".npy" else None, allow_pickle=False)
        if isinstance(loaded, np.memmap):
            return _only(loaded, path)
        arrays = {name: loaded[name] for name in loaded.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path}: cannot be read as an array: {error}") from error
    images = [name for name, array in arrays.items() if array.ndim >= 3]
    if len(images) != 1:
        raise InputError(
            f"{path}: has the arrays {', '.join(arrays)}; exactly one of three or four axes is wanted"
        )
    return arrays[images[0]]


def _only(array: np.memmap, path: Path) -> np.ndarray:
    """Refuses a .npy with more in it than one array, which numpy would pass over."""
    more = path.stat().st_size - array.offset - array.nbytes
    if more:
        raise InputError(
            f"{path}: has {more:,} bytes after its array; save what is meant in a file of its own"
        )
    return array


def digits() -> np.ndarray:
    """Returns the 1,797 of scikit-learn, 8 x 8, their 17 levels spread over bytes."""
    datasets: Any = require("nvae", "sklearn.datasets")
    return np.round(datasets.load_digits().images * (255 / 16)).astype(np.uint8)


def as_maps(array: np.ndarray, source: object) -> np.ndarray:
    """Returns (n, c, h, w) of (n, h, w), (n, h, w, c) or (n, c, h, w); c is 1 or 3.

    Raises:
        InputError: the numbers are no bytes, or it cannot be told which axis is which.
    """
    if array.dtype != np.uint8:
        raise InputError(f"{source}: numbers of type {array.dtype}, bytes (uint8, 0 to 255) are wanted")
    shape = array.shape
    if array.ndim not in (3, 4):
        raise InputError(
            f"{source}: an array of shape {shape}; (images, height, width[, channels]) is wanted"
        )
    if array.ndim == 3:
        if shape[0] == 3 or shape[2] in CHANNELS:
            raise InputError(
                f"{source}: an array of shape {shape}, which may be one picture in colours; give (images, height, "
                "width, channels), of a single picture array[None]"
            )
        return array[:, None]
    first, last = shape[1] in CHANNELS, shape[3] in CHANNELS
    if first == last:
        raise InputError(
            f"{source}: an array of shape {shape}; which axis is of channels cannot be told: 1 (gray) or 3 (RGB) in "
            "the second or the last place is wanted"
        )
    return array if first else array.transpose(0, 3, 1, 2)


def require_bytes(pixels: np.ndarray, source: object) -> None:
    """Refuses images whose numbers are 0 and 1 only, which as bytes would all be black.

    Raises:
        InputError: no number is above 1.
    """
    few = pixels[:: max(1, len(pixels) // SAMPLE)]
    if len(pixels) and few.max() <= 1 and pixels.max() <= 1:
        raise InputError(
            f"{source}: no number is above 1, so all is black; multiply by 255 what goes from 0 to 1"
        )
