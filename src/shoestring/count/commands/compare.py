"""`shoestring count compare`: which words two corpora differ in."""

from __future__ import annotations

from dataclasses import asdict

import click

from shoestring import ui
from shoestring.count.commands.options import counting_options
from shoestring.count.job import Job
from shoestring.files import atomic

SHOWN = 20


@ui.command("compare")
@click.argument("first")
@click.argument("second")
@click.option("-o", "--output", "target", help="A .tsv for all of them; without it the first 20 are shown.")
@click.option(
    "--min-count", default=5, show_default=True, help="Leave out words that are rarer in both together."
)
@counting_options
def compare(ui: ui.UI, first: str, second: str, target: str | None, min_count: int, job: Job) -> None:
    """Shows which words two corpora (or tables counted before) differ in, by log-likelihood."""
    from shoestring.count.analysis import keyness

    tables = [keyness.table_or_corpus(path, job) for path in (first, second)]
    for path, table in zip((first, second), tables, strict=True):
        for line in [*table.report.lines(), *keyness.doubts(path, table)]:
            ui.say(line)
    keys = keyness.compare(tables[0], tables[1], min_count)
    if target:
        with atomic(target) as file:
            file.writelines(keyness.lines(keys))
        ui.result({"output": target, "words": len(keys)}, f"{target}: {len(keys):,} words")
    elif ui.as_json:
        ui.result({"words": [asdict(key) for key in keys]})
    else:
        rows = [
            (repr(k.word)[1:-1], k.first, k.second, f"{k.likelihood:.1f}", f"{k.ratio:+.2f}")
            for k in keys[:SHOWN]
        ]
        ui.table(["word", "first", "second", "log-likelihood", "log2 ratio"], rows)
