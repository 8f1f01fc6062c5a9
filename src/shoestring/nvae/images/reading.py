"""Images from the forms in which people keep them: folders, zips, saved datasets and arrays of pictures.

- `read_images` gives one array of bytes; a picture that cannot be read, or is of another size, is refused by its name,
  or left out and counted.
- Where pictures lie and which are test images is `finding.py`'s business, what one of them shows `decoding.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from shoestring._errors import InputError
from shoestring.nvae.images.arrays import as_maps, digits, idx_file, read_array, require_bytes
from shoestring.nvae.images.decoding import Decoding
from shoestring.nvae.images.finding import Picture, find_pictures
from shoestring.nvae.images.sets import Images

FEWEST = 2


def read_images(
    source: str | Path, *, channels: int | None = None, size: int | None = None, background: str | None = None,
    skip_broken: bool = False, test: bool = False,
) -> Images:  # fmt: skip
    """Reads images.

    Args:
        source: `digits`, or idx, .npy, .npz, a folder or zip of pictures, a saved dataset.
        channels: 1 or 3 turns pictures into gray or RGB; None takes them as they are.
        size: pictures are cut to a square around the middle and scaled to this; None takes them as they are.
        background: `white` or `black`, on which transparent pictures are laid; None refuses them.
        skip_broken: leave out pictures that cannot be read or are of another size, and count them.
        test: of a source that has test images of its own, those.

    Raises:
        InputError: nothing there, broken, of mixed sizes, or too few.

    >>> read_images("digits").shape
    (1, 8, 8)
    """
    decoding, skipped = Decoding(channels, size, background), []
    pictures = find_pictures(source, test)
    if pictures is None:
        pixels = _array(source, decoding, test)
    else:
        pixels = _stacked(decoded(pictures, decoding, skip_broken, skipped), len(pictures))
    if len(pixels) < FEWEST:
        left_out = f" ({len(skipped)} were left out, the first {skipped[0]})" if skipped else ""
        raise InputError(f"{source}: has {len(pixels)} images{left_out}; at least {FEWEST} are needed")
    require_bytes(pixels, source)
    return Images(pixels, str(source), tuple(skipped))


def decoded(
    pictures: Sequence[Picture], decoding: Decoding, skip_broken: bool, skipped: list[str]
) -> Iterator[np.ndarray]:
    """Yields pictures as bytes, (h, w) or (h, w, 3); the first decides the size. `skipped` gets the names of others."""
    first: tuple[int, ...] | None = None
    for picture in pictures:
        try:
            array = decoding.decoded(_content(picture), picture.name)
            first = first or array.shape
            if array.shape != first:
                raise InputError(
                    f"{picture.name}: {_shape(array.shape)}, those before {_shape(first)}; pass --size N and "
                    "--channels 1 or 3 to make them alike, or --skip-broken to leave it out"
                )
        except InputError:
            if not skip_broken:
                raise
            skipped.append(picture.name)
            continue
        yield array


def _content(picture: Picture) -> bytes:
    if picture.refused:
        raise InputError(f"{picture.name}: {picture.refused}, or --skip-broken leaves it out")
    try:
        return picture.content()
    except (
        Exception
    ) as error:  # a file without permission, a damaged or encrypted member, a dataset's missing file
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{picture.name}: cannot be read ({reason}); --skip-broken leaves it out") from error


def _stacked(arrays: Iterator[np.ndarray], most: int) -> np.ndarray:
    """Returns all in one array (n, c, h, w), which is the only copy."""
    pixels, count = np.empty((0, 1, 1), np.uint8), 0
    for array in arrays:
        if not count:
            pixels = np.empty((most, *array.shape), np.uint8)
        pixels[count] = array
        count += 1
    pixels = pixels[:count]
    return pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)


def _array(source: str | Path, decoding: Decoding, test: bool) -> np.ndarray:
    path = Path(source)
    folder_file = idx_file(path, test) if path.is_dir() else None
    array = digits() if str(source) == "digits" else read_array(folder_file or path)
    pixels = as_maps(array, source)
    channels, height, width = pixels.shape[1:]
    if decoding.channels not in (None, channels) or decoding.size not in (None, height) or (
        decoding.size not in (None, width)
    ):  # fmt: skip
        raise InputError(
            f"{source}: is an array of {height}x{width} with {channels} channels; --size and --channels change "
            "pictures, not arrays"
        )
    return pixels


def _shape(shape: tuple[int, ...]) -> str:
    return f"{shape[0]}x{shape[1]} {'gray' if len(shape) == 2 else 'RGB'}"
