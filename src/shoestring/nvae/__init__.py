"""NVAE: a deep hierarchical variational autoencoder for images (Vahdat & Kautz 2020, arXiv 2007.03898).

    from shoestring.nvae import NVAE
    model = NVAE.from_pretrained("digits")
    images = model.sample(16, temperature=0.7)

Written anew from the paper's mathematics. Importing any of the names below loads torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shoestring._lazy import lazy

if TYPE_CHECKING:
    from shoestring.nvae.configuration import PRESETS, NVAEConfig, preset
    from shoestring.nvae.evaluation import evaluate
    from shoestring.nvae.images import Images, read_images
    from shoestring.nvae.modeling import NVAE
    from shoestring.nvae.official import convert
    from shoestring.nvae.readjusting import readjusted
    from shoestring.nvae.settings import NVAESettings
    from shoestring.nvae.training import train

__all__ = [
    "NVAE",
    "PRESETS",
    "Images",
    "NVAEConfig",
    "NVAESettings",
    "convert",
    "evaluate",
    "preset",
    "read_images",
    "readjusted",
    "train",
]

__getattr__ = lazy(
    __name__,
    {
        "configuration": "NVAEConfig PRESETS preset",
        "evaluation": "evaluate",
        "images": "Images read_images",
        "modeling": "NVAE",
        "official": "convert",
        "readjusting": "readjusted",
        "settings": "NVAESettings",
        "training": "train",
    },
)
