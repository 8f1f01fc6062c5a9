"""Listens on a port and serves a model until it is interrupted; what runs then is finished first."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import uvicorn

from shoestring._errors import OutputError
from shoestring.lm.engines.base import Engine
from shoestring.lm.serve.guard import Access
from shoestring.lm.serve.requests import Limits
from shoestring.lm.serve.scheduler import Scheduler
from shoestring.lm.serve.server import Server

_PATIENCE = 30  # seconds that running requests get at shutdown
_IDLE = 75  # seconds that an idle connection stays: longer than clients reuse one, or a request meets its end


def run(
    load: Callable[[], Engine],
    limits: Limits,
    host: str,
    port: int,
    access: Access,
    say: Callable[[str], Any],
) -> None:
    """Loads the model and serves it until it is interrupted.

    Args:
        load: returns the engine; called once the port is ours.
        limits: of the scheduler.
        host: address to listen on.
        port: 0 takes a free one.
        access: who may ask.
        say: prints remarks.

    Raises:
        OutputError: the port cannot be had.
    """
    listener = _listening(host, port)
    try:
        scheduler = Scheduler(load(), limits)
        try:
            shown = f"[{host}]" if ":" in host else host
            url = f"http://{shown}:{listener.getsockname()[1]}/"
            say(
                f"{url} is a page to try it on; OpenAI's clients take {url}v1; {url}docs says what can be asked"
            )
            settings = uvicorn.Config(
                Server(scheduler, access).application(), log_level="warning",
                timeout_graceful_shutdown=_PATIENCE, timeout_keep_alive=_IDLE, lifespan="off",
            )  # fmt: skip
            uvicorn.Server(settings).run(sockets=[listener])
        finally:
            scheduler.close()
    finally:
        listener.close()


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except (OSError, OverflowError) as error:
        listener.close()
        why = getattr(error, "strerror", None) or error
        raise OutputError(
            f"--host {host} --port {port}: {why}; choose another port, such as --port 0"
        ) from error
    return listener
