"""What the scheduler works on: a request, the limits of all of them, and counters."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from shoestring._errors import OptionError, ShoestringError
from shoestring.lm.engines.base import Session
from shoestring.lm.generation.generation import Piece
from shoestring.lm.generation.sampling import Sampling


class Full(ShoestringError):
    """So many requests are waiting that another one is refused."""


@dataclass(frozen=True)
class Limits:
    """What a server takes.

    Args:
        batch: rows that are continued at once.
        queue: requests that may wait.
        cache_mb: megabytes of earlier prompts' keys and values that are kept.
        answer: tokens of an answer in a conversation whose request says none.
    """

    batch: int = 8
    queue: int = 64
    cache_mb: int = 256
    answer: int = 1024

    def __post_init__(self) -> None:
        for name, least in (("batch", 1), ("queue", 1), ("cache_mb", 0), ("answer", 1)):
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
    long: bool = field(default=False, init=False)  # it waits for another long prompt to be read
    done: bool = field(default=False, init=False)
    open: int = field(default=0, init=False)
    since: float = field(default_factory=time.perf_counter, init=False)

    @property
    def leaves(self) -> bool:
        """Whether nobody waits for more."""
        return self.cancelled or self.done

    def finish(self, error: BaseException | None = None) -> None:
        """Delivers the end, once."""
        if not self.done:
            self.done = True
            self.deliver(error)


@dataclass
class Reading:
    """A long prompt of which so many tokens have been read."""

    request: Request
    session: Session | None
    read: int


@dataclass
class Statistics:
    """Counters for /metrics."""

    requests: int = 0
    refused: int = 0
    cancelled: int = 0
    prompt_tokens: int = 0
    reused_tokens: int = 0
    generated_tokens: int = 0
    first_tokens: int = 0
    first_token_seconds: float = 0.0
    busy_seconds: float = 0.0
