"""`shoestring grow advise`: is it time to grow? from a loss curve."""

from __future__ import annotations

from pathlib import Path

import click

from shoestring import ui
from shoestring._extras import require


@ui.command("advise")
@click.argument("log", metavar="LOG")
@click.option("--figure", type=click.Path(path_type=Path), help="Draw the losses and the fit as a PNG.")
def advise(ui: ui.UI, log: str, figure: Path | None) -> None:
    """Reads a loss curve and says whether the small model has flattened: growing sooner does not pay.

    LOG is a log.jsonl of `shoestring pretrain`, or a trainer_state.json of transformers.
    """
    require("grow", "numpy")
    from shoestring.grow.training import advising

    points = advising.read(log)
    advice = advising.advise(points)
    if figure is not None:
        advising.draw(points, advice, figure)
    ui.result(advice.facts(), advice.text())
