"""`shoestring match index`: texts into an index."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import click

from shoestring import files, ui
from shoestring._errors import OptionError
from shoestring.files.options import reading_options
from shoestring.match.commands.indexes import kind, loaded, model, open_index, precision
from shoestring.match.commands.options import device


@ui.command("index")
@click.argument("texts", nargs=-1, required=True)
@click.option("-o", "--output", "target", required=True, help="Folder, or qdrant:http://HOST:6333/NAME.")
@click.option("--add", is_flag=True, help="Add to a finished index.")
@click.option("--overwrite", is_flag=True, help="Build it anew, whatever is there.")
@click.option("--metadata", metavar="A,B", help="Columns that are stored with the text of --field.")
@click.option(
    "--key", metavar="COLUMN", help="Column of your own ids: what has one again replaces what was there."
)
@model
@kind
@precision
@device
@reading_options
def index(
    ui: ui.UI, texts: Sequence[str], target: str, add: bool, overwrite: bool, metadata: str | None, key: str | None,
    model: str, kind: str, precision: str, device: str, reading: files.Reading,
) -> None:  # fmt: skip
    """Embeds texts so that they can be searched; interrupted, the same command goes on.

    TEXTS: files (.txt, .jsonl, .csv, .parquet; also compressed or in archives), folders, patterns, or -.
    """
    if add and overwrite:
        raise OptionError(
            "--add and --overwrite: one keeps what is there, the other replaces it; leave one out"
        )
    if key and (add or overwrite):
        raise OptionError("--key adds and replaces by itself; leave out --add and --overwrite")
    opened = open_index(target, loaded(model, device, precision), kind, overwrite)
    from shoestring.match.search.sources import Met, documents, keyed, measured

    met, too_long = Met(), partial(opened.matcher.too_long, role="document")
    with ui.bar("embedding", None, "text") as bar:
        if key:
            stream = measured(keyed(texts, met, reading, metadata, key), met, too_long)
            found = opened.put(stream, progress=bar.update)
        else:
            stream = measured(documents(texts, met, reading, metadata), met, too_long)
            done, added = opened.build(stream, add, overwrite, bar.update)
            found = {"added": added, **({"had already": done} if done else {})}
    for line in met.lines():
        ui.say(line)
    if kind in ("hnsw", "int4") and opened.searched == "exact":
        ui.say("a graph finds too few of these texts' nearest: all are compared instead")
    ui.result({"index": target, **found, "texts": len(opened), "search": opened.searched})
