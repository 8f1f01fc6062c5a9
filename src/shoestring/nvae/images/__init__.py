"""Sets of images: how they are read, decoded, taken apart and held out."""

from shoestring.nvae.images.finding import has_test_images
from shoestring.nvae.images.holding import fingerprints, held_out, remember, remembered, unseen
from shoestring.nvae.images.reading import read_images
from shoestring.nvae.images.sets import Images, require_shape

__all__ = [
    "Images",
    "fingerprints",
    "has_test_images",
    "held_out",
    "read_images",
    "remember",
    "remembered",
    "require_shape",
    "unseen",
]
