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
    from safetensors.torch import save

    from shoestring import files
    from shoestring.nvae.inference.evaluation import prepared_batches

    images = options.read_for(ui, model, model_folder, source, reading)
    parts: list[list[Any]] = []
    with ui.bar("encoding", len(images), "image") as bar:
        for x in prepared_batches(model, images, 64, seed):
            parts.append([z.cpu() for z in model.encode(x)])
            bar.update(len(x))
    tensors = {
        f"group.{index:02}": torch.cat(group).contiguous()
        for index, group in enumerate(zip(*parts, strict=True))
    }
    with files.atomic(output, "wb") as file:
        file.write(save(tensors))
    numbers = sum(tensor[0].numel() for tensor in tensors.values())
    ui.result(
        {"latents": str(output), "images": len(images), "groups": len(tensors), "numbers per image": numbers}
    )
