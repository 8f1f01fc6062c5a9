"""`shoestring count merge`: adds up tables, of shards or of other corpora, exactly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from shoestring import ui
from shoestring._errors import InputError
from shoestring.count import output, runs
from shoestring.count.columns import Columns
from shoestring.count.tally import Tally, new_tally

HEADROOM = 6  # as in the pipeline: what sorting and writing a table takes, in tables


def merged(paths: Sequence[str | Path], memory: int, min_count: int = 1, top: int = 0) -> Iterator[Columns]:
    """Yields the sum of tables, by count and then code point; what does not fit in memory goes through disk.

    Raises:
        InputError: some have document frequencies and some have not, or one is no table.
    """
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="shoestring-merge-") as name:
        folder, names = Path(name), []
        tally: Tally | None = None
        kinds: dict[bool, str | Path] = {}
        for path in paths:
            for piece in output.read(path):
                kinds.setdefault(piece.documents is not None, path)
                if len(kinds) == 2:
                    raise InputError(f"{kinds[True]} has document frequencies, {kinds[False]} has none")
                tally = tally or new_tally(piece.documents is not None)
                tally.add(piece)
                if tally.memory() * HEADROOM > memory:
                    names.append(folder / f"run-{len(names)}.arrow")
                    runs.write_run(names[-1], tally.columns(by_count=False))
                    tally = None
        with_documents = True in kinds
        if names and tally:
            names.append(folder / f"run-{len(names)}.arrow")
            runs.write_run(names[-1], tally.columns(by_count=False))
        if names:
            yield from runs.by_count(
                runs.merge(names, memory // 2, with_documents), folder / "order", min_count, top
            )
        elif tally:
            yield tally.columns(True, min_count, top)


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
    from shoestring.count.amounts import size

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
