"""Images as files: a grid (.png), a film (.gif), all of them as numbers (.npy), or a folder of pictures.

Numbers and folders are written batch by batch: no more than one is in memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shoestring._errors import OptionError
from shoestring._extras import require
from shoestring.files import atomic, atomic_folder

LEAST_SIDE = 56  # pixels; smaller images are drawn larger
GAP = 2
MOST = 4096  # images in a grid or film, which are made in memory


def write(path: str | Path, images: Tensor, columns: int | None = None) -> None:
    """Writes images in [0, 1] as one picture: a grid (.png) or a film (.gif).

    Args:
        path: ends in .png or .gif.
        images: (n, c, h, w).
        columns: of the grid; by default it is about square.

    Raises:
        OptionError: another ending.
    """
    check_ending(path)
    image_module: Any = require("nvae", "PIL.Image")
    if Path(path).suffix.lower() == ".gif":
        frames = [image_module.fromarray(_enlarged(each)) for each in _pictures(images)]
        with atomic(path, "wb") as file:
            frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=120, loop=0)
    else:
        with atomic(path, "wb") as file:
            image_module.fromarray(grid(images, columns)).save(file, "PNG")


def check_ending(path: str | Path) -> None:
    """Refuses other endings than .png and .gif."""
    if Path(path).suffix.lower() not in (".png", ".gif"):
        raise OptionError(f"{path}: pictures are written as .png (a grid) or .gif (a film)")


def check_target(path: str | Path, count: int) -> None:
    """Refuses what `write_all` cannot write.

    Raises:
        OptionError: another ending, or too many images for one picture.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in (".png", ".gif", ".npy", ""):
        raise OptionError(f"{path}: give .png (a grid), .gif (a film), .npy (numbers) or a folder's name")
    if suffix in (".png", ".gif") and count > MOST:
        raise OptionError(f"{count:,} images are too many for one picture; give .npy or a folder's name")


def write_all(path: str | Path, batches: Iterable[Tensor], count: int) -> None:
    """Writes batches of images in [0, 1]; a name without ending is a folder of PNG files 000000.png, 000001.png, ...

    Args:
        path: the target.
        batches: each (b, c, h, w).
        count: of images in all.

    Raises:
        OptionError: as `check_target`.
        OutputError: it cannot be written; a folder exists and is not empty.
    """
    check_target(path, count)
    suffix = Path(path).suffix.lower()
    if suffix == ".npy":
        _write_numbers(path, batches, count)
    elif suffix:
        write(path, torch.cat([batch.cpu() for batch in batches]))
    else:
        image_module: Any = require("nvae", "PIL.Image")
        with atomic_folder(path) as folder:
            number = 0
            for batch in batches:
                for each in _pictures(batch):
                    image_module.fromarray(each).save(folder / f"{number:06}.png")
                    number += 1


def _write_numbers(path: str | Path, batches: Iterable[Tensor], count: int) -> None:
    """Writes the bytes of a .npy (n, c, h, w) as they come (numpy's format 1.0)."""
    with atomic(path, "wb") as file:
        for index, batch in enumerate(batches):
            if not index:
                header = {"descr": "|u1", "fortran_order": False, "shape": (count, *batch.shape[1:])}
                np.lib.format.write_array_header_1_0(file, header)
            file.write(_bytes(batch).tobytes())


def grid(images: Tensor, columns: int | None = None) -> np.ndarray:
    """Returns a grid, row by row, as bytes (h, w) or (h, w, 3)."""
    cells = [_enlarged(each) for each in _pictures(images)]
    columns = columns or math.ceil(math.sqrt(len(cells)))
    height, width, *colours = cells[0].shape
    rows = math.ceil(len(cells) / columns)
    sheet = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, *colours), 96, np.uint8)
    for index, cell in enumerate(cells):
        top, left = index // columns * (height + GAP), index % columns * (width + GAP)
        sheet[top : top + height, left : left + width] = cell
    return sheet


def _bytes(images: Tensor) -> np.ndarray:
    return (images.detach().float().clamp(0, 1) * 255).round().byte().cpu().numpy()


def _pictures(images: Tensor) -> Sequence[np.ndarray]:
    array = _bytes(images)
    if array.shape[1] == 1:
        return list(array[:, 0])
    if array.shape[1] != 3:
        raise OptionError(f"images with {array.shape[1]} channels cannot be drawn; pictures have 1 or 3")
    return list(array.transpose(0, 2, 3, 1))


def _enlarged(image: np.ndarray) -> np.ndarray:
    times = max(1, math.ceil(LEAST_SIDE / image.shape[0]))
    return image.repeat(times, 0).repeat(times, 1)
