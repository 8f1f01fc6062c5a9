"""The tour's images: an NVAE learns scikit-learn's digits, draws new ones and reconstructs those it has not seen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from shoestring.tour.stage import Outcome, Settings

if TYPE_CHECKING:
    from shoestring.nvae.images import Images

SHARE = 0.15  # of the tour's minutes: 33 s


def nvae(settings: Settings, before: dict[str, Outcome]) -> Outcome:
    """Trains the digits preset for a share of the tour's minutes and shows what it draws."""
    from shoestring.nvae.images import read_images, remembered, unseen
    from shoestring.nvae.model.configuration import preset
    from shoestring.nvae.training.settings import recipe
    from shoestring.nvae.training.train import train

    folder = settings.folder / "digits"
    images = read_images("digits")
    done = train(
        images,
        preset("digits"),
        recipe("digits", seed=settings.seed),
        folder,
        minutes=SHARE * settings.minutes,
        overwrite=True,
        ui=settings.ui,
    )
    samples, pairs = _pictures(folder, unseen(images, remembered(folder)), settings)
    found = done.evaluation
    return Outcome(
        f"{done.parameters / 1e6:.1f} M parameters, {done.seconds:.0f} s: {-found.elbo:.1f} nats per unseen digit, "
        f"{found.kl:.1f} of them in {found.active} of {found.latents} latent channels",
        {
            "folder": str(folder),
            "parameters": done.parameters,
            "seconds": done.seconds,
            "negative_elbo": -found.elbo,
            "bits_per_dimension": found.bits_per_dimension,
            "skipped": done.skipped,
            "rollbacks": done.rollbacks,
        },
        command="shoestring nvae train YOUR-IMAGES/ --preset digits -o model",
        figures=[
            ("Digits that never were (temperature 0.7)", samples),
            ("Unseen digits, black or white as the model gets them, and beneath each its reconstruction", pairs),
        ],
    )  # fmt: skip


def _pictures(folder: Path, test: Images, settings: Settings) -> tuple[Path, Path]:
    import torch

    from shoestring.nvae.inference import pictures
    from shoestring.nvae.inference.evaluation import prepared_batches
    from shoestring.nvae.inference.readjusting import readjusted
    from shoestring.nvae.model.modeling import load

    model, samples, pairs = load(folder), folder / "samples.png", folder / "reconstructions.png"
    torch.manual_seed(settings.seed)
    pictures.write(samples, readjusted(model, 0.7).sample(36, 0.7), columns=12)
    x = next(prepared_batches(model, test, 12, settings.seed))
    pictures.write(pairs, torch.cat([x, model.reconstruct(x)]), columns=12)
    return samples, pairs
