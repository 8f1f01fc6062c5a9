"""`shoestring lm serve`."""

from __future__ import annotations

import click

from shoestring import ui
from shoestring._extras import require
from shoestring.lm.commands.options import loaded, model_options


@ui.command("serve")
@model_options
@click.option("--host", default="127.0.0.1", show_default=True, help="Another address lets others in.")
@click.option("--port", default=8000, show_default=True)
@click.option(
    "--api-key", envvar="SHOESTRING_API_KEY", help="Ask for it in every request.  [SHOESTRING_API_KEY]"
)
@click.option("--batch", default=8, show_default=True, help="Rows that are continued at once.")
@click.option("--queue", default=64, show_default=True, help="Requests that may wait; more get 429.")
@click.option(
    "--prefix-tokens", default=4096, show_default=True, help="Tokens of prompts whose keys are kept."
)
def serve(
    ui: ui.UI, model: str, backend: str, precision: str, device: str | None, threads: int, host: str, port: int,
    api_key: str | None, batch: int, queue: int, prefix_tokens: int,
) -> None:  # fmt: skip
    """Serves a model as OpenAI's API does, with a page to try prompts on."""
    require("lm", "starlette", "uvicorn")
    from shoestring.lm.serve.scheduler import Limits
    from shoestring.lm.serve.server import run

    limits = Limits(batch=batch, queue=queue, prefix_tokens=prefix_tokens)
    if host not in ("127.0.0.1", "localhost", "::1") and not api_key:
        ui.say(f"--host {host} without --api-key: everyone who reaches this machine can use the model")
    run(
        lambda: loaded(ui, model, backend, precision, device, threads),
        limits,
        host,
        port,
        api_key,
        say=ui.say,
    )
