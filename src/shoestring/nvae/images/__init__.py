"""Sets of images: how they are read, decoded and taken apart."""

from shoestring.nvae.images.reading import has_test_images, read_images
from shoestring.nvae.images.sets import Images, fingerprints, held_out, require_shape

__all__ = ["Images", "fingerprints", "has_test_images", "held_out", "read_images", "require_shape"]
