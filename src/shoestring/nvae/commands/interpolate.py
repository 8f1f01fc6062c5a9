"""`shoestring nvae interpolate`: walks between images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from shoestring import ui
from shoestring._errors import OptionError
from shoestring.nvae.commands import options


@ui.command("interpolate")
@options.model
@options.data()
@options.output("A .png (one row per pair) or .gif.")
@click.option("-n", "--pairs", default=6, show_default=True, help="Pairs of images, from the first ones.")
@click.option("--steps", default=9, show_default=True, help="Images from one end to the other.")
@options.seed
@options.device
def interpolate(
    ui: ui.UI, model_folder: str, source: str, reading: dict[str, Any], output: Path, pairs: int, steps: int, seed: int,
    device: str,
) -> None:  # fmt: skip
    """Walk from image to image through the latents."""
    model = options.loaded(model_folder, device)
    import torch

    from shoestring.nvae.inference import pictures
    from shoestring.nvae.inference.latents import between
    from shoestring.nvae.model.likelihoods import mean_image

    pictures.check_ending(output)
    if steps < 2 or pairs < 1:
        raise OptionError(f"--pairs {pairs} --steps {steps}: at least 1 pair and 2 steps")
    x, noise = options.first(ui, model, model_folder, source, reading, 2 * pairs, seed)
    latents = model.encode(x, noise)
    walks = [
        model.decode(between([z[i] for z in latents], [z[i + 1] for z in latents], steps))
        for i in range(0, len(x) - 1, 2)
    ]
    pictures.write(output, torch.cat([mean_image(walk, model.config) for walk in walks]), steps)
    ui.result({"picture": str(output), "pairs": len(walks), "steps": steps})
