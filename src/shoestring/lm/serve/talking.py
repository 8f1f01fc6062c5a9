"""A conversation with a model in this process: what was read stays read, so that a turn costs its own tokens only."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import replace

from shoestring._errors import InputError
from shoestring.lm.engines.base import Engine, Session
from shoestring.lm.fewshot.choosing import shared
from shoestring.lm.generation.generation import Row, fitting
from shoestring.lm.generation.sampling import Sampling
from shoestring.lm.serve import conversation
from shoestring.lm.serve.schema.bodies import AssistantMessage, ChatBody, SystemMessage, UserMessage


class Talk:
    """A conversation.

    Args:
        engine: from `load`.
        sampling: of each answer.
        system: instructions before everything; none if empty.

    >>> talk = Talk(load("model"), Sampling(temperature=0))  # doctest: +SKIP
    >>> "".join(talk.say("你好"))  # doctest: +SKIP
    '你好！'
    """

    def __init__(self, engine: Engine, sampling: Sampling, system: str = "") -> None:
        self.engine, self.sampling = engine, sampling
        self.messages: list[SystemMessage | UserMessage | AssistantMessage] = []
        if system:
            self.messages.append(SystemMessage(role="system", content=system))
        self._first = len(self.messages)
        self._session: Session | None = None
        self.forgotten = 0

    def say(self, text: str) -> Generator[str, None, None]:
        """Yields the pieces of the answer to what the user says; what was given so far is kept if it is left.

        The oldest turns are forgotten where the conversation is longer than the model's positions.

        Raises:
            InputError: not even this message fits.
        """
        self.messages.append(UserMessage(role="user", content=text))
        try:
            ids, sampling = self._fitted()
        except BaseException:
            self.messages.pop()
            raise
        given: list[str] = []
        try:
            for piece in self._answer(ids, sampling):
                given.append(piece)
                yield piece
        finally:
            self.messages.append(AssistantMessage(role="assistant", content="".join(given)))

    def anew(self) -> None:
        """Forgets everything but the instructions."""
        del self.messages[self._first :]

    def _fitted(self) -> tuple[list[int], Sampling]:
        """Returns the prompt, without as many old turns as it takes to leave room for an answer."""
        while True:
            prompt, stop = conversation.opened(self.engine, ChatBody(messages=list(self.messages)))
            sampling = replace(self.sampling, stop=(*self.sampling.stop, *stop))
            turns = len(self.messages) - self._first
            with suppress(InputError):
                ids = fitting(self.engine, prompt, sampling)
                if (
                    turns < 3
                    or len(ids) + min(sampling.max_tokens, self.engine.positions // 4)
                    <= self.engine.positions
                ):
                    return ids, sampling
            if turns < 3:
                return fitting(self.engine, prompt, sampling), sampling  # raises
            del self.messages[self._first : self._first + 2]
            self.forgotten += 1

    def _answer(self, ids: list[int], sampling: Sampling) -> Iterator[str]:
        session = self._read(ids)
        row = Row(self.engine, ids, sampling)
        while row.made < sampling.max_tokens:
            token, piece = row.advance(session.logits[0], session.ids[0])
            yield piece.text
            if piece.finish is not None:
                return
            session.step([token])

    def _read(self, ids: list[int]) -> Session:
        """Returns a session of a prompt, from what it has in common with the last one."""
        old, self._session = self._session, None
        common = 0 if old is None else min(shared([old.ids[0], ids]), len(ids) - 1)
        if old is not None and common:
            self._session = old.fork(common)
            self._session.extend(ids[common:])
        else:
            self._session = self.engine.open([ids])
        if old is not None:
            old.close()
        return self._session
