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
    from shoestring.nvae.images import Images, read_images
    from shoestring.nvae.inference.evaluation import evaluate
    from shoestring.nvae.inference.readjusting import readjusted
    from shoestring.nvae.model.configuration import PRESETS, NVAEConfig, preset
    from shoestring.nvae.model.modeling import NVAE
    from shoestring.nvae.model.official import convert
    from shoestring.nvae.training.settings import NVAESettings
    from shoestring.nvae.training.train import train

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
        "model.configuration": "NVAEConfig PRESETS preset",
        "inference.evaluation": "evaluate",
        "images": "Images read_images",
        "model.modeling": "NVAE",
        "model.official": "convert",
        "inference.readjusting": "readjusted",
        "training.settings": "NVAESettings",
        "training.train": "train",
    },
)
