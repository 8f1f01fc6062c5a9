"""`shoestring match serve`: a small HTTP service, and a page to paste two texts into.

    POST /match   {"text1": "...", "text2": "..."}  ->  {"score": ..., "probability": ..., "match": ..., "cut": 0}
    POST /search  {"query": "...", "k": 5}          ->  {"hits": [{"text": ..., "score": ..., ...}, ...], "cut": 0}
                  also "where": {"NAME": VALUE}, "hybrid": true
    GET  /        the page; it refers to nothing outside itself

`cut` is how many of the request's texts are longer than the model reads, so that their ends did not count.
Bad requests get 400 and {"error": "..."}; nothing that a request can hold ends the service. One request at a time
computes; the others wait. On 127.0.0.1 only a request to a name of this machine is answered, so that no page of
another site can reach it through a name that it makes point here (DNS rebinding), and no other site may post.
"""

from __future__ import annotations

import json
import threading
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

from shoestring._errors import InputError, OutputError, ShoestringError
from shoestring.match.deciding.decision import Decision
from shoestring.match.matcher import Matcher

LOCAL = ("127.0.0.1", "localhost", "::1")
LONGEST = 1 << 20  # bytes of a request
PAGE = Path(__file__).with_name("page.html")


class Service:
    """What the server answers, without HTTP.

    Args:
        matcher: scores pairs.
        index: to search in; None has no search.
        rerank: a cross-encoder that sorts what was found.
    """

    def __init__(self, matcher: Matcher, index: Any = None, rerank: Matcher | None = None) -> None:
        self.matcher, self.index, self.rerank = matcher, index, rerank
        self._lock = threading.Lock()

    def page(self) -> str:
        """Returns the page."""
        decision = self.matcher.decision
        facts = {
            "model": self.matcher.folder.name or str(self.matcher.folder),
            "mode": self.matcher.mode,
            "threshold": decision.threshold if decision else None,
            "interval": decision.threshold_interval if decision else None,
            "metric": decision.metric if decision else None,
            "scale": _scale(decision) if decision else None,
            "texts": len(self.index) if self.index is not None else None,
        }
        safe = json.dumps(facts, ensure_ascii=False).replace("<", "\\u003c")
        return PAGE.read_text("utf-8").replace("/*FACTS*/null", safe)

    def match(self, request: dict[str, Any]) -> dict[str, Any]:
        """Judges one pair."""
        _require_known(request, ("text1", "text2"))
        pair = (_text(request, "text1"), _text(request, "text2"))
        with self._lock:
            found, cut = self.matcher.predict([pair]), self.matcher.too_long(pair)
        return {
            "score": float(found.scores[0]),
            "probability": None if found.probabilities is None else float(found.probabilities[0]),
            "match": None if found.verdicts is None else bool(found.verdicts[0]),
            "cut": cut,
        }

    def search(self, request: dict[str, Any]) -> dict[str, Any]:
        """Finds texts."""
        if self.index is None:
            raise InputError("there is nothing to search; start with --index")
        _require_known(request, ("query", "k", "where", "hybrid"))
        k, where, hybrid = request.get("k", 5), request.get("where"), request.get("hybrid", False)
        if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= 100:
            raise InputError(f"k {k!r}: must be a whole number from 1 to 100")
        if where is not None and not isinstance(where, dict):
            raise InputError(f"where {where!r}: must be an object of names and values")
        if not isinstance(hybrid, bool):
            raise InputError(f"hybrid {hybrid!r}: must be true or false")
        asked = [_text(request, "query")]
        with self._lock:
            (found,) = self.index.search(asked, k, self.rerank, where=where, hybrid=hybrid)
            cut = max(
                self.matcher.too_long(asked, "query"), self.rerank.too_long(asked) if self.rerank else 0
            )
        return {"hits": [asdict(hit) for hit in found], "cut": cut}


