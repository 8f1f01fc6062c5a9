"""`shoestring match search`: the texts of an index that are nearest to queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from shoestring import ui
from shoestring._errors import OptionError
from shoestring.match.commands.indexes import existing, kind, loaded, model, precision, rerank
from shoestring.match.commands.options import CUT, device

if TYPE_CHECKING:
    from shoestring.match.search.hits import Hit

COLUMNS = ("id", "score", "rerank", "probability", "match", "text", "metadata", "key")


@ui.command("search")
@click.argument("index")
@click.argument("queries", nargs=-1, required=True)
@click.option("-k", default=5, show_default=True, help="Texts for each query.")
@click.option("--candidates", default=50, show_default=True, help="Texts that --rerank looks at.")
@click.option("--where", "wanted", metavar="NAME=VALUE", multiple=True, help="Only texts with this metadata.")
@click.option("--hybrid", is_flag=True, help="By words (BM25), too; both lists are joined by their ranks.")
@model
@rerank
@kind
@precision
@device
def search(
    ui: ui.UI, index: str, queries: Sequence[str], k: int, candidates: int, wanted: Sequence[str], hybrid: bool,
    model: str, rerank: str | None, kind: str, precision: str, device: str,
) -> None:  # fmt: skip
    """Finds the texts nearest to each query; with --rerank a cross-encoder has the last word."""
    if wrong := [each for each in wanted if "=" not in each]:
        raise OptionError(f"--where {wrong[0]!r}: write NAME=VALUE")
    where = dict(each.split("=", 1) for each in wanted)
    if len(where) < len(wanted):
        raise OptionError(f"--where {' --where '.join(wanted)}: a name is given twice; each takes one value")
    opened = existing(index, loaded(model, device, precision), kind)
    if opened.unfinished:
        ui.say(
            f"{index}: its build was interrupted, so that only {len(opened):,} texts can be found; the same "
            "shoestring match index goes on"
        )
    last = loaded(rerank, device) if rerank else None
    if cut := max(opened.matcher.too_long(queries, "query"), last.too_long(queries) if last else 0):
        ui.say(f"{cut:,} {CUT}")
    found = opened.search(list(queries), k, last, candidates, where, hybrid)
    if ui.as_json:
        ui.result({"queries": [
            {"query": query, "hits": [asdict(hit) for hit in hits]} for query, hits in zip(queries, found, strict=True)
        ]})  # fmt: skip
        return
    for query, hits in zip(queries, found, strict=True):
        if not hits:
            ui.say(f"{query}: nothing found")
            continue
        rows = [_row(hit) for hit in hits]
        used = [at for at in range(len(COLUMNS)) if any(row[at] != "" for row in rows)]
        ui.table([COLUMNS[at] for at in used], [[row[at] for at in used] for row in rows], title=query)


def _row(hit: Hit) -> tuple[object, ...]:
    return (
        hit.id,
        f"{hit.score:.4f}",
        "" if hit.rerank is None else f"{hit.rerank:.4f}",
        "" if hit.probability is None else f"{hit.probability:.1%}",
        {None: "", True: "yes", False: "no"}[hit.match],
        hit.text,
        " ".join(f"{name}={value}" for name, value in hit.metadata.items()),
        hit.key or "",
    )
