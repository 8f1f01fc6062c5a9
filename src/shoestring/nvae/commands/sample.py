"""`shoestring nvae sample`: new images."""

from __future__ import annotations

from pathlib import Path

import click

from shoestring import ui
from shoestring._errors import OptionError
from shoestring.nvae.commands import options


@ui.command("sample")
@options.model
@options.output("A .png (grid) or .gif.")
@click.option("-n", "--count", default=64, show_default=True, help="Images.")
@click.option(
    "--temperature", default="0.7", show_default=True, help="Of the priors; or one per scale: 0.7,0.9."
)
@click.option(
    "--readjust/--no-readjust", default=True, show_default=True, help="Fit batch norm to the temperature."
)
@click.option("--pixels", is_flag=True, help="Draw pixels too, instead of showing their mean.")
@options.seed
@options.device
def sample(
    ui: ui.UI, model_folder: str, output: Path, count: int, temperature: str, readjust: bool, pixels: bool, seed: int,
    device: str,
) -> None:  # fmt: skip
    """Draw new images."""
    warmth = options.temperatures(temperature)
    model = options.loaded(model_folder, device)
    import torch

    from shoestring.nvae.inference import pictures
    from shoestring.nvae.inference.readjusting import readjusted
    from shoestring.nvae.model.likelihoods import mean_image, sample_image

    pictures.check_ending(output)
    if count < 1:
        raise OptionError(f"--count {count}: must be at least 1")
    torch.manual_seed(seed)
    model = readjusted(model, warmth) if readjust else model
    torch.manual_seed(seed)
    parts = [model.sample_head(min(64, count - start), warmth) for start in range(0, count, 64)]
    draw = sample_image if pixels else mean_image
    pictures.write(output, torch.cat([draw(head, model.config) for head in parts]))
    ui.result({"picture": str(output), "images": count, "temperature": temperature, "readjusted": readjust})
