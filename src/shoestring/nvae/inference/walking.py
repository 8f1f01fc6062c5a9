"""Ways between the latents of two images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def between(start: Sequence[Tensor], end: Sequence[Tensor], steps: int) -> list[Tensor]:
    """Returns latents from one image's to another's, per group (steps, l, h, w).

    The weights are cosine and sine of the way gone, so that the latents keep their length on the way: in many
    dimensions the middle of a straight line is shorter than anything the model has seen.

    Args:
        start: latents of one image, per group (l, h, w).
        end: those of the other.
        steps: with both ends.
    """
    way = torch.linspace(0, torch.pi / 2, steps)
    return [
        torch.cos(way).to(a)[:, None, None, None] * a + torch.sin(way).to(a)[:, None, None, None] * b
        for a, b in zip(start, end, strict=True)
    ]
