"""Pictures of images: grids as PNG, walks between images as GIF."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from shoestring._errors import OptionError
from shoestring._extras import require
from shoestring.files import atomic

LEAST_SIDE = 56  # pixels; smaller images are drawn larger
GAP = 2


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
        frames = [image_module.fromarray(_enlarged(each)) for each in _bytes(images)]
        with atomic(path, "wb") as file:
            frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=120, loop=0)
    else:
        with atomic(path, "wb") as file:
            image_module.fromarray(grid(images, columns)).save(file, "PNG")


def check_ending(path: str | Path) -> None:
    """Refuses other endings than .png and .gif."""
    if Path(path).suffix.lower() not in (".png", ".gif"):
        raise OptionError(f"{path}: pictures are written as .png (a grid) or .gif (a film)")


def grid(images: Tensor, columns: int | None = None) -> np.ndarray:
    """Returns a grid, row by row, as bytes (h, w) or (h, w, 3)."""
    cells = [_enlarged(each) for each in _bytes(images)]
    columns = columns or math.ceil(math.sqrt(len(cells)))
    height, width, *colours = cells[0].shape
    rows = math.ceil(len(cells) / columns)
    sheet = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, *colours), 96, np.uint8)
    for index, cell in enumerate(cells):
        top, left = index // columns * (height + GAP), index % columns * (width + GAP)
        sheet[top : top + height, left : left + width] = cell
    return sheet


def _bytes(images: Tensor) -> Sequence[np.ndarray]:
    array = (images.detach().float().clamp(0, 1) * 255).round().byte().cpu().numpy()
    if array.shape[1] == 1:
        return list(array[:, 0])
    if array.shape[1] != 3:
        raise OptionError(f"images with {array.shape[1]} channels cannot be drawn; pictures have 1 or 3")
    return list(array.transpose(0, 2, 3, 1))


def _enlarged(image: np.ndarray) -> np.ndarray:
    times = max(1, math.ceil(LEAST_SIDE / image.shape[0]))
    return image.repeat(times, 0).repeat(times, 1)
