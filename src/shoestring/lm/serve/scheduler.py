"""One thread that continues all requests in one batch: rows join and leave between steps.

- Short prompts that wait are read together; a long one in pieces, between which the others go on.
- A prompt begins from the longest beginning that an earlier one has left.
- A request that nobody waits for any more leaves at the next step; an error in one row is that row's.
- What a row draws depends on its own seed, not on who else is in the batch.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from shoestring.lm.engines.base import CacheFull, Engine, Session
from shoestring.lm.generation.generation import Row
from shoestring.lm.serve.prefixes import Prefixes
from shoestring.lm.serve.requests import Full, Limits, Reading, Request, Statistics

_SHORT = 32  # tokens that a prompt may have left to read in order to be read with others
_PIECE = 128  # tokens of a long prompt that are read between two steps


class Scheduler:
    """Runs an engine for many requests.

    Args:
        engine: used by this thread alone.
        limits: of rows, waiting requests and kept bytes.
    """

    def __init__(self, engine: Engine, limits: Limits) -> None:
        self.engine, self.limits, self.statistics = engine, limits, Statistics()
        most = limits.cache_mb << 20
        self.prefixes = Prefixes(most if engine.cache_bytes is None else min(most, engine.cache_bytes // 2))
        self._waiting: deque[Request] = deque()
        self._jobs: deque[tuple[Callable[[], Any], Future]] = deque()
        self._rows: list[tuple[Request, Row]] = []
        self._session: Session | None = None
        self._reading: Reading | None = None
        self._wake = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="scheduler", daemon=True)
        self._thread.start()

    @property
    def load(self) -> dict[str, int]:
        """How many rows run, requests wait and bytes of earlier prompts are held."""
        waiting = len(self._waiting) + (self._reading is not None)
        return {"running": len(self._rows), "waiting": waiting, "cache_bytes": self.prefixes.held}

    def submit(self, requests: list[Request]) -> None:
        """Queues requests, all or none.

        Raises:
            Full: too many are waiting.
        """
        with self._wake:
            self._require_room(len(self._waiting), len(requests))
            self._waiting += requests
            self.statistics.requests += len(requests)
            self._wake.notify()

    def call(self, function: Callable[[], Any], begun: bool = False) -> Future:
        """Runs a function between two steps, in the thread that owns the engine.

        Args:
            function: what to run.
            begun: part of a request that was let in; never refused.

        Raises:
            Full: too many are waiting.
        """
        with self._wake:
            if not begun:
                self._require_room(len(self._jobs), 1)
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

    def _require_room(self, waiting: int, more: int) -> None:
        if self._closing or waiting + more > self.limits.queue:
            self.statistics.refused += 1
            raise Full(f"{waiting} requests are waiting already; try again later")

    @property
    def _busy(self) -> bool:
        return bool(self._waiting or self._jobs or self._rows or self._reading)

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._busy or self._closing)
                if self._closing and not self._busy:
                    return
            started = time.perf_counter()
            try:
                self._do_job()
                self._admit()
                self._step()
            except Exception as error:  # one bad step must not end the server
                self._fail(error)
            self.statistics.busy_seconds += time.perf_counter() - started

    def _do_job(self) -> None:
        if self._jobs:
            function, future = self._jobs.popleft()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function())
                except Exception as error:  # it belongs to the one who asked
                    future.set_exception(error)

    def _admit(self) -> None:
        """Takes prompts in their order: short ones are read at once, the first long one by a piece."""
        group: list[tuple[Request, Session | None, int]] = []
        room = self.limits.batch - len(self._rows)
        room -= self._reading.request.samples if self._reading is not None else 0
        while self._waiting and (self._waiting[0].leaves or self._waiting[0].samples <= room):
            request = self._waiting[0]
            if request.leaves:
                self._drop(self._waiting.popleft())
                continue
            if request.long and self._reading is not None:
                break
            kept, common = self.prefixes.best(request.ids)
            if len(request.ids) - common <= _SHORT:
                group.append((request, kept, common))
            elif self._reading is None:
                self._begin(request, kept, common)
            else:
                request.long = True
                break
            room -= request.samples
            self._waiting.popleft()
        if len(group) == 1 and self._reading is None:  # alone, so that it can be kept
            self._begin(*group[0])
            group = []
        self._read_together(group)
        self._read_piece()

    def _begin(self, request: Request, kept: Session | None, common: int) -> None:
        try:
            session = None if kept is None else self.prefixes.fork(kept, common)
        except Exception as error:  # such as no more rows
            request.finish(error)
            return
        self._count(request, common)
        self._reading = Reading(request, session, common)

    def _count(self, request: Request, common: int) -> None:
        self.statistics.prompt_tokens += len(request.ids)
        self.statistics.reused_tokens += common

    def _read_piece(self) -> None:
        """Reads on in the long prompt; when it is done its rows join."""
        reading = self._reading
        if reading is None:
            return
        if reading.request.leaves:
            self._reading = None
            if reading.session is not None:
                reading.session.close()
            self._drop(reading.request)
            return
        ids = reading.request.ids
        part = ids[reading.read : reading.read + _PIECE]
        try:
            if reading.session is None:
                reading.session = self.engine.open([part])
            else:
                reading.session.extend(part)
            reading.read += len(part)
            if reading.read == len(ids):
                self._reading = None
                self.prefixes.keep(reading.session.fork(len(ids)))
                self._join(reading.session, [reading.request])
        except Exception as error:  # such as no memory for so long a prompt
            if not self._makes_room(error):
                self._reading = None
                reading.request.finish(error)

    def _read_together(self, group: list[tuple[Request, Session | None, int]]) -> None:
        """Reads short prompts in one pass each for those that are new and those that go on from kept ones."""
        width = max((len(request.ids) - common for request, _, common in group), default=0)
        fresh: list[Request] = []
        going: list[tuple[Request, Session, int]] = []
        for request, kept, common in group:
            begun = min(common, len(request.ids) - width)  # all read as many, so that padding stays left
            if kept is None or begun <= 0:
                self._count(request, 0)
                fresh.append(request)
            else:
                self._count(request, begun)
                going.append((request, kept, begun))
        if fresh:
            self._guarded(fresh, lambda: self.engine.open([request.ids for request in fresh]))
        if going:
            self._guarded([request for request, *_ in going], lambda: self._continued(going))

    def _continued(self, going: list[tuple[Request, Session, int]]) -> Session:
        """Returns one session that has read the rest of each prompt; the rests are of the same length."""
        first, *others = [self.prefixes.fork(kept, begun) for _, kept, begun in going]
        first.join(others)
        first.read([request.ids[begun:] for request, _, begun in going])
        return first

    def _guarded(self, requests: list[Request], read: Callable[[], Session]) -> None:
        try:
            self._join(read(), requests)
        except Exception as error:
            if self._makes_room(error):  # they are read once there is some
                self._waiting.extendleft(reversed(requests))
                return
            for request in requests:
                request.finish(error)

    def _makes_room(self, error: Exception) -> bool:
        """Returns whether what found no room may try again: earlier prompts are forgotten, or rows will end."""
        if not isinstance(error, CacheFull):
            return False
        held = self.prefixes.held > 0
        self.prefixes.clear()
        return held or bool(self._rows)

    def _join(self, session: Session, requests: list[Request]) -> None:
        """Adds the rows of prompts that were read to the batch."""
        samples = [(request, sample) for request in requests for sample in range(request.samples)]
        rows, made = [], {}
        for index, (request, sample) in enumerate(samples):
            try:
                rows.append(Row(self.engine, request.ids, request.sampling, (request.number, sample)))
                made[index] = request
            except Exception as error:  # this request's own, such as a grammar
                request.finish(error)
        places = [requests.index(request) for request in made.values()]
        if not places:
            session.close()
            return
        if places != list(range(len(session.ids))):
            session.select(places)
        if self._session is None or not self._rows:
            self._session = session
        else:
            self._session.join([session])
        for request, row in zip(made.values(), rows, strict=True):
            request.open += 1
            self._rows.append((request, row))

    def _step(self) -> None:
        if self._session is None or not self._rows:
            return
        kept, tokens = [], []
        for index, (request, row) in enumerate(self._rows):
            token = None if request.leaves else self._advanced(index, request, row)
            if token is None:
                self._leave(request)
            else:
                kept.append(index)
                tokens.append(token)
        rows = [self._rows[index] for index in kept]
        if not kept:
            self._session.close()
            self._session, self._rows = None, []
            return
        if len(kept) < len(self._rows):
            self._session.select(kept)
        self._rows = rows
        self._forward(tokens)

    def _forward(self, tokens: list[int]) -> None:
        """Steps; where the engine has no room for that, the longest row ends with the error."""
        while self._session is not None:
            try:
                self._session.step(tokens)
                return
            except CacheFull as error:
                if self.prefixes.held:
                    self.prefixes.clear()
                    continue
                lengths = [len(ids) for ids in self._session.ids]
                longest = lengths.index(max(lengths))
                request, _ = self._rows.pop(longest)
                tokens.pop(longest)
                request.finish(error)
                self._leave(request)
                if self._rows:
                    self._session.select([place for place in range(len(lengths)) if place != longest])
                else:
                    self._session.close()
                    self._session = None

    def _advanced(self, index: int, request: Request, row: Row) -> int | None:
        """Delivers a row's next piece and returns its token, or None if it was the last."""
        assert self._session is not None
        try:
            token, piece = row.advance(self._session.logits[index], self._session.ids[index])
        except Exception as error:  # this row's own
            request.finish(error)
            return None
        self.statistics.generated_tokens += 1
        if row.made == 1:
            self.statistics.first_tokens += 1
            self.statistics.first_token_seconds += time.perf_counter() - request.since
        request.deliver(piece)
        return token if piece.finish is None else None

    def _leave(self, request: Request) -> None:
        request.open -= 1
        if request.open == 0:
            self._drop(request)

    def _drop(self, request: Request) -> None:
        self.statistics.cancelled += request.cancelled and not request.done
        request.finish()

    def _fail(self, error: Exception) -> None:
        """The engine itself has failed: nothing that it holds is relied on."""
        for request in dict.fromkeys(request for request, _ in self._rows):
            request.finish(error)
        if self._reading is not None:
            self._reading.request.finish(error)
        sessions = [self._session, self._reading.session if self._reading is not None else None]
        self._rows, self._session, self._reading = [], None, None
        with contextlib.suppress(Exception):
            self.prefixes.clear()
            for session in sessions:
                if session is not None:
                    session.close()
