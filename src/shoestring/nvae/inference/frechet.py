"""How far drawn images are from real ones: the Frechet distance between features of both (FID, with Inception's).

- The network that makes the features is the user's: a module, or a file of `torch.export.save`. It takes bytes
  (n, 3, h, w) and gives (n, features); gray images are repeated for the three colours.
- Drawn images are by default what published distances are of (`published_image`); expected images and drawn pixels can
  be asked for. Distances of different kinds do not compare.

Heusel et al. 2017 (arXiv 1706.08500); computed by torchmetrics.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from shoestring._errors import InputError, OptionError
from shoestring._extras import require
from shoestring.nvae.images import Images
from shoestring.nvae.inference.drawing import draw
from shoestring.nvae.model.modeling import NVAE
from shoestring.ui import UI

TOGETHER = 50  # images in one pass


@torch.no_grad()
def frechet_distance(
    model: NVAE, images: Images, network: nn.Module, *, count: int | None = None,
    temperature: float | Sequence[float] = 1.0, pixels: str = "published", seed: int = 0, ui: UI | None = None,
) -> float:  # fmt: skip
    """Returns the Frechet distance between images and as many that the model draws.

    Args:
        model: put into evaluation mode.
        images: real ones.
        network: uint8 (n, 3, h, w) -> features (n, f); on the model's device.
        count: of images on either side; None takes all. Distances by different counts do not compare.
        temperature: of the priors.
        pixels: `published`, `expected` or `drawn`; see `drawing.draw`.
        seed: of what is drawn.
        ui: shows progress.

    Raises:
        InputError: the network does not give features.
        OptionError: there is one image only, or it is neither gray nor RGB.
    """
    fid: Any = require("fid", "torchmetrics.image.fid")
    model.eval()
    count = min(count or len(images), len(images))
    if model.config.in_channels not in (1, 3):
        raise OptionError(f"images of {model.config.in_channels} channels: a distance is for gray or RGB")
    if count < 2:
        raise OptionError(f"{count} image: a distance needs at least 2 on either side")
    device = next(model.parameters()).device
    width = _features(network, _coloured(images, 0, 2).to(device)).shape[1]
    distance = fid.FrechetInceptionDistance(feature=_Sized(network, width)).to(device)
    with (ui or UI(quiet=True)).bar("distance", count, "image") as bar:
        for start, stop in pairwise(_even(count)):
            (drawn,) = draw(model, stop - start, temperature, seed=seed, pixels=pixels, first=start)
            distance.update(_coloured(images, start, stop).to(device), real=True)
            distance.update((drawn * 255).round().byte().expand(-1, 3, -1, -1), real=False)
            bar.update(stop - start)
    return distance.compute().item()


def load_network(path: str | Path) -> nn.Module:
    """Returns the network of a file that `torch.export.save` wrote.

    Raises:
        InputError: there is none, or it is something else.
    """
    how = "give one that torch.export.save wrote: bytes (n, 3, h, w) in, features (n, f) out"
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file; {how}")
    try:
        return torch.export.load(str(path)).module()
    except Exception as error:  # whatever a foreign file does to the reader
        raise InputError(f"{path}: cannot be read as an exported network; {how}") from error


class _Sized(nn.Module):
    """Tells the number of features, so that nobody has to try."""

    def __init__(self, network: nn.Module, num_features: int) -> None:
        super().__init__()
        self.network, self.num_features = network, num_features

    def forward(self, images: Tensor) -> Tensor:
        """Returns the features."""
        return _features(self.network, images)


def _features(network: nn.Module, images: Tensor) -> Tensor:
    try:
        found = network(images)
    except (RuntimeError, AssertionError, TypeError, ValueError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"the feature network refuses bytes of shape {tuple(images.shape)}: {first}"
        ) from error
    if not isinstance(found, Tensor) or found.dim() != 2 or len(found) != len(images):
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise InputError(
            f"the feature network gives {shape} for {len(images)} images; (images, features) is wanted"
        )
    return found


def _even(count: int) -> list[int]:
    """Returns where batches begin and end, none of a single image: an exported network may refuse that."""
    batches = -(-count // TOGETHER)
    return [round(index * count / batches) for index in range(batches + 1)]


def _coloured(images: Images, start: int, stop: int) -> Tensor:
    pixels = torch.from_numpy(np.ascontiguousarray(images.take(np.arange(start, stop))))
    return pixels.expand(-1, 3, -1, -1)
