"""`shoestring nvae train`: images in, a model folder out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from shoestring import ui
from shoestring._errors import OptionError
from shoestring._extras import require
from shoestring.nvae.commands import options

PRESETS = ("digits", "mnist-cpu", "mnist", "cifar10", "celeba64", "imagenet32", "celebahq256", "ffhq256")


@ui.command("train")
@options.data()
@options.output("Folder for the model.")
@click.option(
    "--preset", "name", type=click.Choice(PRESETS), help="Of the model and the run. [default: digits]"
)
@click.option(
    "--from",
    "start",
    metavar="MODEL",
    help="Go on with a finished or converted model, on these or other images.",
)
@click.option(
    "--set", "changes", multiple=True, metavar="NAME=VALUE", help="Any setting of the model or the run."
)
@click.option("--test", metavar="SOURCE", help="Images to evaluate on. [default: the data's own, or a tenth]")
@click.option("--steps", type=int, help="Optimiser steps. [default: the preset's]")
@click.option("--minutes", type=float, help="Train for about so long instead.")
@click.option("--batch-size", type=int, help="Images per step, over all processes. [default: the preset's]")
@click.option("--micro-batch", type=int, help="Images per pass, if memory is short.")
@click.option("--learning-rate", type=float, help="Its peak. [default: the preset's]")
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16"]), default="auto", show_default=True)
@click.option(
    "--recompute",
    is_flag=True,
    default=None,
    help="Compute the decoder's cells twice: less memory, more time.",
)
@click.option("--compile", is_flag=True, default=None, help="Compile the cells, which takes minutes first.")
@options.seed
@options.device
@click.option("--overwrite", is_flag=True, help="Replace a finished model, start an interrupted one again.")
def train(
    ui: ui.UI, source: str, reading: dict[str, Any], output: Path, name: str | None, start: str | None,
    changes: Sequence[str], test: str | None, minutes: float | None, overwrite: bool, **run: Any,
) -> None:  # fmt: skip
    """Train a model; interrupted, the same command goes on. Steps that would break it are skipped.

    With --from the KL term has its full weight from the first step, and the first line of the log is the model's bound.
    """
    if run["steps"] is not None and minutes is not None:
        raise OptionError("--steps and --minutes both say how long to train; give one of them")
    require(
        "nvae", "torch", "transformers", "accelerate", "safetensors", "huggingface_hub", "PIL", "matplotlib"
    )
    from shoestring import hub
    from shoestring.nvae.images import has_test_images, require_shape
    from shoestring.nvae.model.configuration import preset
    from shoestring.nvae.model.modeling import load
    from shoestring.nvae.training.settings import NVAESettings, continued, recipe
    from shoestring.nvae.training.train import train as fit

    given = options.changed(changes)
    of_run = {key: given.pop(key) for key in list(given) if key in NVAESettings.__dataclass_fields__}
    of_run |= {key: value for key, value in run.items() if key not in of_run}
    if start is None:
        config, title = preset(name or "digits", **given), f"the preset {name or 'digits'}"
        settings = recipe(name or "digits", **of_run)
    else:
        if given:
            raise OptionError(
                f"--set {next(iter(given))}: a model that is gone on with keeps its configuration"
            )
        config, title = load(start).config, start
        if name is None and minutes is None and of_run["steps"] is None:
            raise OptionError("--from: say how long to go on: --steps or --minutes, or the run of a --preset")
        settings = continued(name, **of_run)
    images = options.read(ui, source, reading)
    require_shape(images, (config.in_channels, config.image_size, config.image_size), title)
    own = test or (source if has_test_images(source) else None)
    test_images = options.read(ui, own, reading, test=has_test_images(own)) if own else None
    done = fit(
        images, config, settings, output, test=test_images, start=start, minutes=minutes, overwrite=overwrite,
        ui=ui,
    )  # fmt: skip
    if hub.is_main_process():
        ui.result(
            {
                "model": str(done.folder),
                "parameters": done.parameters,
                **({} if done.before is None else {"negative ELBO before (nats)": done.before}),
                "negative ELBO (nats)": -done.evaluation.elbo,
                "bits per dimension": done.evaluation.bits_per_dimension,
                "seconds": done.seconds,
                "skipped steps": done.skipped,
                "rollbacks": done.rollbacks,
                "loss curve": str(done.folder / "loss.png"),
            }
        )
