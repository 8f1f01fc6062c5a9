"""`shoestring match delete`: texts leave an index."""

from __future__ import annotations

from collections.abc import Sequence

import click

from shoestring import ui
from shoestring._errors import OptionError
from shoestring.match.commands.indexes import existing, loaded, model
from shoestring.match.commands.options import device


@ui.command("delete")
@click.argument("index")
@click.argument("ids", nargs=-1, type=int)
@click.option("--key", "keys", multiple=True, help="What is stored under this key; repeatable.")
@model
@device
def delete(
    ui: ui.UI, index: str, ids: Sequence[int], keys: Sequence[str], model: str, device: str
) -> None:  # fmt: skip
    """Deletes texts from an index by their ids, which search shows, or by your own keys."""
    if not ids and not keys:
        raise OptionError("give ids, or --key")
    opened = existing(index, loaded(model, device), "auto")
    gone = opened.delete(ids, keys)
    ui.result({"index": index, "deleted": gone, "texts": len(opened)})
