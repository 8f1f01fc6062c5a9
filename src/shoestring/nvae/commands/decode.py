"""`shoestring nvae decode`: latents into images."""

from __future__ import annotations

from pathlib import Path

import click

from shoestring import ui
from shoestring._errors import InputError
from shoestring.nvae.commands import options


@ui.command("decode")
@options.model
@click.argument("latents", type=click.Path(path_type=Path))
@options.output("A .png (grid), .gif, or .npy (every image, bytes).")
@options.device
def decode(ui: ui.UI, model_folder: str, latents: Path, output: Path, device: str) -> None:
    """Turn latents from `encode` into images."""
    model = options.loaded(model_folder, device)
    import numpy as np
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from shoestring import files
    from shoestring.nvae.inference import pictures
    from shoestring.nvae.model.likelihoods import mean_image

    if output.suffix != ".npy":
        pictures.check_ending(output)
    if not latents.is_file():
        raise InputError(f"{latents}: no such file; make one with: shoestring nvae encode")
    try:
        tensors = load_file(latents)
    except SafetensorError as error:
        raise InputError(f"{latents}: not a safetensors file: {error}") from error
    groups = [tensors[name].to(next(model.parameters()).device) for name in sorted(tensors)]
    parts = zip(*(group.split(64) for group in groups), strict=True)
    images = torch.cat([mean_image(model.decode(part), model.config).cpu() for part in parts])
    if output.suffix == ".npy":
        with files.atomic(output, "wb") as file:
            np.save(file, (images * 255).round().byte().numpy())
    else:
        pictures.write(output, images)
    ui.result({"images": len(images), "output": str(output)})
