"""`shoestring nvae sample`: new images."""

from __future__ import annotations

from pathlib import Path

import click

from shoestring import ui
from shoestring._errors import OptionError
from shoestring.nvae.commands import options


@ui.command("sample")
@options.model
@options.output("A .png (grid), .gif, .npy (bytes), or a name without ending: a folder of PNG files.")
@click.option("-n", "--count", default=64, show_default=True, help="Images.")
@options.temperature
@click.option(
    "--readjust/--no-readjust", default=True, show_default=True, help="Fit batch norm to the temperature."
)
@click.option(
    "--pixels", type=click.Choice(["expected", "published", "drawn"]), default="expected", show_default=True,
    help="The mean of the likelihood; what published pictures show in its place; or a sample of it.",
)  # fmt: skip
@click.option(
    "--given", type=click.Path(path_type=Path), metavar="LATENTS",
    help="Keep the first groups of these latents (from `encode`), image by image, and draw the others.",
)  # fmt: skip
@click.option("--groups", type=int, help="How many groups are kept of --given. [default: 1]")
@options.seed
@options.device
def sample(
    ui: ui.UI, model_folder: str, output: Path, count: int, temperature: str, readjust: bool, pixels: str,
    given: Path | None, groups: int | None, seed: int, device: str,
) -> None:  # fmt: skip
    """Draw new images; image i of a seed is the same in any number of them."""
    warmth = options.temperatures(temperature)
    if count < 1:
        raise OptionError(f"--count {count}: must be at least 1")
    if groups is not None and given is None:
        raise OptionError("--groups: says how many groups of --given are kept; give that too")
    model = options.loaded(model_folder, device)
    import torch

    from shoestring.nvae.inference import pictures
    from shoestring.nvae.inference.drawing import draw
    from shoestring.nvae.inference.readjusting import readjusted

    pictures.check_target(output, count)
    kept = [] if given is None else options.first_groups(given, groups or 1, model)
    torch.manual_seed(seed)
    model = readjusted(model, warmth) if readjust else model
    with ui.bar("drawing", count, "image") as bar:

        def counted():
            for batch in draw(model, count, warmth, seed=seed, pixels=pixels, given=kept):
                yield batch
                bar.update(len(batch))

        pictures.write_all(output, counted(), count)
    ui.result(
        {
            "picture": str(output),
            "images": count,
            "temperature": temperature,
            "readjusted": readjust,
            "pixels": pixels,
            "groups given": len(kept),
        }
    )
