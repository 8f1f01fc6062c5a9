"""`shoestring match index`: texts into an index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from shoestring import files, ui
from shoestring._errors import InputError
from shoestring.files.options import reading_options
from shoestring.match.commands.options import device

if TYPE_CHECKING:
    pass

from shoestring.match.commands.indexes import bi_encoder, kind, model, open_index


@ui.command("index")
@click.argument("texts", nargs=-1, required=True)
@click.option("-o", "--output", "target", required=True, help="Folder, or qdrant:http://HOST:6333/NAME.")
@click.option("--add", is_flag=True, help="Add to a finished index.")
@click.option("--metadata", metavar="A,B", help="Columns that are stored with the text of --field.")
@model
@kind
@device
@reading_options
def index(
    ui: ui.UI, texts: Sequence[str], target: str, add: bool, metadata: str | None, model: str, kind: str,
    device: str, reading: files.Reading,
) -> None:  # fmt: skip
    """Embeds texts so that they can be searched; interrupted, the same command goes on.

    TEXTS: files (.txt, .jsonl, .csv, .parquet; also compressed or in archives), folders, patterns, or -.
    """
    matcher = bi_encoder(model, device)
    opened = open_index(target, matcher, kind)
    report = files.Report()
    documents = _documents(texts, reading, report, metadata)
    if done := opened.begin(add):
        ui.say(f"goes on after {done:,} texts")
    with ui.bar("embedding", None, "text") as bar:
        added = opened.add(islice(documents, done, None), progress=bar.update)
    if len(opened):
        opened.finish()
    for line in report.lines():
        ui.say(line)
    if not len(opened):
        raise InputError("no texts to index")
    ui.result({"index": target, "added": added, "texts": len(opened)})


def _documents(
    texts: Sequence[str], reading: files.Reading, report: files.Report, metadata: str | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    if metadata is None:
        yield from ((text, {}) for text in files.documents(texts, reading, report))
        return
    from shoestring.match.data.tables import Column, read_table

    names = metadata.split(",")
    columns = [Column(reading.field, ("text", "sentence", "title"), 0, "--field"),
               *(Column(name, (), 1, "--metadata") for name in names)]  # fmt: skip
    for source in texts:
        for line, (text, *values) in read_table(source, columns[0]).select(columns):
            if not isinstance(text, str) or not text.strip():
                raise InputError(f"{source}: line {line:,}: empty text")
            yield text, dict(zip(names, values, strict=True))
