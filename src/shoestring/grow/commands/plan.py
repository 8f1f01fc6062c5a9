"""`shoestring grow plan`: what a growth would do, without doing it."""

from __future__ import annotations

from typing import Any

import click

from shoestring import hub, ui
from shoestring._extras import require
from shoestring.grow.commands.options import sizes


@ui.command("plan")
@click.argument("source", metavar="SRC")
@sizes
def plan(ui: ui.UI, source: str, **options: Any) -> None:
    """Says what a growth would do: tensors, bytes, what is exact and why, what is refused. Writes nothing."""
    hub.located(source)  # a wrong path is told before anything heavy is loaded
    require("grow", "numpy")
    from shoestring.grow.growing import planned
    from shoestring.grow.plan.request import Request
    from shoestring.grow.prove import report

    chosen = planned(source, Request(**options))
    if ui.as_json:
        ui.result(report.planned_facts(chosen))
        return
    ui.table(["tensor", "old", "new", "how many"], report.table(chosen))
    for line in report.planned_lines(chosen):
        print(line)
    if chosen.lossy:
        print("refused  without --allow-lossy")
