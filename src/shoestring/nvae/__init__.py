"""NVAE: a deep hierarchical variational autoencoder for images (Vahdat & Kautz 2020, arXiv 2007.03898).

    from shoestring.nvae import NVAE
    model = NVAE.from_pretrained("digits")
    images = model.sample(16, temperature=0.7)

Written anew from the paper's mathematics. Importing any of the names below loads torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shoestring.nvae.configuration import PRESETS, NVAEConfig, preset
    from shoestring.nvae.evaluation import evaluate
    from shoestring.nvae.images import Images, read_images
    from shoestring.nvae.modeling import NVAE
    from shoestring.nvae.readjusting import readjusted
    from shoestring.nvae.settings import NVAESettings
    from shoestring.nvae.training import train

_HOME = {
    "NVAE": "modeling",
    "NVAEConfig": "configuration",
    "NVAESettings": "settings",
    "PRESETS": "configuration",
    "Images": "images",
    "evaluate": "evaluation",
    "preset": "configuration",
    "read_images": "images",
    "readjusted": "readjusting",
    "train": "training",
}

__all__ = [
    "NVAE",
    "PRESETS",
    "Images",
    "NVAEConfig",
    "NVAESettings",
    "evaluate",
    "preset",
    "read_images",
    "readjusted",
    "train",
]


def __getattr__(name: str) -> object:
    """Imports a public name when it is first used: the command line stays fast."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
