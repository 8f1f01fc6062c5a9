"""`shoestring count merge`: adds up tables, of shards or of other corpora, exactly."""

from __future__ import annotations

from collections.abc import Iterator

import click

from shoestring import ui
from shoestring.count import output
from shoestring.count.counting.columns import Columns


@ui.command("merge")
@click.argument("tables", nargs=-1, required=True, metavar="RUNS...")
@click.option("-o", "--output", "target", required=True, help="Where to write: .tsv, .csv or .parquet.")
@click.option(
    "--memory", default="2GB", show_default=True, help="What the table may take before it goes to disk."
)
@click.option("--min-count", default=1, help="Leave out rarer words.")
@click.option("--top", default=0, help="Keep only the first so many.")
def merge(ui: ui.UI, tables: tuple[str, ...], target: str, memory: str, min_count: int, top: int) -> None:
    """Adds up tables: of shards that several machines counted, or of several corpora."""
    from shoestring.count.analysis.merging import merged
    from shoestring.count.commands.amounts import size

    output.checked_format(target)
    pieces = merged(tables, size(memory), min_count, top)
    first = next(pieces, Columns.of([]))
    rows = 0

    def watched() -> Iterator[Columns]:
        nonlocal rows
        rows += len(first)
        yield first
        for piece in pieces:
            rows += len(piece)
            yield piece

    output.write(target, watched(), first.documents is not None)
    ui.result(
        {"output": target, "tables": len(tables), "rows": rows},
        f"{target}: {rows:,} rows of {len(tables)} tables",
    )
