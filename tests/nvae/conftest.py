"""Tiny models and images."""

import numpy as np
import pytest
import torch

from shoestring.nvae import NVAE, Images, NVAEConfig

TINY = {
    "image_size": 8, "encoder_channels": 8, "decoder_channels": 8, "blocks": 0, "block_cells": 0, "groups": (2, 1),
    "encoder_cells": 1, "decoder_cells": 1, "latents": 2, "decoder_cell": "dense",
}  # fmt: skip


def tiny_config(**changes):
    return NVAEConfig(**{**TINY, **changes})


def tiny_model(seed=0, **changes):
    torch.manual_seed(seed)
    return NVAE(tiny_config(**changes)).eval()


def some_images(count=80, channels=1, size=8, seed=0):
    """Bright bars on a dark ground."""
    generator = np.random.default_rng(seed)
    pixels = np.full((count, channels, size, size), 10, np.uint8)
    for index, place in enumerate(generator.integers(0, size, count)):
        pixels[index, :, place] = 240
    return Images(pixels, "bars")


@pytest.fixture(scope="session")
def bars():
    return some_images()
