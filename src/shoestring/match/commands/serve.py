"""`shoestring match serve`: the service and its page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from shoestring import ui
from shoestring.match.commands.options import device

if TYPE_CHECKING:
    pass

from shoestring.match.commands.indexes import bi_encoder, existing_index, kind, rerank


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
    from shoestring.match.serve.server import Service, server

    matcher = bi_encoder(model, device)
    opened = existing_index(index, matcher, kind) if index else None
    with server(
        Service(matcher, opened, bi_encoder(rerank, device) if rerank else None), host, port
    ) as listening:
        ui.say(f"http://{host}:{listening.server_address[1]}  (Ctrl-C ends)")
        try:
            listening.serve_forever()
        except KeyboardInterrupt:
            ui.say("ended")
