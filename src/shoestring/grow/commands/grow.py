"""`shoestring grow`: a trained Transformer, enlarged, with proof."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from shoestring import hub, ui
from shoestring._extras import require
from shoestring.grow.commands.options import sizes


@ui.command("grow")
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST", type=click.Path(path_type=Path))
@sizes
@click.option(
    "--optimizer",
    metavar="PATH",
    help="Grow this optimizer.pt too, or the one in this folder: Trainer's or torch's.",
)
@click.option(
    "--verify", type=click.Choice(["algebra", "logits", "blocks", "full"]), default="logits", show_default=True,
    help="algebra (every tensor is projected back), logits (small copies are run too), blocks (the first blocks with "
    "their own weights are, as memory allows) or full (both models are).",
)  # fmt: skip
@click.option(
    "--allow-lossy", is_flag=True, help="Do what has no exact rule too; the report has the distance."
)
@click.option("--overwrite", is_flag=True, help="Replace a folder that is there.")
def grow(
    ui: ui.UI,
    source: str,
    target: Path,
    optimizer: str | None,
    verify: str,
    overwrite: bool,
    **options: Any,
) -> None:
    """Enlarges a trained Transformer without changing what it computes, with proof.

    SRC is a Hugging Face folder, with safetensors or pytorch_model.bin, DST the folder to write. Memory does not
    depend on the size of the model; interrupted, the same command goes on.
    """
    hub.located(source)  # a wrong path is told before anything heavy is loaded
    require("grow", "numpy", "torch", "transformers")
    from shoestring.grow.growing import grow as run
    from shoestring.grow.plan.request import Request

    report = run(
        source, target, Request(**options), verify=verify, overwrite=overwrite, optimizer=optimizer, ui=ui
    )
    for line in report.lines():
        ui.say(line)
    facts = report.facts()
    ui.result({"model": str(target), **facts}, f"{target}: {report.plan.parameters:,} parameters")
