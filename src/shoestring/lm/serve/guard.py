"""Who may ask: the key, and against pages of other sites the Host and the Origin that a browser sends.

- A page of another site can send requests to a server on this machine. A browser names that site in Origin:
  refused, unless it is this server's own or among those allowed, which get CORS headers.
- A site whose name is made to point to this machine (DNS rebinding) is its own origin, but its name is in Host:
  without a key, only addresses, localhost, this machine's name and names that were allowed are served.
- Every error is OpenAI's JSON, also of unknown paths and of our own mistakes.
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_OPEN = ("/", "/healthz", "/metrics", "/docs", "/openapi.json")  # no key: what they tell is no secret
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Args:
        api_key: asked for in every request, if there is one.
        hosts: names besides this machine's under which it is reached.
        origins: sites whose pages may ask, such as https://example.org; "*" is every one.
    """

    api_key: str | None = None
    hosts: Sequence[str] = ()
    origins: Sequence[str] = ()


class Guard:
    """ASGI middleware that lets in who may ask.

    Args:
        app: what is guarded.
        access: who may.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.access, self._app = access, app
        self._let_in: ASGIApp = self._keyed
        self._hosts = {"localhost", socket.gethostname().lower(), *map(_name, access.hosts)}
        if access.origins:  # around the key, so that its error can be read there too; it answers preflights
            self._let_in = CORSMiddleware(
                self._keyed,
                allow_origins=list(access.origins),
                allow_methods=["GET", "POST"],
                allow_headers=["*"],
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or answers with an error."""
        refused = self._foreign(Headers(scope=scope)) if scope["type"] == "http" else None
        await (refused or self._let_in)(scope, receive, send)

    async def _keyed(self, scope: Scope, receive: Receive, send: Send) -> None:
        right = scope["type"] != "http" or scope["path"] in _OPEN or self._has_key(Headers(scope=scope))
        await (self._app if right else error(401, "wrong or missing API key"))(scope, receive, send)

    def _foreign(self, headers: Headers) -> JSONResponse | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if self.access.api_key is None and not self._known(host):
            return error(403, f"Host {host!r} is not this server's name; allow it with --allow-host")
        own = origin in (f"http://{host}", f"https://{host}")
        if origin is not None and not own and not {*self.access.origins} & {origin, "*"}:
            return error(403, f"Origin {origin!r} may not ask here; allow it with --allow-origin")
        return None

    def _has_key(self, headers: Headers) -> bool:
        if self.access.api_key is None:
            return True
        scheme, _, key = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(
            key.strip().encode(), self.access.api_key.encode()
        )

    def _known(self, host: str) -> bool:
        try:
            name = _name(host)
            return name in self._hosts or ipaddress.ip_address(name) is not None
        except ValueError:  # neither a name that is known nor an address
            return False


def _name(host: str) -> str:
    """Returns a Host without its port, in small letters."""
    return urlsplit(f"//{host}").hostname or ""


def error(status: int, message: str, param: str | None = None, headers: Any = None) -> JSONResponse:
    """Returns an error as OpenAI writes it."""
    return JSONResponse(described(status, message, param), status, headers)


def described(status: int, message: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """Returns the JSON of an error."""
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    text = message.encode("utf-8", "replace").decode()  # a lone surrogate cannot be sent
    return {"error": {"message": text, "type": kind, "param": param, "code": code}}


async def on_http_error(request: Request, raised: Exception) -> JSONResponse:
    """Answers for unknown paths and methods."""
    assert isinstance(raised, HTTPException)
    status, path = raised.status_code, request.url.path
    what = {404: f"there is no {path} here; see /docs", 405: f"{request.method} {path}: not with this method"}
    return error(status, what.get(status, str(raised.detail)), headers=raised.headers)


async def on_mistake(request: Request, raised: Exception) -> JSONResponse:
    """Answers for what should not have happened; the traceback goes to the log."""
    return error(500, f"a mistake in the server: {type(raised).__name__}")
