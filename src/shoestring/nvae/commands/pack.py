"""`shoestring nvae pack`: pictures decoded once, into an array that training maps into memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from shoestring import ui
from shoestring._extras import require
from shoestring.nvae.commands import options


@ui.command("pack")
@options.data()
@options.output("A .npy.")
@click.option("--test", is_flag=True, help="The test images of the data, not those to train on.")
def pack(ui: ui.UI, source: str, reading: dict[str, Any], output: Path, test: bool) -> None:
    """Decode pictures once: a .npy that --data takes, and that is not read into memory."""
    require("nvae", "numpy", "PIL")
    from shoestring.nvae.images.packing import pack as turn

    with ui.bar("packing", unit="picture") as bar:
        done = turn(source, output, test=test, each=bar.update, **reading)
    if done.skipped:
        ui.say(f"{len(done.skipped):,} pictures were left out, the first {done.skipped[0]}")
    ui.result(
        {
            "images": done.images,
            "shape": list(done.shape),
            "left out": list(done.skipped),
            "output": str(output),
        }
    )
