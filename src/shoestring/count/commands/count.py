"""`shoestring count`: options into a `Job`, a `Job` into a file or a table on the screen."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from shoestring import ui
from shoestring._errors import OptionError
from shoestring.count import output
from shoestring.count.commands.amounts import share
from shoestring.count.commands.options import counting_options
from shoestring.count.counting.columns import Columns
from shoestring.count.job import Job
from shoestring.files import forget_drafts

if TYPE_CHECKING:
    from shoestring.count.counting.pipeline import Count


SHOWN = 20  # rows on the screen without -o
MOST_DRAWN = 1000  # more are printed as tab-separated lines: laying them out would take longer than counting


@ui.command("count")
@click.argument("corpus", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    "target",
    help="Where to write: .tsv, .csv or .parquet; without it the top 20 are shown.",
)
@click.option("--min-count", default=1, help="Leave out rarer words.")
@click.option("--top", default=0, help="Keep only the first so many.")
@click.option("--df", is_flag=True, help="Also count in how many documents a word occurs.")
@click.option("--resume", is_flag=True, help="Go on with what a killed run of the same command has left.")
@click.option("--shard", metavar="I/N", help="Count only every N-th part; join with: shoestring count merge.")
@click.option("--dask", metavar="ADDRESS", help="Count on this Dask cluster; needs the extra dask.")
@counting_options
def count(
    ui: ui.UI,
    corpus: tuple[str, ...],
    target: str | None,
    min_count: int,
    top: int,
    df: bool,
    resume: bool,
    shard: str | None,
    dask: str | None,
    job: Job,
) -> None:
    """Counts the words of a corpus exactly, in parallel: files, folders, archives, tables, or - for stdin.

    Tokens equal jieba 0.42.1's, one for one; the output is sorted by count, then code point, and its bytes
    are the same every time.
    """
    job = replace(job, min_count=min_count, top=top, df=df, shard=share(shard) if shard else (1, 1))
    if target:
        output.checked_format(target)
    elif resume or shard:
        raise OptionError("--resume and --shard need -o: they are about a file that is being made")
    run(ui, job, corpus, target, resume, dask)


def run(
    ui: ui.UI, job: Job, corpus: tuple[str, ...], target: str | None, resume: bool, dask: str | None
) -> None:
    """Counts, writes and reports; what a failed run had counted stays beside the target for `--resume`."""
    from shoestring.count.counting.pipeline import Count

    started = time.perf_counter()
    folder = Path(target).absolute().with_name(f".{Path(target).name}.runs") if target else None
    counting = Count(job, corpus, folder, resume, dask)
    if counting.remark:
        ui.say(counting.remark)
    done = False
    try:
        with ui.bar("counting", counting.bytes, "B") as bar:
            counting.progress = bar.update
            counting.run()
        if counting.resumed:
            ui.say(f"{counting.resumed:,} of {len(counting.batches):,} batches had been counted before")
        if target and resume:
            forget_drafts(target)
        if target:
            output.write(target, counting.pieces(), job.df)
        else:
            show(ui, counting.pieces(), job)
        done = True
    finally:
        counting.close(keep=not done)
        if folder and folder.exists():
            ui.say(f"what was counted so far waits for the same command with --resume, in {folder}")
    for line in counting.report.lines():
        ui.say(line)
    summarize(ui, counting, target, time.perf_counter() - started)


def summarize(ui: ui.UI, counting: Count, target: str | None, seconds: float) -> None:
    """Prints what was counted: as the result if there is an output, else beside the table."""
    report = counting.report
    values = {
        "documents": report.documents, "tokens": counting.tokens, "distinct": counting.distinct,
        "bytes": report.bytes, "skipped": report.skipped,
    }  # fmt: skip
    text = ", ".join(f"{value:,} {name}" for name, value in values.items())
    text += f"; {seconds:.2f} s, {report.bytes / seconds / 1e6:.1f} MB/s"
    if target:
        extra = {"engine": counting.engine, "seconds": seconds, "encodings": report.encodings}
        ui.result({"output": target, **values, **extra}, f"{target}: {text}")
    else:
        ui.say(text)


def show(ui: ui.UI, pieces: Iterator[Columns], job: Job) -> None:
    """Prints the first rows; reads all, so that the totals are known."""
    limit, rows = job.top or SHOWN, []
    for piece in pieces:
        rows += list(piece.slice(0, min(len(piece), limit - len(rows))).rows()) if len(rows) < limit else []
    width = 3 if job.df else 2
    names = ("word", "count", "documents")[:width]
    rows = [row[:width] for row in rows]
    if ui.as_json:
        ui.result({"top": [dict(zip(names, row, strict=True)) for row in rows]})
    elif len(rows) > MOST_DRAWN:
        ui.result({}, "\n".join("\t".join([repr(row[0])[1:-1], *map(str, row[1:])]) for row in rows))
    else:
        ui.table(names, [(repr(row[0])[1:-1], *row[1:]) for row in rows])
