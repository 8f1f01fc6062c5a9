"""Which images a model has not been trained on: a tenth is held out, known by content, and told in the model's folder.

An image is known by its pixels, so what was held out is found again wherever it lies and whatever lies beside it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from pathlib import Path

import numpy as np

from shoestring._errors import InputError
from shoestring.files import atomic
from shoestring.nvae.images.sets import Images

TOGETHER = 1024  # images read at once
FILE = "held_out.json"


def fingerprints(images: Images) -> list[str]:
    """Returns 16 hexadecimal digits for each image, which follow from its pixels alone (BLAKE2b, RFC 7693)."""
    found = []
    for start in range(0, len(images), TOGETHER):
        for image in images.take(np.arange(start, min(start + TOGETHER, len(images)))):
            found.append(hashlib.blake2b(image.tobytes(), digest_size=8).hexdigest())
    return found


def held_out(images: Images, seed: int, known: Collection[str] = ()) -> tuple[Images, Images]:
    """Returns (training, test): a tenth at random is held out, at most 1,000; what has the same pixels is on one side.

    Args:
        images: all.
        seed: of what is held out.
        known: fingerprints of what was held out before; if there are any among the images, those are held out again.

    >>> pixels = np.arange(60, dtype=np.uint8).repeat(4).reshape(60, 1, 2, 2)
    >>> [len(part) for part in held_out(Images(pixels, "levels"), seed=0)]
    [54, 6]
    """
    prints = np.array(fingerprints(images))
    out = np.isin(prints, list(known))
    if not out.any():
        different, counts = np.unique(prints, return_counts=True)
        order = np.random.default_rng(seed).permutation(len(different))
        most = min(1000, len(images) // 10)
        chosen = max(1, int(np.searchsorted(counts[order].cumsum(), most, "right")))
        out = np.isin(prints, different[order[:chosen]])
    return images.rows(np.flatnonzero(~out)), images.rows(np.flatnonzero(out))


def remember(folder: Path, prints: Collection[str]) -> None:
    """Writes into a model's folder what was held out; with nothing held out, an earlier training's file goes."""
    if not prints:
        (folder / FILE).unlink(missing_ok=True)
        return
    with atomic(folder / FILE) as file:
        json.dump({"fingerprints": sorted(prints)}, file)


def remembered(folder: str | Path) -> frozenset[str]:
    """Returns the fingerprints of what was held out of a model's training.

    Raises:
        InputError: the file is damaged.
    """
    path = Path(folder) / FILE
    if not path.exists():
        return frozenset()
    try:
        return frozenset(json.loads(path.read_text("utf-8"))["fingerprints"])
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(f"{path}: damaged; train again, or remove it") from error


def unseen(images: Images, known: Collection[str]) -> Images:
    """Returns those of the images that were held out."""
    return images.rows(np.flatnonzero(np.isin(np.array(fingerprints(images)), list(known))))
