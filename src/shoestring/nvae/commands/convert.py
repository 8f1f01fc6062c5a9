"""`shoestring nvae convert`: an official checkpoint becomes a model."""

from __future__ import annotations

from pathlib import Path

import click

from shoestring import ui
from shoestring._extras import require
from shoestring.nvae.commands import options


@ui.command("convert")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@options.output("Folder for the model.")
@click.option("--size", type=int, help="Height and width of the images, for a data set of one's own.")
@click.option("--channels", type=click.Choice(["1", "3"]), help="Of the images, for a data set of one's own.")
@click.option("--overwrite", is_flag=True, help="Replace a folder that is there.")
def convert(
    ui: ui.UI, checkpoint: Path, output: Path, size: int | None, channels: str | None, overwrite: bool
) -> None:
    """Turn a CHECKPOINT of the official NVAE code into a model; its weights keep their licence."""
    require("nvae", "torch", "accelerate", "safetensors", "huggingface_hub", "PIL")
    from shoestring.nvae.model.official import convert as turn

    model = turn(
        checkpoint,
        output,
        size=size,
        channels=None if channels is None else int(channels),
        overwrite=overwrite,
    )
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
