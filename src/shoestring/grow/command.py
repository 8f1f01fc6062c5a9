"""`shoestring grow`: options into a `Request`, a `Request` into a folder or a plan on the screen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from shoestring import ui
from shoestring._extras import require

SIZES = (
    ("hidden", "Width of the residual stream: 2x, 1.5x, 1152, +256. Heads and feed-forward follow it."),
    ("heads", "Query heads."),
    ("kv-heads", "Key-value heads."),
    ("head-dim", "Width of a head."),
    ("ffn", "Width of the feed-forward layer; any."),
    ("layers", "Blocks: +4 or 2x."),
    ("vocab", "Token ids."),
    ("experts", "Experts of a mixture: 2x."),
)


def sizes(command: Callable) -> Callable:
    """Adds the options that say how large, and how copies share what the original had."""
    options = [click.option(f"--{name}", metavar="SIZE", help=text) for name, text in SIZES]
    options += [
        click.option("--place", default="spread", show_default=True, help="Where new blocks go: spread or top."),
        click.option(
            "--split", default="grid", show_default=True,
            help="How copies share a weight: grid (unequal, exact in bf16), noise, or equal (they never diverge).",
        ),
        click.option("--noise", default=0.1, show_default=True, help="For --split noise, relative to the row."),
        click.option("--dtype", help="Write as float32, bfloat16, float16 or float64.  [default: as it is]"),
        click.option("--seed", default=0, show_default=True, help="Of everything random."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


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
    "--verify", default="logits", show_default=True,
    help="algebra (every tensor is projected back), logits (small copies are run too) or full (both models are).",
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
    require("grow", "numpy")
    from shoestring.grow.growing import grow as run
    from shoestring.grow.request import Request

    if verify != "algebra":
        require("grow", "torch", "transformers")
    report = run(
        source, target, Request(**options), verify=verify, overwrite=overwrite, optimizer=optimizer, ui=ui
    )
    for line in report.lines():
        ui.say(line)
    facts = report.facts()
    ui.result({"model": str(target), **facts}, f"{target}: {report.plan.parameters:,} parameters")


@ui.command("plan")
@click.argument("source", metavar="SRC")
@sizes
def plan(ui: ui.UI, source: str, **options: Any) -> None:
    """Says what a growth would do: tensors, bytes, what is exact and why, what is refused. Writes nothing."""
    require("grow", "numpy")
    from shoestring.grow import report
    from shoestring.grow.growing import planned
    from shoestring.grow.request import Request

    chosen = planned(source, Request(**options))
    if ui.as_json:
        ui.result(report.planned_facts(chosen))
        return
    ui.table(["tensor", "old", "new", "how many"], report.table(chosen))
    for line in report.planned_lines(chosen):
        print(line)
    if chosen.lossy:
        print("refused  without --allow-lossy")


@ui.command("advise")
@click.argument("log", metavar="LOG")
@click.option("--figure", type=click.Path(path_type=Path), help="Draw the losses and the fit as a PNG.")
def advise(ui: ui.UI, log: str, figure: Path | None) -> None:
    """Reads a loss curve and says whether the small model has flattened: growing sooner does not pay.

    LOG is a log.jsonl of `shoestring pretrain`, or a trainer_state.json of transformers.
    """
    require("grow", "numpy")
    from shoestring.grow import advising

    points = advising.read(log)
    advice = advising.advise(points)
    if figure is not None:
        advising.draw(points, advice, figure)
    ui.result(advice.facts(), advice.text())


verb = ui.Group(grow, advise, plan)
