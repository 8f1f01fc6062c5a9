"""Pictures decoded once: a .npy that every later training maps into memory, written picture by picture.

Decoding thousands of photographs takes minutes each time and their bytes all of the memory; a .npy takes neither.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from shoestring._errors import InputError, OptionError
from shoestring.files import atomic
from shoestring.nvae.images.decoding import Decoding
from shoestring.nvae.images.finding import find_pictures
from shoestring.nvae.images.reading import decoded


@dataclass(frozen=True)
class Packed:
    """What a file of packed pictures has.

    Args:
        images: how many.
        shape: of one, (h, w) or (3, h, w).
        skipped: pictures that were left out.
    """

    images: int
    shape: tuple[int, ...]
    skipped: tuple[str, ...]


def pack(
    source: str | Path, output: str | Path, *, channels: int | None = None, size: int | None = None,
    background: str | None = None, skip_broken: bool = False, test: bool = False,
    each: Callable[[], object] | None = None,
) -> Packed:  # fmt: skip
    """Writes the pictures of a source into one .npy of bytes, (n, h, w) or (n, 3, h, w).

    Args:
        source: a folder or zip of pictures, or a saved dataset; as for `read_images`, like the next five.
        output: ends in .npy.
        channels: 1 or 3.
        size: side of the square.
        background: of transparent pictures.
        skip_broken: leave out what cannot be read.
        test: the source's test images.
        each: called after every picture.

    Raises:
        InputError: a picture cannot be read, or there are none.
        OptionError: `output` has another ending.
    """
    if Path(output).suffix != ".npy":
        raise OptionError(f"{output}: pictures are packed into a .npy")
    decoding, skipped = Decoding(channels, size, background), []
    pictures = find_pictures(source, test)
    if pictures is None:
        raise InputError(f"{source}: is an array already; give it as it is")
    count, shape = 0, ()
    with atomic(output, "wb") as file:
        for array in decoded(pictures, decoding, skip_broken, skipped):
            maps = array if array.ndim == 2 else array.transpose(2, 0, 1)
            if not count:
                shape = maps.shape
                _write_header(file, len(pictures), shape)
            file.write(maps.tobytes())
            count += 1
            if each is not None:
                each()
        if not count:
            raise InputError(
                f"{source}: none of its {len(pictures)} pictures can be read, the first {skipped[0]}"
            )
        file.seek(0)
        _write_header(file, count, shape)  # as long as before: numpy leaves room for the number of rows
    return Packed(count, shape, tuple(skipped))


def _write_header(file: IO[bytes], count: int, shape: tuple[int, ...]) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, *shape)}
    np.lib.format.write_array_header_1_0(file, header)
