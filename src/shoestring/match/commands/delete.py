"""`shoestring match delete`: texts leave an index."""

from __future__ import annotations

from collections.abc import Sequence

import click

from shoestring import ui
from shoestring.match.commands.indexes import existing, loaded, model
from shoestring.match.commands.options import device


@ui.command("delete")
@click.argument("index")
@click.argument("ids", nargs=-1, required=True, type=int)
@model
@device
def delete(ui: ui.UI, index: str, ids: Sequence[int], model: str, device: str) -> None:
    """Deletes texts from an index by their ids, which search shows."""
    opened = existing(index, loaded(model, device), "auto")
    gone = opened.delete(ids)
    ui.result({"index": index, "deleted": gone, "texts": len(opened)})
