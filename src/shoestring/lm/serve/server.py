"""HTTP around the scheduler: OpenAI's routes, a page to try them on, their description, health and metrics.

- Errors are OpenAI's JSON: 400 for a request, 401 for the key, 403 for a foreign page, 404 for a model, 413 for a
  body, 429 when too many wait; in a stream that has begun, an event.
- A client that goes away frees its rows; one that does not read holds up nobody, since rows never wait for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import sys
import time
import traceback
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request as HttpRequest
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from shoestring._errors import ShoestringError
from shoestring.lm.engines.base import Token
from shoestring.lm.fewshot.choosing import choose
from shoestring.lm.fewshot.template import built_in
from shoestring.lm.generation.generation import Piece
from shoestring.lm.serve import asking, guard
from shoestring.lm.serve.asking import Asked, Limit, UnknownModel
from shoestring.lm.serve.guard import Access, Guard
from shoestring.lm.serve.replies import Writer
from shoestring.lm.serve.requests import Full, Request
from shoestring.lm.serve.scheduler import Scheduler
from shoestring.lm.serve.schema import openapi
from shoestring.lm.serve.schema.bodies import ChatBody, ChooseBody, CompletionBody

PAGES = Path(__file__).parent / "pages"
_MOST_BYTES = 1 << 20  # of a request
_MOST_DROPPED = 1 << 26  # of one that is too large: a client that is still sending does not see the answer
_FIELDS = {*ChatBody.model_fields, *CompletionBody.model_fields, *ChooseBody.model_fields}
_GAUGES = ("running", "waiting", "cache_bytes")
_TOKENIZING = ThreadPoolExecutor(
    1, "tokenizing"
)  # one: fast tokenizers must not be set from two threads at once
T = TypeVar("T", bound=BaseModel)


class Server:
    """The routes of one model.

    Args:
        scheduler: runs the engine.
        access: who may ask.
    """

    def __init__(self, scheduler: Scheduler, access: Access | None = None) -> None:
        self.scheduler, self.engine, self.access = scheduler, scheduler.engine, access or Access()
        self.started = int(time.time())
        limits = scheduler.limits
        self.limit = Limit(samples=limits.batch, prompts=limits.queue, answer=limits.answer)

    def application(self) -> Starlette:
        """Returns the ASGI application."""
        routes = [
            Route("/", _page("page.html")),
            Route("/docs", _page("docs.html")),
            Route("/openapi.json", self.description),
            Route("/healthz", self.health),
            Route("/metrics", self.metrics),
            Route("/v1/models", self.models),
            Route("/v1/models/{name:path}", self.model),
            Route("/v1/templates", self.templates),
            Route("/v1/completions", _answering(self.completions), methods=["POST"]),
            Route("/v1/chat/completions", _answering(self.chat), methods=["POST"]),
            Route("/v1/choose", _answering(self.choose), methods=["POST"]),
        ]
        handlers: Any = {HTTPException: guard.on_http_error, Exception: guard.on_mistake}
        return Starlette(
            routes=routes, exception_handlers=handlers, middleware=[Middleware(Guard, access=self.access)]
        )

    async def description(self, request: HttpRequest) -> Response:
        """What can be asked, as OpenAPI."""
        return JSONResponse(openapi.document())

    async def health(self, request: HttpRequest) -> Response:
        """Says that the server answers."""
        return JSONResponse({"status": "ok", "model": self.engine.name, **self.scheduler.load})

    async def metrics(self, request: HttpRequest) -> Response:
        """Counters in Prometheus' text format."""
        values = {**vars(self.scheduler.statistics), **self.scheduler.load}
        lines = []
        for name, value in values.items():
            gauge = name in _GAUGES
            full = f"shoestring_{name}" + ("" if gauge else "_total")
            lines += [f"# TYPE {full} {'gauge' if gauge else 'counter'}", f"{full} {value}"]
        return PlainTextResponse("\n".join(lines) + "\n")

    async def models(self, request: HttpRequest) -> Response:
        """The one model."""
        return JSONResponse({"object": "list", "data": [self._entry()]})

    async def model(self, request: HttpRequest) -> Response:
        """A model by its name."""
        name = request.path_params["name"]
        if name != self.engine.name:
            return guard.error(404, f"there is no model {name!r} here; this is {self.engine.name!r}", "model")
        return JSONResponse(self._entry())

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
        body = await _body(CompletionBody, request)
        return await self._answer(request, await _aside(asking.completion, self.engine, body, self.limit))

    async def chat(self, request: HttpRequest) -> Response:
        """Continues a conversation."""
        body = await _body(ChatBody, request)
        return await self._answer(request, await _aside(asking.chat, self.engine, body, self.limit))

    async def choose(self, request: HttpRequest) -> Response:
        """Tells which of some candidates follows a prompt."""
        body = await _body(ChooseBody, request)
        asking.require_model(self.engine, body.model)
        future = self.scheduler.call(
            lambda: choose(self.engine, body.prompt, body.candidates, score=body.score)
        )
        found = await asyncio.wrap_future(future)
        rows = zip(found.candidates, found.scores, found.logprobs, found.shares, strict=True)
        names = ("candidate", "score", "logprob", "share")
        return JSONResponse(
            {"best": found.best, "choices": [dict(zip(names, row, strict=True)) for row in rows]}
        )

    def _entry(self) -> dict[str, Any]:
        return {"id": self.engine.name, "object": "model", "created": self.started, "owned_by": "shoestring"}

    async def _answer(self, request: HttpRequest, asked: Asked) -> Response:
        head = {
            "id": ("chatcmpl-" if asked.chat else "cmpl-") + secrets.token_hex(12),
            "created": int(time.time()),
            "model": self.engine.name,
        }
        echoed = await self._echoed(asked)
        writer, run = Writer(self.engine, asked, head, echoed), _Run(self.scheduler, asked)
        if asked.stream:
            return StreamingResponse(_events(run, writer), media_type="text/event-stream")
        return await _whole(request, run, writer)

    async def _echoed(self, asked: Asked) -> list[list[Token]]:
        """Returns the prompts' tokens with their log-probabilities, one prompt a turn, so that others go on."""
        if not asked.echo or asked.sampling.logprobs is None:
            return []
        found: list[list[Token]] = []
        for ids in asked.prompts:
            job = self.scheduler.call(
                lambda ids=ids: self.engine.tokens(ids, asked.sampling.logprobs), begun=bool(found)
            )
            found.append(await asyncio.wrap_future(job))
        return found


