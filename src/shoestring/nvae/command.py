"""`shoestring nvae`: train, evaluate and use models of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from shoestring import ui
from shoestring._errors import OptionError
from shoestring._extras import require
from shoestring.nvae import options
from shoestring.nvae.exchange import convert, decode, encode


@ui.command("nvae")
@click.argument("presets", nargs=-1)
def presets(ui: ui.UI, presets: Sequence[str]) -> None:
    """A deep hierarchical VAE for images: train, eval, sample, reconstruct, interpolate, encode, decode, convert.

    Without a subcommand, shows the settings of PRESETS: digits, mnist-cpu, mnist, cifar10, celeba64, imagenet32,
    celebahq256, ffhq256.
    """
    require("nvae", "torch", "accelerate", "safetensors", "huggingface_hub", "PIL")
    from shoestring.nvae.configuration import preset
    from shoestring.nvae.settings import recipe

    chosen: dict[str, Any] = {name: asdict(preset(name)) | {"run": asdict(recipe(name))} for name in presets}
    if ui.as_json:
        ui.result(chosen)
        return
    rows = {
        key: [str(each[key]) for each in chosen.values()]
        for key in next(iter(chosen.values()))
        if key != "run"
    }
    for key in ("batch_size", "steps", "learning_rate", "regularisation"):
        rows[f"run: {key}"] = [str(each["run"][key]) for each in chosen.values()]
    ui.table(["setting", *chosen], [(key, *values) for key, values in rows.items()])


@ui.command("train")
@options.data()
@options.output("Folder for the model.")
@click.option(
    "--preset", "name", default="digits", show_default=True, help="digits, mnist-cpu, mnist, cifar10, ..."
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
@click.option("--precision", default="auto", show_default=True, help="auto, fp32 or bf16.")
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
    ui: ui.UI, source: str, reading: dict[str, Any], output: Path, name: str, changes: Sequence[str], test: str | None,
    minutes: float | None, overwrite: bool, **run: Any,
) -> None:  # fmt: skip
    """Train a model; interrupted, the same command goes on. Steps that would break it are skipped."""
    if run["steps"] and minutes:
        raise OptionError("--steps and --minutes both say how long to train; give one of them")
    require(
        "nvae", "torch", "transformers", "accelerate", "safetensors", "huggingface_hub", "PIL", "matplotlib"
    )
    from shoestring import hub
    from shoestring.nvae.configuration import preset
    from shoestring.nvae.images import has_test_images, require_shape
    from shoestring.nvae.settings import NVAESettings, recipe
    from shoestring.nvae.training import train as fit

    given = options.changed(changes)
    of_run = {key: given.pop(key) for key in list(given) if key in NVAESettings.__dataclass_fields__}
    config = preset(name, **given)
    settings = recipe(name, **of_run, **{key: value for key, value in run.items() if key not in of_run})
    images = options.read(ui, source, reading)
    require_shape(images, (config.in_channels, config.image_size, config.image_size), f"the preset {name}")
    own = test or (source if has_test_images(source) else None)
    test_images = options.read(ui, own, reading, test=has_test_images(own)) if own else None
    done = fit(
        images, config, settings, output, test=test_images, minutes=minutes, overwrite=overwrite, ui=ui
    )
    if hub.is_main_process():
        ui.result(
            {
                "model": str(done.folder),
                "parameters": done.parameters,
                "negative ELBO (nats)": round(-done.evaluation.elbo, 3),
                "bits per dimension": round(done.evaluation.bits_per_dimension, 4),
                "seconds": round(done.seconds, 1),
                "skipped steps": done.skipped,
                "rollbacks": done.rollbacks,
                "loss curve": str(done.folder / "loss.png"),
            }
        )


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
    from shoestring.nvae.evaluation import evaluate as measure

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
    from shoestring.nvae.frechet import frechet_distance, load_network

    loaded = load_network(network).to(next(model.parameters()).device)
    return {"Frechet distance": round(frechet_distance(model, images, loaded, seed=seed, ui=ui), 4)}


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

    from shoestring.nvae import pictures
    from shoestring.nvae.likelihoods import mean_image, sample_image
    from shoestring.nvae.readjusting import readjusted

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

    from shoestring.nvae import pictures

    pictures.check_ending(output)
    x = _first(ui, model, model_folder, source, reading, count, seed)
    columns = min(16, len(x))
    again = model.reconstruct(x)
    rows = [torch.cat(pair) for pair in zip(x.split(columns), again.split(columns), strict=True)]
    pictures.write(output, torch.cat(rows), columns)
    ui.result({"picture": str(output), "images": len(x)})


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

    from shoestring.nvae import pictures
    from shoestring.nvae.likelihoods import mean_image
    from shoestring.nvae.walking import between

    pictures.check_ending(output)
    if steps < 2 or pairs < 1:
        raise OptionError(f"--pairs {pairs} --steps {steps}: at least 1 pair and 2 steps")
    x = _first(ui, model, model_folder, source, reading, 2 * pairs, seed)
    latents = model.encode(x)
    walks = [
        model.decode(between([z[i] for z in latents], [z[i + 1] for z in latents], steps))
        for i in range(0, len(x) - 1, 2)
    ]
    pictures.write(output, torch.cat([mean_image(walk, model.config) for walk in walks]), steps)
    ui.result({"picture": str(output), "pairs": len(walks), "steps": steps})


def _first(
    ui: ui.UI, model: Any, folder: str, source: str, reading: dict[str, Any], count: int, seed: int
) -> Any:
    """Returns the first images of a source as the model wants them."""
    from shoestring.nvae.evaluation import prepared_batches

    images = options.read_for(ui, model, folder, source, reading)
    return next(iter(prepared_batches(model, images.part(0, count), max(1, count), seed)))


verb = ui.Group(presets, train, evaluate, sample, reconstruct, interpolate, encode, decode, convert)
