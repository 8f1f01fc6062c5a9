"""`shoestring match delete`: texts leave an index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from shoestring import ui
from shoestring.match.commands.options import device

if TYPE_CHECKING:
    pass

from shoestring.match.commands.indexes import bi_encoder, existing_index, model


@ui.command("delete")
@click.argument("index")
@click.argument("ids", nargs=-1, required=True, type=int)
@model
@device
def delete(ui: ui.UI, index: str, ids: Sequence[int], model: str, device: str) -> None:
    """Deletes texts from an index by their ids, which search shows."""
    opened = existing_index(index, bi_encoder(model, device), "auto")
    gone = opened.delete(ids)
    ui.result({"index": index, "deleted": gone, "texts": len(opened)})