class _TooLarge(ShoestringError):
    """A request's body is beyond the limit."""


class _Run:
    """The pieces of one HTTP request as they come from the scheduler's thread."""

    def __init__(self, scheduler: Scheduler, asked: Asked) -> None:
        loop, self._queue = asyncio.get_running_loop(), asyncio.Queue()

        def deliver(item: Piece | BaseException | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, nobody waits
                loop.call_soon_threadsafe(self._queue.put_nowait, item)

        self._requests = [
            Request(ids, asked.sampling_of_prompt(), asked.samples, deliver, number)
            for number, ids in enumerate(asked.prompts)
        ]
        self._known: list[Piece] = []
        if asked.sampling.max_tokens == 0:  # nothing is made
            places = [
                (prompt, sample) for prompt in range(len(asked.prompts)) for sample in range(asked.samples)
            ]
            self._known, self._requests = [Piece(*place, "", finish="length") for place in places], []
        scheduler.submit(self._requests)

    async def __aiter__(self) -> AsyncIterator[Piece]:
        for piece in self._known:
            yield piece
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


async def _whole(request: HttpRequest, run: _Run, writer: Writer) -> Response:
    gone = asyncio.ensure_future(_gone(request))
    reading = asyncio.ensure_future(run.all())
    try:
        await asyncio.wait({gone, reading}, return_when=asyncio.FIRST_COMPLETED)
        if not reading.done():
            return Response(status_code=499)
        return JSONResponse(writer.whole(reading.result()))
    finally:
        run.cancel()
        reading.cancel()
        gone.cancel()


async def _events(run: _Run, writer: Writer) -> AsyncIterator[str]:
    try:
        for chunk in writer.opening():
            yield _event(chunk)
        async for piece in run:
            for chunk in writer.chunks(piece):
                yield _event(chunk)
        for chunk in writer.closing():
            yield _event(chunk)
        yield "data: [DONE]\n\n"
    except Exception as raised:  # the stream has begun, so that an event is all that can be sent
        status, message = _said(raised)
        yield _event(guard.described(status, message))
    finally:
        run.cancel()


def _answering(handler: Callable) -> Callable:
    """Turns our errors into answers."""

    async def answering(request: HttpRequest) -> Response:
        try:
            return await handler(request)
        except ShoestringError as raised:
            status, message = _said(raised)
            headers = {"Retry-After": "1"} if isinstance(raised, Full) else None
            named = message.partition(":")[0]
            param = getattr(raised, "param", None) or (named if named in _FIELDS else None)
            return guard.error(status, message, param, headers)

    return answering


def _said(raised: Exception) -> tuple[int, str]:
    """Returns the status and the message of an error."""
    known: dict[type, int] = {Full: 429, _TooLarge: 413, UnknownModel: 404}
    if isinstance(raised, ShoestringError):
        return known.get(type(raised), 400), str(raised)
    traceback.print_exception(raised, file=sys.stderr)
    return 500, f"a mistake in the server: {type(raised).__name__}"


async def _body(model: type[T], request: HttpRequest) -> T:
    data, size = bytearray(), 0
    async for part in request.stream():
        size += len(part)
        if size <= _MOST_BYTES:
            data += part
        elif size > _MOST_DROPPED:
            break
    if size > _MOST_BYTES:
        raise _TooLarge(f"the request is larger than {_MOST_BYTES:,} bytes")
    return asking.parsed(model, bytes(data))


async def _aside(function: Callable[..., Asked], *arguments: Any) -> Asked:
    """Runs what tokenizes in another thread, so that streams go on."""
    return await asyncio.get_running_loop().run_in_executor(_TOKENIZING, function, *arguments)


async def _gone(request: HttpRequest) -> None:
    while not await request.is_disconnected():
        await asyncio.sleep(0.1)


def _page(name: str) -> Callable:
    async def page(request: HttpRequest) -> Response:
        return HTMLResponse((PAGES / name).read_text("utf-8"))

    return page


def _event(values: dict[str, Any]) -> str:
    return f"data: {json.dumps(values, ensure_ascii=False, allow_nan=False)}\n\n"
