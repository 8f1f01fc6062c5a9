"""`shoestring nvae eval`: likelihood, importance weighting, distances."""

from __future__ import annotations

from typing import Any

import click

from shoestring import ui
from shoestring._errors import OptionError
from shoestring._extras import require
from shoestring.nvae.commands import options


@ui.command("eval")
@options.model
@options.data()
@click.option(
    "--samples", default=1, show_default=True, help="K of the importance-weighted bound; 1 leaves it out."
)
@click.option("--limit", type=int, help="Only the first so many images.")
@click.option(
    "--fid", metavar="FILE",
    help="The Frechet distance too, by the exported network in FILE: bytes (n, 3, h, w) in, features out.",
)  # fmt: skip
@options.seed
@options.device
def evaluate(
    ui: ui.UI, model_folder: str, source: str, reading: dict[str, Any], samples: int, limit: int | None,
    fid: str | None, seed: int, device: str,
) -> None:  # fmt: skip
    """Bounds on the likelihood of images in nats and bits per dimension; KL per group; latents in use."""
    if samples < 1:
        raise OptionError(f"--samples {samples}: must be at least 1")
    model = options.loaded(model_folder, device)
    from shoestring.nvae.inference.evaluation import evaluate as measure

    images = options.read_for(ui, model, model_folder, source, reading)
    images = images.part(0, limit or len(images))
    distance = _distance(ui, model, images, fid, seed) if fid else {}
    found = measure(model, images, samples=samples, seed=seed, ui=ui)
    ui.result(
        {
            "images": found.images,
            "negative ELBO (nats)": round(-found.elbo, 3),
            **(
                {f"importance-weighted, K={samples} (nats)": round(-found.importance_weighted, 3)}
                if found.importance_weighted is not None
                else {}
            ),
            "bits per dimension": round(found.bits_per_dimension, 4),
            "reconstruction (nats)": round(found.reconstruction, 3),
            "KL (nats)": round(found.kl, 3),
            "KL per group, coarsest first": [round(value, 2) for value in found.kl_per_group],
            "active latent channels": f"{found.active} of {found.latents}",
            **distance,
        }
    )


def _distance(ui: ui.UI, model: Any, images: Any, network: str, seed: int) -> dict[str, float]:
    require("fid", "torchmetrics")
    from shoestring.nvae.inference.frechet import frechet_distance, load_network

    loaded = load_network(network).to(next(model.parameters()).device)
    return {"Frechet distance": round(frechet_distance(model, images, loaded, seed=seed, ui=ui), 4)}
