"""Options that several `nvae` commands share, and what they become."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shoestring import hub, ui
from shoestring._errors import OptionError
from shoestring._extras import require

if TYPE_CHECKING:
    from shoestring.nvae.images import Images
    from shoestring.nvae.model.modeling import NVAE

model = click.argument("model_folder", metavar="MODEL")
device = ui.device_option()
seed = click.option("--seed", default=0, show_default=True, help="Of everything random.")


temperature = click.option(
    "--temperature", default="0.7", show_default=True, help="Of the priors; or one per scale: 0.7,0.9."
)


def output(help: str) -> Callable:
    """The -o option of a command."""
    return click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help=help)


def data(required: bool = True) -> Callable[[Callable], Callable]:
    """Options that say where images come from; the command gets `reading`."""

    def decorate(function: Callable) -> Callable:
        @functools.wraps(function)
        def run(
            *args: Any, channels: str | None, size: int | None, background: str | None, skip_broken: bool, **rest: Any
        ) -> Any:  # fmt: skip
            reading = {
                "channels": None if channels is None else int(channels), "size": size,
                "background": background, "skip_broken": skip_broken,
            }  # fmt: skip
            return function(*args, reading=reading, **rest)

        for option in (
            click.option("--skip-broken", is_flag=True, help="Leave out pictures that cannot be read; count them."),
            click.option(
                "--background", type=click.Choice(["white", "black"]), help="Lay transparent pictures on it.",
            ),
            click.option("--size", type=int, help="Cut pictures to a square and scale them to this side."),
            click.option(
                "--channels", type=click.Choice(["1", "3"]),
                help="1 makes pictures gray, 3 RGB. [default: as they are]",
            ),
            click.option(
                "--data", "source", required=required, metavar="SOURCE",
                help="digits, or idx, .npy, .npz, .zip, a folder of pictures, a saved dataset.",
            ),
        ):  # fmt: skip
            run = option(run)
        return run

    return decorate


def read(ui: ui.UI, source: str, reading: dict[str, Any], *, test: bool = False) -> Images:
    """Reads images and says what was left out."""
    from shoestring.nvae.images import read_images

    images = read_images(source, test=test, **reading)
    if images.skipped:
        ui.say(f"{len(images.skipped):,} pictures were left out, the first {images.skipped[0]}")
    return images


def read_for(ui: ui.UI, model: NVAE, folder: str, source: str, reading: dict[str, Any]) -> Images:
    """Reads images for a model, the test images where there are some."""
    from shoestring.nvae.images import has_test_images, require_shape

    config = model.config
    images = read(ui, source, reading, test=has_test_images(source))
    require_shape(images, (config.in_channels, config.image_size, config.image_size), folder)
    return images


def join(device: str) -> None:
    """Joins the other processes of `torchrun` or `accelerate launch`, if there are any."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        require("nvae", "torch", "accelerate")
        from accelerate import PartialState

        PartialState(cpu=device == "cpu")


def loaded(folder: str, device: str) -> NVAE:
    """Returns a model of a folder, on a device."""
    hub.located(folder)  # a wrong path is told before anything heavy is loaded
    require("nvae", "torch", "accelerate", "safetensors", "huggingface_hub", "PIL")
    import torch

    from shoestring.nvae.model.modeling import load
    from shoestring.train import TrainSettings
    from shoestring.train.arguments import device_of

    model: Any = load(folder).to(device_of(TrainSettings(steps=1, device=device)))
    return model.to(memory_format=torch.channels_last).eval()


def temperatures(text: str) -> list[float]:
    """Reads `0.7` or `0.7,0.9`."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise OptionError(f"--temperature {text}: give a number, or one per scale such as 0.7,0.9") from None


def first_groups(path: Path, groups: int, model: NVAE) -> list[Any]:
    """Reads the first groups of latents from a file."""
    from shoestring.nvae.inference import latents

    found, most = latents.read(path), len(model.config.latent_shapes)
    if not 1 <= groups <= min(most, len(found)):
        raise OptionError(f"--groups {groups}: must be from 1 to {min(most, len(found))}")
    return found[:groups]


def changed(changes: Sequence[str]) -> dict[str, Any]:
    """Turns `NAME=VALUE` into settings; numbers, true/false and lists (groups=[4,2]) are understood."""
    settings: dict[str, Any] = {}
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals:
            raise OptionError(
                f"--set {change}: write NAME=VALUE, such as --set latents=8 or --set groups=[4,2]"
            )
        try:
            parsed = json.loads(value)
        except json.JSONDecodeError:
            parsed = value.strip()
        settings[name.strip()] = tuple(parsed) if isinstance(parsed, list) else parsed
    return settings


def first(
    ui: ui.UI, model: Any, folder: str, source: str, reading: dict[str, Any], count: int, seed: int
) -> Any:
    """Returns the first images of a source as the model wants them, and their latent noise."""
    from shoestring.nvae.inference.evaluation import prepared_batches
    from shoestring.nvae.inference.noise import latent_noise

    if count < 1:
        raise OptionError(f"--count {count}: must be at least 1")
    images = read_for(ui, model, folder, source, reading).part(0, count)
    x = next(iter(prepared_batches(model, images, count, seed)))
    return x, latent_noise(model.config, seed, range(len(x)), device=x.device)
