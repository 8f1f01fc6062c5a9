"""`shoestring count bench`: how fast counting is on your own text."""

from __future__ import annotations

from pathlib import Path

import click

from shoestring import ui
from shoestring._errors import OptionError


@ui.command("bench")
@click.argument("corpus", nargs=-1, required=True)
@click.option("-o", "--output", "figure", help="A .png of the speed-ups.")
@click.option("--workers", default=0, help="Processes.  [default: every core]")
@click.option("--megabytes", default=5.0, show_default=True, help="How much of the corpus to use.")
def bench(ui: ui.UI, corpus: tuple[str, ...], figure: str | None, workers: int, megabytes: float) -> None:
    """Times the naive loop, batch tables, per-text results, N processes and our engines on your own text."""
    from shoestring import plot as figures
    from shoestring.count.analysis import experiment
    from shoestring.count.cutting.tokenizers import without_kernel
    from shoestring.count.job import usable_cores

    if figure and Path(figure).suffix != ".png":
        raise OptionError(f"{figure}: give the figure a name that ends in .png")
    ways = [way for way in experiment.WAYS if not (way.startswith("kernel") and without_kernel())]
    ui.say(f"{len(ways)} ways to count the first {megabytes:g} MB, one after another ...")
    values = experiment.report(corpus, workers or usable_cores(), megabytes, ways)
    if figure:
        bars = [(each["way"], each["speedup"], each["processes"]) for each in values["ways"]]
        figures.speedup(bars, figure, title=f"{values['bytes'] / 1e6:.1f} MB of text")
    if ui.as_json:
        ui.result(values)
        return
    rows = [
        (e["way"], f"{e['seconds']:.2f}", f"{e['cpu']:.2f}", f"{e['speedup']:.2f}", f"{e['per_process']:.2f}")
        for e in values["ways"]
    ]
    ui.table(["way", "seconds", "CPU seconds", "speed-up", "per process"], rows)
    total = sum(values["seconds"].values())
    rows = [(name, f"{part:.3f}", f"{100 * part / total:.1f}%") for name, part in values["seconds"].items()]
    ui.table(["where the time goes", "seconds", "share"], rows)
