"""`shoestring nvae reconstruct`: images beside what the model makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from shoestring import ui
from shoestring.nvae.commands import options


@ui.command("reconstruct")
@options.model
@options.data()
@options.output("A .png: each image, then its reconstruction beneath it.")
@click.option("-n", "--count", default=16, show_default=True, help="Images.")
@options.seed
@options.device
def reconstruct(
    ui: ui.UI, model_folder: str, source: str, reading: dict[str, Any], output: Path, count: int, seed: int, device: str
) -> None:  # fmt: skip
    """Show images beside what the model makes of their latents."""
    model = options.loaded(model_folder, device)
    import torch

    from shoestring.nvae.inference import pictures

    pictures.check_ending(output)
    x, noise = options.first(ui, model, model_folder, source, reading, count, seed)
    columns = min(16, len(x))
    again = model.reconstruct(x, noise)
    rows = [torch.cat(pair) for pair in zip(x.split(columns), again.split(columns), strict=True)]
    pictures.write(output, torch.cat(rows), columns)
    ui.result({"picture": str(output), "images": len(x)})