def server(service: Service, host: str = "127.0.0.1", port: int = 8808) -> ThreadingHTTPServer:
    """Returns a server that listens; `serve_forever` answers.

    Args:
        service: what to answer.
        host: 127.0.0.1 is for this machine only; 0.0.0.0 for all, without any password.
        port: 0 takes a free one.

    Raises:
        OutputError: the port is taken.
    """

    try:
        return _Server((host, port), service)
    except OSError as error:
        raise OutputError(f"{host}:{port}: cannot listen: {error.strerror or error}; try --port 0") from error


class _Server(ThreadingHTTPServer):
    def __init__(self, address: tuple[str, int], service: Service) -> None:
        super().__init__(address, _Handler)
        self.local = address[0] in LOCAL
        self.page = service.page
        self.answers = {"/match": service.match, "/search": service.search}


class _Handler(BaseHTTPRequestHandler):
    timeout = 30

    @property
    def _ours(self) -> _Server:
        return cast(_Server, self.server)

    def do_GET(self) -> None:
        if self._refused():
            return
        if self.path.partition("?")[0] in ("/", "/index.html"):
            self._send(200, self._ours.page().encode(), "text/html; charset=utf-8")
        else:
            self._json(404, {"error": f"{self.path}: there are /, /match and /search"})

    def do_POST(self) -> None:
        if self._refused():
            return
        answer = self._ours.answers.get(self.path)
        if answer is None:
            self._json(404, {"error": f"{self.path}: there are /, /match and /search"})
            return
        try:
            self._json(200, answer(self._request()))
        except ShoestringError as error:
            self._json(400, {"error": str(error)})
        except Exception as error:  # one request is lost, not the service
            self._json(500, {"error": f"{type(error).__name__}: {error}"})

    def _refused(self) -> bool:
        """Answers what another site may have sent."""
        host = _name(self.headers.get("Host", ""))
        origin = self.headers.get("Origin")
        if self._ours.local and host not in LOCAL:
            self.close_connection = True
            self._json(403, {"error": f"Host {host!r}: this service answers to {', '.join(LOCAL)}"})
            return True
        if origin is not None and _name(origin.partition("://")[2]) != host:
            self.close_connection = True
            self._json(403, {"error": f"Origin {origin!r}: another site may not ask"})
            return True
        return False

    def _request(self) -> dict[str, Any]:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > LONGEST:
            self.close_connection = True
            raise InputError(f"Content-Length {length!r}: must be given, and at most {LONGEST:,}")
        try:
            request = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError) as error:
            raise InputError(f"the request is not JSON that can be read ({error})") from error
        if not isinstance(request, dict):
            raise InputError("the request must be a JSON object")
        return request

    def _json(self, code: int, values: dict[str, Any]) -> None:
        self._send(
            code,
            json.dumps(values, ensure_ascii=False).encode(errors="replace"),
            "application/json; charset=utf-8",
        )

    def _send(self, code: int, body: bytes, kind: str) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: texts are nobody's business."""


def _scale(decision: Decision) -> list[float]:
    """Between which scores the page draws: those of the pairs that chose the threshold, with its interval."""
    low, high = decision.threshold_interval
    known = decision.data.get("scores", (low, high))
    ends = min(known[0], low), max(known[-1], high)
    margin = 0.1 * (ends[1] - ends[0]) or 0.1
    return [ends[0] - margin, ends[1] + margin]


def _name(host: str) -> str:
    """The name in `NAME:PORT` or `[ADDRESS]:PORT`."""
    host = host.lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] or host


def _require_known(request: dict[str, Any], names: tuple[str, ...]) -> None:
    if unknown := sorted(request.keys() - set(names)):
        raise InputError(f"{unknown[0]!r}: no such field; there are {', '.join(names)}")


def _text(request: dict[str, Any], name: str) -> str:
    value = request.get(name)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{name}: a text that is not empty is needed")
    return value
