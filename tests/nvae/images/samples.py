"""Small images, and the forms in which they come."""

from pathlib import Path

import numpy as np
from PIL import Image

TOOLS = Path(__file__).parents[1] / "pictures"
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 6, 6), dtype=np.uint8)
RGB = np.random.default_rng(1).integers(0, 256, (5, 6, 6, 3), dtype=np.uint8)


def idx(pixels):
    return (
        b"\0\0\x08"
        + bytes([pixels.ndim])
        + b"".join(n.to_bytes(4, "big") for n in pixels.shape)
        + pixels.tobytes()
    )


def pictures(folder, pixels=PIXELS):
    folder.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{index}.png")
    return folder


def same(images, pixels=PIXELS):
    expected = pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)
    return np.array_equal(images.pixels, expected)
