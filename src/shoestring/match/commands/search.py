"""`shoestring match search`: the texts of an index that a query means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from shoestring import ui
from shoestring.match.commands.options import device

if TYPE_CHECKING:
    from shoestring.match.search.hits import Hit

from shoestring.match.commands.indexes import bi_encoder, existing_index, kind, model, rerank


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
    opened = existing_index(index, bi_encoder(model, device), kind)
    found = opened.search(list(queries), k, bi_encoder(rerank, device) if rerank else None, candidates)
    if ui.as_json:
        ui.result({"queries": [
            {"query": query, "hits": [asdict(hit) for hit in hits]} for query, hits in zip(queries, found, strict=True)
        ]})  # fmt: skip
        return
    for query, hits in zip(queries, found, strict=True):
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
    )


COLUMNS = ("id", "score", "rerank", "probability", "match", "text", "metadata")
