"""Latents as files, and ways between them.

A file has `group.00` (the coarsest), `group.01`, ..., each (images, l, h, w), in safetensors.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from shoestring._errors import InputError
from shoestring.files import atomic


def write(path: str | Path, groups: Sequence[Tensor]) -> None:
    """Writes latents, coarsest group first."""
    named = {f"group.{index:02}": group.detach().cpu().contiguous() for index, group in enumerate(groups)}
    with atomic(path, "wb") as file:
        file.write(save(named))


def read(path: str | Path) -> list[Tensor]:
    """Returns the latents of a file, coarsest group first.

    Raises:
        InputError: no such file, not of latents, not finite, or of unequal numbers of images.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file; make one with: shoestring nvae encode")
    try:
        named = load_file(path)
    except SafetensorError as error:
        raise InputError(f"{path}: not a safetensors file: {error}") from error
    places = {int(found[1]): name for name in named if (found := re.fullmatch(r"group\.(\d+)", name))}
    if len(places) != len(named) or sorted(places) != list(range(len(named))):
        raise InputError(
            f"{path}: has {', '.join(sorted(named)[:3])}, ...; group.00, group.01, ... are wanted"
        )
    groups = [named[places[index]] for index in range(len(named))]
    for index, group in enumerate(groups):
        if not group.is_floating_point() or group.dim() != 4 or not torch.isfinite(group).all():
            raise InputError(
                f"{path}: group.{index:02} is no finite numbers of (images, latents, height, width)"
            )
    if len({len(group) for group in groups}) > 1:
        raise InputError(f"{path}: has groups of {' and '.join(str(len(group)) for group in groups)} images")
    return [group.float() for group in groups]


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
