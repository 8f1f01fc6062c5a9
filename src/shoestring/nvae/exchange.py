"""`shoestring nvae encode`, `decode` and `convert`: latents as files, official checkpoints as models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from shoestring import ui
from shoestring._errors import InputError
from shoestring._extras import require
from shoestring.nvae import options


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
    from shoestring.nvae.evaluation import prepared_batches

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
    from shoestring.nvae import pictures
    from shoestring.nvae.likelihoods import mean_image

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


@ui.command("convert")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@options.output("Folder for the model.")
@click.option("--overwrite", is_flag=True, help="Replace a folder that is there.")
def convert(ui: ui.UI, checkpoint: Path, output: Path, overwrite: bool) -> None:
    """Turn a CHECKPOINT of the official NVAE code into a model; its weights keep their licence."""
    require("nvae", "torch", "accelerate", "safetensors", "huggingface_hub", "PIL")
    from shoestring.nvae.official import convert as turn

    model = turn(checkpoint, output, overwrite=overwrite)
    config = model.config
    ui.say("official weights remain under NVIDIA's licence: non-commercial use only")
    ui.result(
        {
            "model": str(output),
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "images": f"{config.in_channels} x {config.image_size} x {config.image_size}, {config.likelihood}",
            "groups, finest scale first": list(config.groups),
        }
    )
