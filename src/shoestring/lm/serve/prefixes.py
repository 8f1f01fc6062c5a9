"""Keys and values of earlier prompts, so that one which begins alike is not read from its start; bounded in bytes."""

from __future__ import annotations

from collections.abc import Sequence

from shoestring.lm.engines.base import Session
from shoestring.lm.fewshot.choosing import shared

_MOST = 16  # sessions: llama.cpp has 64 rows in all
_LEAST = 8  # tokens in common from which a prompt's keys are worth being reused


class Prefixes:
    """Sessions of one row each, the least recently used first.

    Args:
        most: bytes that they hold at most; one that is larger is not kept.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._kept: list[Session] = []

    @property
    def held(self) -> int:
        """Bytes that are held."""
        return sum(session.nbytes for session in self._kept)

    def best(self, ids: Sequence[int]) -> tuple[Session | None, int]:
        """Returns the session that begins most like a prompt, and how many tokens of it can be taken over."""
        best = max(self._kept, key=lambda kept: shared([kept.ids[0], ids]), default=None)
        if best is None:
            return None, 0
        common = min(shared([best.ids[0], ids]), len(ids) - 1)  # the last is read, for its logits
        return (best, common) if common >= _LEAST else (None, 0)

    def fork(self, session: Session, common: int) -> Session:
        """Returns a copy of a kept session's beginning."""
        self._kept.remove(session)
        self._kept.append(session)
        return session.fork(common)

    def keep(self, session: Session) -> None:
        """Keeps a session of a prompt in place of those that it goes on from."""
        ids = session.ids[0]
        for old in [kept for kept in self._kept if kept.ids[0] == ids[: len(kept.ids[0])]]:
            self._drop(old)
        if session.nbytes > self.most:
            session.close()
            return
        self._kept.append(session)
        while self.held > self.most or len(self._kept) > _MOST:
            self._drop(self._kept[0])

    def clear(self) -> None:
        """Forgets everything."""
        while self._kept:
            self._drop(self._kept[0])

    def _drop(self, session: Session) -> None:
        self._kept.remove(session)
        session.close()
