"""HTTP around the scheduler: OpenAI's routes, a page, health and metrics.

- Errors are OpenAI's JSON: 400 for a request, 401 for the key, 413 for a body, 429 when too many wait.
- A client that goes away frees its rows; one that does not read holds up nobody, since rows never wait for it.
- On SIGTERM or Ctrl-C no more is taken, and what runs is finished.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from shoestring._errors import OptionError, OutputError, ShoestringError
from shoestring.lm.engines.base import Engine
from shoestring.lm.fewshot.choosing import choose
from shoestring.lm.fewshot.template import built_in
from shoestring.lm.generation.generation import Piece
from shoestring.lm.serve import protocol
from shoestring.lm.serve.scheduler import Full, Limits, Request, Scheduler

PAGE = Path(__file__).with_name("page.html")
_MOST_BYTES = 1 << 20  # of a request
_PATIENCE = 30  # seconds that running requests get at shutdown


class Server:
    """The routes of one model.

    Args:
        scheduler: runs the engine.
        api_key: asked for in every request, if there is one.
    """

    def __init__(self, scheduler: Scheduler, api_key: str | None = None) -> None:
        self.scheduler, self.engine, self.api_key = scheduler, scheduler.engine, api_key
        self.started = int(time.time())

    def application(self) -> Starlette:
        """Returns the ASGI application."""
        routes = [
            Route("/", self.page),
            Route("/healthz", self.health),
            Route("/metrics", self.metrics),
            Route("/v1/models", self._guarded(self.models)),
            Route("/v1/templates", self._guarded(self.templates)),
            Route("/v1/completions", self._guarded(self.completions), methods=["POST"]),
            Route("/v1/chat/completions", self._guarded(self.chat), methods=["POST"]),
            Route("/v1/choose", self._guarded(self.choose), methods=["POST"]),
        ]
        return Starlette(routes=routes)

    async def page(self, request: HttpRequest) -> Response:
        """The page to try prompts on."""
        return HTMLResponse(PAGE.read_text("utf-8"))

    async def health(self, request: HttpRequest) -> Response:
        """Says that the server answers."""
        return JSONResponse({"status": "ok", "model": self.engine.name, **self.scheduler.load})

    async def metrics(self, request: HttpRequest) -> Response:
        """Counters in Prometheus' text format."""
        values = {**vars(self.scheduler.statistics), **self.scheduler.load}
        lines = []
        for name, value in values.items():
            gauge = name in ("running", "waiting")
            full = f"shoestring_{name}" + ("" if gauge else "_total")
            lines += [f"# TYPE {full} {'gauge' if gauge else 'counter'}", f"{full} {value}"]
        return PlainTextResponse("\n".join(lines) + "\n")

    async def models(self, request: HttpRequest) -> Response:
        """The one model."""
        entry = {"id": self.engine.name, "object": "model", "created": self.started, "owned_by": "shoestring"}
        return JSONResponse({"object": "list", "data": [entry]})

    async def templates(self, request: HttpRequest) -> Response:
        """The built-in templates as prompts, for the page."""
        shown = [
            {"name": name, "about": each.about, "prompt": each.prompt(""), "stop": list(each.stop),
             "max_tokens": each.max_tokens}
            for name, each in built_in().items()
        ]  # fmt: skip
        return JSONResponse({"data": shown})

    async def completions(self, request: HttpRequest) -> Response:
        """Continues prompts."""
        return await self._answer(request, protocol.completion)

    async def chat(self, request: HttpRequest) -> Response:
        """Continues a conversation."""
        return await self._answer(request, protocol.chat)

    async def choose(self, request: HttpRequest) -> Response:
        """Tells which of some candidates follows a prompt."""
        body = await _body(request)
        prompt, candidates = body.get("prompt"), body.get("candidates")
        if not isinstance(prompt, str) or not isinstance(candidates, list) or len(candidates) > 100:
            raise OptionError("give prompt, a text, and candidates, a list of up to 100 texts")
        if not all(isinstance(each, str) for each in candidates):
            raise OptionError("candidates: each must be a text")
        score = body.get("score", "mean")
        future = self.scheduler.call(lambda: choose(self.engine, prompt, candidates, score=score))
        found = await asyncio.wrap_future(future)
        rows = zip(found.candidates, found.scores, found.logprobs, found.shares, strict=True)
        names = ("candidate", "score", "logprob", "share")
        return JSONResponse(
            {"best": found.best, "choices": [dict(zip(names, row, strict=True)) for row in rows]}
        )

    async def _answer(self, request: HttpRequest, read: Callable) -> Response:
        asked = read(self.engine, await _body(request), self.scheduler.limits.batch)
        head = {
            "id": ("chatcmpl-" if asked.chat else "cmpl-") + secrets.token_hex(12),
            "created": int(time.time()),
            "model": self.engine.name,
        }
        run = _Run(self.scheduler, asked)
        if asked.stream:
            return StreamingResponse(self._events(run, asked, head), media_type="text/event-stream")
        return await self._whole(request, run, asked, head)

    async def _whole(self, request: HttpRequest, run: _Run, asked: protocol.Asked, head: dict) -> Response:
        gone = asyncio.ensure_future(_gone(request))
        reading = asyncio.ensure_future(run.all())
        try:
            await asyncio.wait({gone, reading}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                return Response(status_code=499)
            pieces = reading.result()
        finally:
            run.cancel()
            reading.cancel()
            gone.cancel()
        echoed: list[Any] = []
        if asked.echo and asked.sampling.logprobs is not None:
            job = self.scheduler.call(lambda: [self.engine.logprobs(ids) for ids in asked.prompts])
            echoed = await asyncio.wrap_future(job)
        return JSONResponse(protocol.whole(asked, self.engine, head, pieces, echoed))

    async def _events(self, run: _Run, asked: protocol.Asked, head: dict) -> AsyncIterator[str]:
        seen: set[tuple[int, int]] = set()
        try:
            async for piece in run:
                first = (piece.prompt, piece.sample) not in seen
                seen.add((piece.prompt, piece.sample))
                if piece.text or piece.finish or first or asked.sampling.logprobs is not None:
                    yield _event(protocol.chunk(asked, self.engine, head, piece, first))
            yield "data: [DONE]\n\n"
        except ShoestringError as error:
            yield _event(_error(str(error), "invalid_request_error"))
        finally:
            run.cancel()

    def _guarded(self, handler: Callable) -> Callable:
        async def guarded(request: HttpRequest) -> Response:
            key = request.headers.get("authorization", "").removeprefix("Bearer ")
            if self.api_key and not hmac.compare_digest(key.encode(), self.api_key.encode()):
                return JSONResponse(_error("wrong or missing API key", "authentication_error"), 401)
            try:
                return await handler(request)
            except Full as error:
                headers = {"Retry-After": "1"}
                return JSONResponse(_error(str(error), "rate_limit_error"), 429, headers)
            except _TooLarge as error:
                return JSONResponse(_error(str(error), "invalid_request_error"), 413)
            except ShoestringError as error:
                return JSONResponse(_error(str(error), "invalid_request_error"), 400)

        return guarded


class _TooLarge(ShoestringError):
    """A request's body is beyond the limit."""


class _Run:
    """The pieces of one HTTP request as they come from the scheduler's thread."""

    def __init__(self, scheduler: Scheduler, asked: protocol.Asked) -> None:
        loop, self._queue = asyncio.get_running_loop(), asyncio.Queue()

        def deliver(item: Piece | BaseException | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, nobody waits
                loop.call_soon_threadsafe(self._queue.put_nowait, item)

        self._requests = [
            Request(ids, asked.sampling, asked.samples, deliver, number)
            for number, ids in enumerate(asked.prompts)
        ]
        scheduler.submit(self._requests)

    async def __aiter__(self) -> AsyncIterator[Piece]:
        left = len(self._requests)
        while left:
            item = await self._queue.get()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                left -= 1
            else:
                yield item

    async def all(self) -> list[Piece]:
        return [piece async for piece in self]

    def cancel(self) -> None:
        for request in self._requests:
            request.cancelled = True


def run(
    load: Callable[[], Engine], limits: Limits, host: str, port: int, api_key: str | None,
    say: Callable[[str], Any],
) -> None:  # fmt: skip
    """Loads the model and serves it until it is interrupted.

    Args:
        load: returns the engine; called once the port is ours.
        limits: of the scheduler.
        host: address to listen on.
        port: 0 takes a free one.
        api_key: or None.
        say: prints remarks.

    Raises:
        OutputError: the port cannot be had.
    """
    listener = _listening(host, port)
    try:
        scheduler = Scheduler(load(), limits)
        try:
            number = listener.getsockname()[1]
            say(
                f"http://{host}:{number}/ is a page to try prompts on; OpenAI's clients take http://{host}:{number}/v1"
            )
            application = Server(scheduler, api_key).application()
            settings = uvicorn.Config(
                application, log_level="warning", timeout_graceful_shutdown=_PATIENCE, lifespan="off"
            )
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


async def _body(request: HttpRequest) -> dict[str, Any]:
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > _MOST_BYTES:
            raise _TooLarge(f"the request is larger than {_MOST_BYTES:,} bytes")
    try:
        body = json.loads(data)
    except ValueError as error:
        raise OptionError(f"the request is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise OptionError("the request is not a JSON object")
    return body


async def _gone(request: HttpRequest) -> None:
    while not await request.is_disconnected():
        await asyncio.sleep(0.1)


def _event(values: dict[str, Any]) -> str:
    return f"data: {json.dumps(values, ensure_ascii=False)}\n\n"


def _error(message: str, kind: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}
