"""A set of images of one size, and the parts of it; nothing is copied."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from shoestring._errors import InputError


@dataclass(frozen=True)
class Images:
    """A set of images of one size.

    Args:
        pixels: uint8 (n, channels, height, width); may be memory-mapped.
        name: where they come from.
        skipped: pictures that were left out.
        chosen: which rows of `pixels` belong to the set; None takes all. Nothing is copied.
    """

    pixels: np.ndarray
    name: str
    skipped: tuple[str, ...] = ()
    chosen: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.pixels) if self.chosen is None else len(self.chosen)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return self.pixels.shape[1:]

    def take(self, indices: np.ndarray) -> np.ndarray:
        """Returns the pixels of some images, (b, channels, height, width)."""
        return self.pixels[indices if self.chosen is None else self.chosen[indices]]

    def rows(self, indices: np.ndarray) -> Images:
        """Returns the set of some images."""
        return replace(self, chosen=indices if self.chosen is None else self.chosen[indices], skipped=())

    def part(self, start: int, stop: int) -> Images:
        """Returns the set of the images from `start` to `stop`."""
        return self.rows(np.arange(len(self))[start:stop])


def require_shape(images: Images, shape: tuple[int, int, int], preset: str) -> None:
    """Refuses images that a model is not for.

    Raises:
        InputError: they are of another size or number of channels.
    """
    if images.shape != shape:
        (channels, height, width), (want, side, _) = images.shape, shape
        resize = f"--size {side}" if (height, width) != (side, side) else ""
        recolour = f"--channels {want}" if channels != want else ""
        raise InputError(
            f"{images.name}: images of {height}x{width} with {channels} channels, {preset} is for {side}x{side} with "
            f"{want}; for pictures pass {' '.join(filter(None, (resize, recolour)))}, or change the model by --set"
        )
