"""`shoestring examples DIR`: small real inputs and real models, to try the recipes on."""

from __future__ import annotations

from pathlib import Path

import click

from shoestring import ui
from shoestring._errors import ShoestringError


@ui.command("examples")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
def examples(ui: ui.UI, folder: Path) -> None:
    """Writes a corpus, pairs, shots and two real models into FOLDER, offline, for the recipes of the README."""
    from shoestring.tour.examples import write

    found = write(folder, ui)
    ui.result({"folder": str(folder), **found})
    if missing := [name for name, what in found.items() if what.startswith("left out")]:
        raise ShoestringError(f"{' and '.join(missing)}: {found[missing[0]]}")
