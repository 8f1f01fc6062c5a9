"""`shoestring nvae decode`: latents into images."""

from __future__ import annotations

from pathlib import Path

import click

from shoestring import ui
from shoestring.nvae.commands import options

TOGETHER = 64  # images in one pass


@ui.command("decode")
@options.model
@click.argument("latents", type=click.Path(path_type=Path))
@options.output("A .png (grid), .gif, .npy (bytes), or a name without ending: a folder of PNG files.")
@click.option(
    "--groups", type=int, help="Keep so many groups, coarsest first, and draw the others. [default: all]"
)
@options.temperature
@options.seed
@options.device
def decode(
    ui: ui.UI, model_folder: str, latents: Path, output: Path, groups: int | None, temperature: str, seed: int,
    device: str,
) -> None:  # fmt: skip
    """Turn LATENTS from `encode` into images."""
    model = options.loaded(model_folder, device)
    from shoestring.nvae.inference import pictures
    from shoestring.nvae.inference.noise import latent_noise
    from shoestring.nvae.model.likelihoods import mean_image

    most = len(model.config.latent_shapes)
    kept = options.first_groups(latents, most if groups is None else groups, model)
    count, place = len(kept[0]), next(model.parameters()).device
    warmth = None if len(kept) == most else options.temperatures(temperature)
    pictures.check_target(output, count)

    def images():
        for start in range(0, count, TOGETHER):
            part = [group[start : start + TOGETHER].to(place) for group in kept]
            noise = latent_noise(model.config, seed, range(start, start + len(part[0])), device=place)
            yield mean_image(model.decode(part, warmth, noise), model.config)

    pictures.write_all(output, images(), count)
    ui.result({"images": count, "groups": len(kept), "output": str(output)})
