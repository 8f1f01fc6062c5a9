"""One thread that continues all requests in one batch: rows join and leave between steps.

- A prompt is read alone, from the longest beginning that an earlier prompt has left, and then joins the batch.
- A request that nobody waits for any more leaves at the next step.
- What a row draws depends on its own seed, not on who else is in the batch.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from shoestring._errors import OptionError, ShoestringError
from shoestring.lm.engines.base import Engine, Session
from shoestring.lm.fewshot.choosing import shared
from shoestring.lm.generation.generation import Piece, Row
from shoestring.lm.generation.sampling import Sampling

_LEAST = 8  # tokens in common from which a prompt's keys are worth being reused


class Full(ShoestringError):
    """So many requests are waiting that another one is refused."""


@dataclass(frozen=True)
class Limits:
    """What a server takes.

    Args:
        batch: rows that are continued at once.
        queue: requests that may wait.
        prefix_tokens: tokens of earlier prompts whose keys and values are kept.
    """

    batch: int = 8
    queue: int = 64
    prefix_tokens: int = 4096

    def __post_init__(self) -> None:
        for name, least in (("batch", 1), ("queue", 1), ("prefix_tokens", 0)):
            if getattr(self, name) < least:
                flag = name.replace("_", "-")
                raise OptionError(f"--{flag} {getattr(self, name)}: must be {least} or more")


@dataclass(eq=False)
class Request:
    """One prompt with its samples.

    Args:
        ids: the prompt.
        sampling: settings.
        samples: how many.
        deliver: told each piece, and at the end None or an error, in the scheduler's thread.
        number: of the prompt within its HTTP request.
    """

    ids: list[int]
    sampling: Sampling
    samples: int
    deliver: Callable[[Piece | BaseException | None], Any]
    number: int = 0
    cancelled: bool = False
    open: int = field(default=0, init=False)


@dataclass
class Statistics:
    """Counters for /metrics."""

    requests: int = 0
    refused: int = 0
    cancelled: int = 0
    prompt_tokens: int = 0
    reused_tokens: int = 0
    generated_tokens: int = 0
    busy_seconds: float = 0.0


class Scheduler:
    """Runs an engine for many requests.

    Args:
        engine: used by this thread alone.
        limits: of rows, waiting requests and kept tokens.
    """

    def __init__(self, engine: Engine, limits: Limits) -> None:
        self.engine, self.limits, self.statistics = engine, limits, Statistics()
        self._waiting: deque[Request] = deque()
        self._jobs: deque[tuple[Callable[[], Any], Future]] = deque()
        self._rows: list[tuple[Request, Row]] = []
        self._session: Session | None = None
        self._kept: list[Session] = []
        self._wake = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="scheduler", daemon=True)
        self._thread.start()

    @property
    def load(self) -> dict[str, int]:
        """How many rows run and requests wait."""
        return {"running": len(self._rows), "waiting": len(self._waiting)}

    def submit(self, requests: list[Request]) -> None:
        """Queues requests, all or none.

        Raises:
            Full: too many are waiting.
        """
        with self._wake:
            if self._closing or len(self._waiting) + len(requests) > self.limits.queue:
                self.statistics.refused += 1
                raise Full(f"{len(self._waiting)} requests are waiting already; try again later")
            self._waiting += requests
            self.statistics.requests += len(requests)
            self._wake.notify()

    def call(self, function: Callable[[], Any]) -> Future:
        """Runs a function between two steps, in the thread that owns the engine.

        Raises:
            Full: too many are waiting.
        """
        with self._wake:
            if self._closing or len(self._jobs) >= self.limits.queue:
                self.statistics.refused += 1
                raise Full(f"{len(self._jobs)} requests are waiting already; try again later")
            future: Future = Future()
            self._jobs.append((function, future))
            self._wake.notify()
            return future

    def close(self) -> None:
        """Finishes what is running and what waits, and ends the thread."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._waiting or self._jobs or self._rows or self._closing)
                if self._closing and not (self._waiting or self._jobs or self._rows):
                    return
            started = time.perf_counter()
            try:
                self._do_jobs()
                self._admit()
                self._step()
            except Exception as error:  # one bad step must not end the server
                self._fail(error)
            self.statistics.busy_seconds += time.perf_counter() - started

    def _do_jobs(self) -> None:
        while self._jobs:
            function, future = self._jobs.popleft()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function())
                except Exception as error:  # it belongs to the one who asked
                    future.set_exception(error)

    def _admit(self) -> None:
        while self._waiting and len(self._rows) + self._waiting[0].samples <= self.limits.batch:
            request = self._waiting.popleft()
            if request.cancelled:
                self.statistics.cancelled += 1
                continue
            try:
                self._start(request)
            except Exception as error:  # such as a prompt that is too long
                request.deliver(error)

    def _start(self, request: Request) -> None:
        session = self._read(request.ids)
        session.select([0] * request.samples)
        rows = [
            Row(self.engine, request.ids, request.sampling, (request.number, sample))
            for sample in range(request.samples)
        ]
        if self._session is None or not self._rows:
            self._session = session
        else:
            self._session.join([session])
        self._rows += [(request, row) for row in rows]
        request.open = request.samples

    def _read(self, ids: list[int]) -> Session:
        """Returns a session of a prompt, from the kept one that begins most alike."""
        self.statistics.prompt_tokens += len(ids)
        best = max(self._kept, key=lambda kept: shared([kept.ids[0], ids]), default=None)
        common = min(shared([best.ids[0], ids]), len(ids) - 1) if best is not None else 0
        if best is not None and common >= _LEAST:
            self.statistics.reused_tokens += common
            session = best.fork(common)
            session.extend(ids[common:])
            if common == len(best.ids[0]) or best.ids[0] == ids:  # the new one stands for both
                self._kept.remove(best)
                best.close()
        else:
            session = self.engine.open([ids])
        self._keep(session.fork(len(ids)))
        return session

    def _keep(self, session: Session) -> None:
        self._kept.append(session)
        while self._kept and sum(len(kept.ids[0]) for kept in self._kept) > self.limits.prefix_tokens:
            self._kept.pop(0).close()

    def _step(self) -> None:
        if self._session is None or not self._rows:
            return
        kept, tokens = [], []
        for index, (request, row) in enumerate(self._rows):
            if request.cancelled:
                self._leave(request)
                continue
            token, piece = row.advance(self._session.logits[index], self._session.ids[index])
            self.statistics.generated_tokens += 1
            request.deliver(piece)
            if piece.finish is None:
                kept.append(index)
                tokens.append(token)
            else:
                self._leave(request)
        rows = [self._rows[index] for index in kept]
        if not kept:
            self._session.close()
            self._session, self._rows = None, []
            return
        if len(kept) < len(self._rows):
            self._session.select(kept)
        self._rows = rows
        self._session.step(tokens)

    def _leave(self, request: Request) -> None:
        request.open -= 1
        if request.open == 0:
            self.statistics.cancelled += request.cancelled
            request.deliver(None)

    def _fail(self, error: Exception) -> None:
        for request in dict.fromkeys(request for request, _ in self._rows):
            request.deliver(error)
        self._rows, self._session = [], None
