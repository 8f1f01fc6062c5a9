"""`shoestring nvae`: the presets, and the list of its commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from shoestring import ui
from shoestring._extras import require
from shoestring.nvae.commands.convert import convert
from shoestring.nvae.commands.decode import decode
from shoestring.nvae.commands.encode import encode
from shoestring.nvae.commands.eval import evaluate
from shoestring.nvae.commands.interpolate import interpolate
from shoestring.nvae.commands.pack import pack
from shoestring.nvae.commands.reconstruct import reconstruct
from shoestring.nvae.commands.sample import sample
from shoestring.nvae.commands.train import PRESETS, train


@ui.command("nvae")
@click.argument("presets", nargs=-1, type=click.Choice(PRESETS), metavar="[PRESETS]...")
def presets(ui: ui.UI, presets: Sequence[str]) -> None:
    """A deep hierarchical VAE for images: train, eval, sample, reconstruct, interpolate, encode, decode, pack,
    convert.

    Without a subcommand, shows the settings of PRESETS: digits, mnist-cpu, mnist, cifar10, celeba64, imagenet32,
    celebahq256, ffhq256.
    """
    require("nvae", "torch", "accelerate", "safetensors", "huggingface_hub", "PIL")
    from shoestring.nvae.model.configuration import preset
    from shoestring.nvae.training.settings import recipe

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


verb = ui.Group(presets, train, evaluate, sample, reconstruct, interpolate, encode, decode, pack, convert)
