"""`shoestring nvae eval`: likelihood, importance weighting, distances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from shoestring import ui
from shoestring._errors import InputError, OptionError
from shoestring._extras import require
from shoestring.nvae.commands import options

if TYPE_CHECKING:
    from shoestring.nvae.images import Images


@ui.command("eval")
@options.model
@options.data()
@click.option(
    "--samples", default=1, show_default=True, help="K of the importance-weighted bound; 1 leaves it out."
)
@click.option(
    "--split", type=click.Choice(["auto", "held-out", "all"]), default="auto", show_default=True,
    help="Of the data: what was held out of the training, or all; auto takes the first where there is any.",
)  # fmt: skip
@click.option("--limit", type=int, help="Only the first so many images.")
@click.option(
    "--fid", metavar="FILE",
    help="The Frechet distance too, by the exported network in FILE: bytes (n, 3, h, w) in, features out.",
)  # fmt: skip
@click.option(
    "--fid-pixels", "pixels", type=click.Choice(["published", "expected", "drawn"]), default="published",
    show_default=True, help="Which images the distance is of: published ones, the likelihood's mean, or samples.",
)  # fmt: skip
@options.seed
@options.device
def evaluate(
    ui: ui.UI, model_folder: str, source: str, reading: dict[str, Any], samples: int, split: str,
    limit: int | None, fid: str | None, pixels: str, seed: int, device: str,
) -> None:  # fmt: skip
    """Bounds on the likelihood of images in nats and bits per dimension; KL per group; latents in use.

    Under `torchrun` or `accelerate launch` the processes share the images.
    """
    if samples < 1:
        raise OptionError(f"--samples {samples}: must be at least 1")
    if limit is not None and limit < 1:
        raise OptionError(f"--limit {limit}: must be at least 1")
    options.join(device)
    model = options.loaded(model_folder, device)
    from shoestring import hub
    from shoestring.nvae.inference.evaluation import evaluate as measure

    images = options.read_for(ui, model, model_folder, source, reading)
    images, split = _of_split(images, model_folder, split)
    images = images.part(0, len(images) if limit is None else limit)
    distance = _distance(ui, model, images, fid, pixels, seed) if fid else {}
    found = measure(model, images, samples=samples, seed=seed, ui=ui)
    if not hub.is_main_process():
        return
    ui.result(
        {
            "images": found.images,
            "split": split,
            "negative ELBO (nats)": -found.elbo,
            **(
                {f"importance-weighted, K={samples} (nats)": -found.importance_weighted}
                if found.importance_weighted is not None
                else {}
            ),
            "bits per dimension": found.bits_per_dimension,
            "reconstruction (nats)": found.reconstruction,
            "KL (nats)": found.kl,
            "KL per group, coarsest first": list(found.kl_per_group),
            "active latent channels": f"{found.active} of {found.latents}",
            **distance,
        }
    )


def _of_split(images: Images, folder: str, split: str) -> tuple[Images, str]:
    """Returns the images of a split, and which it is."""
    from shoestring import hub
    from shoestring.nvae.images import remembered, unseen

    if split == "all":
        return images, split
    known = remembered(hub.located(folder))
    found = unseen(images, known) if known else images.part(0, 0)
    if split == "held-out" and not len(found):
        raise InputError(
            f"{images.name}: has none of the images that were held out of the training of {folder}; pass --split all"
        )
    return (found, "held-out") if len(found) else (images, "all")


def _distance(ui: ui.UI, model: Any, images: Any, network: str, pixels: str, seed: int) -> dict[str, float]:
    require("fid", "torchmetrics")
    from shoestring.nvae.inference.frechet import frechet_distance, load_network

    loaded = load_network(network).to(next(model.parameters()).device)
    return {"Frechet distance": frechet_distance(model, images, loaded, pixels=pixels, seed=seed, ui=ui)}
