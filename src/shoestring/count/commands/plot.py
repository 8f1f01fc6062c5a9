"""`shoestring count plot`: Zipf's and Heaps' laws of counted tables."""

from __future__ import annotations

from pathlib import Path

import click

from shoestring import ui
from shoestring._errors import OptionError


@ui.command("plot")
@click.argument("tables", nargs=-1, required=True, metavar="OUT.tsv...")
@click.option(
    "-o", "--output", "folder", default=".", show_default=True, help="Folder for zipf.png and heaps.png."
)
def plot(ui: ui.UI, tables: tuple[str, ...], folder: str) -> None:
    """Draws Zipf's law (counts over ranks) and Heaps' law (distinct words over tokens) of counted tables."""
    from shoestring import plot as figures
    from shoestring.count.analysis import keyness, laws
    from shoestring.count.table import FrequencyTable

    ranks, growth, exponents = {}, {}, {}
    for path in tables:
        table = FrequencyTable.read(path)
        if not len(table):
            raise OptionError(f"{path}: the table is empty, there is nothing to draw")
        for line in keyness.doubts(path, table):
            ui.say(line)
        zipf, heaps = laws.zipf(table), laws.heaps(table)
        middle = [point for point in zipf if 10 <= point[0] <= table.distinct / 10] or zipf
        upper = [point for point in heaps if point[0] >= table.total / 100] or heaps
        exponents[path] = {"zipf": -laws.slope(middle), "heaps": laws.slope(upper)}
        ranks[f"{path} (exponent {exponents[path]['zipf']:.2f})"] = zipf
        growth[f"{path} (exponent {exponents[path]['heaps']:.2f})"] = heaps
    Path(folder).mkdir(parents=True, exist_ok=True)
    figures.zipf(ranks, Path(folder) / "zipf.png")
    figures.heaps(growth, Path(folder) / "heaps.png")
    files = {"zipf": str(Path(folder) / "zipf.png"), "heaps": str(Path(folder) / "heaps.png")}
    ui.result({"figures": files, "exponents": exponents}, "\n".join(files.values()))
