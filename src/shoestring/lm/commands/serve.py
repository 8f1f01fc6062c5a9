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
@click.option("--name", help="Of the model, which requests may give.  [default: the folder's]")
@click.option(
    "--api-key", envvar="SHOESTRING_API_KEY", help="Ask for it in every request.  [SHOESTRING_API_KEY]"
)
@click.option("--allow-host", multiple=True, help="A name under which it is reached; may be repeated.")
@click.option(
    "--allow-origin", multiple=True, help="A site whose pages may ask, https://example.org; may be repeated."
)
@click.option("--batch", default=8, show_default=True, help="Rows that are continued at once.")
@click.option("--queue", default=64, show_default=True, help="Requests that may wait; more get 429.")
@click.option(
    "--cache-mb", default=256, show_default=True, help="Memory for the keys and values of earlier prompts."
)
@click.option(
    "--answer", default=1024, show_default=True, help="Tokens of a chat's answer whose request says none."
)
def serve(
    ui: ui.UI, model: str, backend: str, precision: str, device: str, threads: int, host: str, port: int,
    name: str | None, api_key: str | None, allow_host: tuple[str, ...], allow_origin: tuple[str, ...], batch: int,
    queue: int, cache_mb: int, answer: int,
) -> None:  # fmt: skip
    """Serves a model as OpenAI's API does, with a page to try prompts on."""
    require("lm", "starlette", "uvicorn", "pydantic", "llguidance")
    from shoestring.lm.engines.base import Engine
    from shoestring.lm.serve.guard import Access
    from shoestring.lm.serve.requests import Limits
    from shoestring.lm.serve.running import run

    def named() -> Engine:
        engine = loaded(ui, model, backend, precision, device, threads)
        engine.name = name or engine.name
        return engine

    limits = Limits(batch=batch, queue=queue, cache_mb=cache_mb, answer=answer)
    if host not in ("127.0.0.1", "localhost", "::1") and not api_key:
        ui.say(f"--host {host} without --api-key: everyone who reaches this machine can use the model")
    run(named, limits, host, port, Access(api_key or None, allow_host, allow_origin), say=ui.say)
