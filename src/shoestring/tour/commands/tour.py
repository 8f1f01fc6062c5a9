"""`shoestring tour`: the whole story on real text, offline, in minutes."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from shoestring import ui


@ui.command("tour")
@click.option(
    "-o",
    "--output",
    default="tour-report",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder for report.html, report.json and the models.",
)
@click.option("--stages", default="", metavar="A,B", help="Only these, and what they need. [default: all]")
@click.option(
    "--minutes",
    default=3.7,
    show_default=True,
    help="For training and embedding, all together.",
)
@click.option("--seed", default=0, show_default=True, help="Of everything random.")
def tour(ui: ui.UI, output: Path, stages: str, minutes: float, seed: int) -> None:
    """Counts, trains, judges, grows, matches and finds: on real text with real models, offline, with a report."""
    from shoestring.tour import report
    from shoestring.tour.stage import Settings, run, select
    from shoestring.tour.stages import STAGES

    chosen = select(STAGES, [name.strip() for name in stages.split(",") if name.strip()])
    output.mkdir(parents=True, exist_ok=True)
    done = run(chosen, Settings(output, ui, minutes, seed))
    page, data = report.write(output, done)
    failed = [each.stage.name for each in done if each.outcome is None]
    seconds = sum(each.seconds for each in done)
    if not ui.as_json:
        rows = [(each.what, each.ours, each.beside) for each in report.headlines(done)]
        if rows:
            ui.table(("", "this run", "beside"), rows)
    ui.result(
        report.as_json(done, {}) if ui.as_json else {},
        f"{page}  ({len(done) - len(failed)} of {len(done)} stages in {seconds / 60:.1f} minutes; data: {data})",
    )
    if failed:
        sys.exit(1)
