"""`shoestring nvae encode`: images into latents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shoestring import ui
from shoestring.nvae.commands import options


@ui.command("encode")
@options.model
@options.data()
@options.output("A .safetensors file: group.00 (coarsest), group.01, ...")
@options.seed
@options.device
def encode(
    ui: ui.UI, model_folder: str, source: str, reading: dict[str, Any], output: Path, seed: int, device: str
) -> None:
    """Turn images into latents."""
    model = options.loaded(model_folder, device)
    import torch

    from shoestring.nvae.inference import latents
    from shoestring.nvae.inference.evaluation import prepared_batches
    from shoestring.nvae.inference.noise import latent_noise

    images = options.read_for(ui, model, model_folder, source, reading)
    parts: list[list[Any]] = []
    with ui.bar("encoding", len(images), "image") as bar:
        for x in prepared_batches(model, images, 64, seed):
            numbers = range(int(bar.n), int(bar.n) + len(x))
            noise = latent_noise(model.config, seed, numbers, device=x.device)
            parts.append([z.cpu() for z in model.encode(x, noise)])
            bar.update(len(x))
    groups = [torch.cat(group) for group in zip(*parts, strict=True)]
    latents.write(output, groups)
    each = sum(group[0].numel() for group in groups)
    ui.result(
        {"latents": str(output), "images": len(images), "groups": len(groups), "numbers per image": each}
    )
