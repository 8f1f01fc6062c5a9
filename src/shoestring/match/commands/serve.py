"""`shoestring match serve`: a small HTTP service and its page."""

from __future__ import annotations

import click

from shoestring import ui
from shoestring.match.commands.indexes import existing, kind, loaded, precision, rerank
from shoestring.match.commands.options import device


@ui.command("serve")
@click.argument("model")
@click.option("--index", help="Also search in this index; MODEL is then its bi-encoder.")
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="0.0.0.0 lets every machine in, unasked."
)
@click.option("--port", default=8808, show_default=True, help="0 takes a free one.")
@rerank
@kind
@precision
@device
def serve(
    ui: ui.UI,
    model: str,
    index: str | None,
    host: str,
    port: int,
    rerank: str | None,
    kind: str,
    precision: str,
    device: str,
) -> None:
    """Answers over HTTP, and shows a page to compare two texts and to search; until Ctrl-C."""
    from shoestring.match.serve.server import Service, server

    matcher = loaded(model, device, precision)
    opened = existing(index, matcher, kind) if index else None
    with server(
        Service(matcher, opened, loaded(rerank, device) if rerank else None), host, port
    ) as listening:
        ui.say(f"http://{host}:{listening.server_address[1]}  (Ctrl-C ends)")
        try:
            listening.serve_forever()
        except KeyboardInterrupt:
            ui.say("ended")
