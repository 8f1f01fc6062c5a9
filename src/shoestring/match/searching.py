"""`shoestring match index`, `search`, `delete` and `serve`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shoestring import files, ui
from shoestring._errors import InputError
from shoestring._extras import require
from shoestring.files.options import reading_options
from shoestring.match.options import device

if TYPE_CHECKING:
    from shoestring.match.hits import Hit
    from shoestring.match.matcher import Matcher

COLUMNS = ("id", "score", "rerank", "probability", "match", "text", "metadata")
model = click.option("--model", required=True, help="The bi-encoder of the index.")
rerank = click.option("--rerank", help="A cross-encoder that sorts what was found.")
kind = click.option(
    "--kind", default="auto", show_default=True, help="exact, hnsw, or auto: hnsw from 100,000 texts."
)


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
    matcher = _matcher(model, device)
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


@ui.command("search")
@click.argument("index")
@click.argument("queries", nargs=-1, required=True)
@click.option("-k", default=5, show_default=True, help="Texts for each query.")
@click.option("--candidates", default=50, show_default=True, help="Texts that --rerank looks at.")
@model
@rerank
@kind
@device
def search(
    ui: ui.UI, index: str, queries: Sequence[str], k: int, candidates: int, model: str, rerank: str | None,
    kind: str, device: str,
) -> None:  # fmt: skip
    """Finds the texts nearest to each query; with --rerank a cross-encoder has the last word."""
    opened = _existing(index, _matcher(model, device), kind)
    found = opened.search(list(queries), k, _matcher(rerank, device) if rerank else None, candidates)
    if ui.as_json:
        ui.result({"queries": [
            {"query": query, "hits": [asdict(hit) for hit in hits]} for query, hits in zip(queries, found, strict=True)
        ]})  # fmt: skip
        return
    for query, hits in zip(queries, found, strict=True):
        rows = [_row(hit) for hit in hits]
        used = [at for at in range(len(COLUMNS)) if any(row[at] != "" for row in rows)]
        ui.table([COLUMNS[at] for at in used], [[row[at] for at in used] for row in rows], title=query)


@ui.command("delete")
@click.argument("index")
@click.argument("ids", nargs=-1, required=True, type=int)
@model
@device
def delete(ui: ui.UI, index: str, ids: Sequence[int], model: str, device: str) -> None:
    """Deletes texts from an index by their ids, which search shows."""
    opened = _existing(index, _matcher(model, device), "auto")
    gone = opened.delete(ids)
    ui.result({"index": index, "deleted": gone, "texts": len(opened)})


@ui.command("serve")
@click.argument("model")
@click.option("--index", help="Also search in this index; MODEL is then its bi-encoder.")
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="0.0.0.0 lets every machine in, unasked."
)
@click.option("--port", default=8808, show_default=True, help="0 takes a free one.")
@rerank
@kind
@device
def serve(
    ui: ui.UI, model: str, index: str | None, host: str, port: int, rerank: str | None, kind: str, device: str
) -> None:
    """Answers over HTTP, and shows a page to compare two texts and to search; until Ctrl-C."""
    from shoestring.match.serve import Service, server

    matcher = _matcher(model, device)
    opened = _existing(index, matcher, kind) if index else None
    with server(
        Service(matcher, opened, _matcher(rerank, device) if rerank else None), host, port
    ) as listening:
        ui.say(f"http://{host}:{listening.server_address[1]}  (Ctrl-C ends)")
        try:
            listening.serve_forever()
        except KeyboardInterrupt:
            ui.say("ended")


def _row(hit: Hit) -> tuple[object, ...]:
    return (
        hit.id,
        f"{hit.score:.4f}",
        "" if hit.rerank is None else f"{hit.rerank:.4f}",
        "" if hit.probability is None else f"{hit.probability:.1%}",
        {None: "", True: "yes", False: "no"}[hit.match],
        hit.text,
        " ".join(f"{name}={value}" for name, value in hit.metadata.items()),
    )


def open_index(target: str, matcher: Matcher, kind: str = "auto") -> Any:
    """Opens an index in a folder or on a Qdrant server."""
    if target.startswith("qdrant:"):
        from shoestring.match.qdrant import connect

        return connect(target, matcher)
    from shoestring.match.index import Index

    return Index(target, matcher, kind)


def _existing(target: str, matcher: Matcher, kind: str) -> Any:
    if not target.startswith("qdrant:") and not (Path(target) / "index.json").is_file():
        raise InputError(f"{target}: no index; make one with shoestring match index TEXTS -o {target}")
    return open_index(target, matcher, kind)


def _matcher(folder: str, device: str) -> Matcher:
    require("match", "sentence_transformers")
    from shoestring.match.matcher import Matcher

    return Matcher(folder, device)


def _documents(
    texts: Sequence[str], reading: files.Reading, report: files.Report, metadata: str | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    if metadata is None:
        yield from ((text, {}) for text in files.documents(texts, reading, report))
        return
    from shoestring.match.tables import Column, read_table

    names = metadata.split(",")
    columns = [Column(reading.field, ("text", "sentence", "title"), 0, "--field"),
               *(Column(name, (), 1, "--metadata") for name in names)]  # fmt: skip
    for source in texts:
        for line, (text, *values) in read_table(source, columns[0]).select(columns):
            if not isinstance(text, str) or not text.strip():
                raise InputError(f"{source}: line {line:,}: empty text")
            yield text, dict(zip(names, values, strict=True))
