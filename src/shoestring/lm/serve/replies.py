"""Pieces into OpenAI's JSON: whole answers, and the chunks of a stream. Pure functions."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shoestring.lm.engines.base import Engine, Token
from shoestring.lm.generation.generation import Piece
from shoestring.lm.serve.asking import Asked
from shoestring.lm.serve.tools import Call, CallStream

_LEAST = -9999.0  # JSON has no minus infinity
Head = Mapping[str, Any]


@dataclass
class Writer:
    """Writes the answer to one request.

    Args:
        engine: whose tokens.
        asked: what was asked for.
        head: id, time and model of the answer.
        echoed: the tokens of each prompt but the first, if their log-probabilities were asked for.
    """

    engine: Engine
    asked: Asked
    head: Head
    echoed: Sequence[Sequence[Token]] = ()
    made: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._streams: dict[int, _Choice] = {}
        self._unseen = frozenset(self.engine.tokenizer.all_special_ids)  # they are no part of a text

    def whole(self, pieces: Sequence[Piece]) -> dict[str, Any]:
        """Returns the answer of all pieces."""
        own: dict[int, list[Piece]] = {index: [] for index in range(self._count)}
        for piece in pieces:
            own[self._index(piece)].append(piece)
        self.made = sum(piece.token is not None for piece in pieces)
        build = self._message if self.asked.chat else self._text
        kind = "chat.completion" if self.asked.chat else "text_completion"
        choices = [build(index, each) for index, each in own.items()]
        return {**self.head, "object": kind, "choices": choices, "usage": self.usage()}

    def opening(self) -> list[dict[str, Any]]:
        """Returns the chunks before the first piece: the prompts, where they are asked for."""
        if not self.asked.echo:
            return []
        return [self._text_chunk(index, [], None, opening=True) for index in range(self._count)]

    def chunks(self, piece: Piece) -> list[dict[str, Any]]:
        """Returns the chunks of a piece."""
        self.made += piece.token is not None
        index = self._index(piece)
        if self.asked.chat:
            return self._chat_chunks(index, piece)
        return [self._text_chunk(index, [piece], piece.finish)] if self._shows(piece) else []

    def closing(self) -> list[dict[str, Any]]:
        """Returns the chunks after the last piece: the token counts, where they are asked for."""
        if not self.asked.usage:
            return []
        return [{**self.head, "object": self._kind, "choices": [], "usage": self.usage()}]

    def usage(self) -> dict[str, int]:
        """Returns the token counts so far."""
        read = sum(map(len, self.asked.prompts))
        return {"prompt_tokens": read, "completion_tokens": self.made, "total_tokens": read + self.made}

    @property
    def _count(self) -> int:
        return len(self.asked.prompts) * self.asked.samples

    @property
    def _kind(self) -> str:
        return "chat.completion.chunk" if self.asked.chat else "text_completion"

    def _index(self, piece: Piece) -> int:
        return piece.prompt * self.asked.samples + piece.sample

    def _shows(self, piece: Piece) -> bool:
        return bool(piece.text or piece.finish or self.asked.sampling.logprobs is not None)

    def _text(self, index: int, pieces: list[Piece]) -> dict[str, Any]:
        prompt, choice = index // self.asked.samples, _Choice()
        text = "".join(piece.text for piece in pieces)
        logprobs = self._logprobs(choice, prompt, pieces, self.asked.echo)
        return {
            "index": index, "text": self.asked.texts[prompt] + text if self.asked.echo else text,
            "finish_reason": _finish(pieces), "logprobs": logprobs,
        }  # fmt: skip

    def _message(self, index: int, pieces: list[Piece]) -> dict[str, Any]:
        text, finish = "".join(piece.text for piece in pieces), _finish(pieces)
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        if self.asked.calls is not None:
            text, calls = self.asked.calls.read(text, self.asked.tools)
            if calls:
                message |= {"content": text or None, "tool_calls": self._calls(calls)}
                finish = "tool_calls" if finish == "stop" else finish
        return {
            "index": index, "message": message, "finish_reason": finish,
            "logprobs": self._chat_logprobs(pieces),
        }  # fmt: skip

    def _text_chunk(
        self, index: int, pieces: list[Piece], finish: str | None, opening: bool = False
    ) -> dict[str, Any]:
        prompt = index // self.asked.samples
        state = self._streams.setdefault(index, _Choice())
        text = self.asked.texts[prompt] if opening else "".join(piece.text for piece in pieces)
        logprobs = self._logprobs(state, prompt, pieces, opening)
        return self._chunk({"index": index, "text": text, "finish_reason": finish, "logprobs": logprobs})

    def _chat_chunks(self, index: int, piece: Piece) -> list[dict[str, Any]]:
        first = index not in self._streams
        state = self._streams.setdefault(index, _Choice())
        text, calls, finish = piece.text, [], piece.finish
        if self.asked.calls is not None:
            state.stream = state.stream or CallStream(self.asked.calls, self.asked.tools)
            text = state.stream.push(text)
            if finish:
                rest, calls = state.stream.finish()
                text, finish = text + rest, "tool_calls" if calls and finish == "stop" else finish
        delta: dict[str, Any] = {"role": "assistant", "content": text} if first else {}
        delta |= {"content": text} if text else {}
        if calls:
            delta["tool_calls"] = [{"index": n, **call} for n, call in enumerate(self._calls(calls))]
        if not (delta or finish or self.asked.sampling.logprobs is not None):
            return []
        logprobs = self._chat_logprobs([piece])
        return [self._chunk({"index": index, "delta": delta, "finish_reason": finish, "logprobs": logprobs})]

    def _chunk(self, choice: dict[str, Any]) -> dict[str, Any]:
        usage = {"usage": None} if self.asked.usage else {}
        return {**self.head, "object": self._kind, "choices": [choice], **usage}

    def _calls(self, calls: list[Call]) -> list[dict[str, Any]]:
        return [
            {"id": f"call_{secrets.token_hex(12)}", "type": "function",
             "function": {"name": call.name, "arguments": call.arguments}}
            for call in (calls[:1] if self.asked.single else calls)
        ]  # fmt: skip

    def _logprobs(
        self, state: _Choice, prompt: int, pieces: Sequence[Piece], opening: bool
    ) -> dict[str, Any] | None:
        """Returns log-probabilities as completions have them; offsets count characters from the prompt's start on."""
        if self.asked.sampling.logprobs is None:
            return None
        tokens: list[Token | None] = [piece.token for piece in pieces if piece.token is not None]
        ids, shown = [token.id for token in tokens if token is not None], ""
        if opening:  # the first token has nothing before it
            ids, tokens = [*self.asked.prompts[prompt], *ids], [None, *self.echoed[prompt], *tokens]
            shown = self.asked.texts[prompt]
        return {
            "tokens": [self._name(id) for id in ids],
            "token_logprobs": [None if token is None else _finite(token.logprob) for token in tokens],
            "top_logprobs": [None if token is None else self._tops(token) for token in tokens],
            "text_offset": [state.offset(self._in_text(id, shown, state.characters)) for id in ids],
        }

    def _in_text(self, id: int, shown: str, at: int) -> bytes:
        """Returns what a token adds to a text: a special one nothing, unless the prompt has it in writing."""
        data = self._bytes(id)
        seen = id not in self._unseen or shown.startswith(data.decode(errors="replace"), at)
        return data if seen else b""

    def _tops(self, token: Token) -> dict[str, float]:
        """Returns the most likely tokens by their text, and by number where two have the same."""
        names = self.engine.texts.names([id for id, _ in token.top])
        return {name: _finite(value) for name, (_, value) in zip(names, token.top, strict=True)}

    def _chat_logprobs(self, pieces: Sequence[Piece]) -> dict[str, Any] | None:
        if self.asked.sampling.logprobs is None:
            return None
        tokens = [piece.token for piece in pieces if piece.token is not None]
        tops = [[self._entry(*each) for each in token.top] for token in tokens]
        entries = [self._entry(token.id, token.logprob) for token in tokens]
        return {
            "content": [e | {"top_logprobs": t} for e, t in zip(entries, tops, strict=True)],
            "refusal": None,
        }

    def _entry(self, id: int, value: float) -> dict[str, Any]:
        data = self._bytes(id)
        return {"token": self._name(id), "logprob": _finite(value), "bytes": list(data)}

    def _name(self, id: int) -> str:
        return self.engine.texts.names([id])[0]

    def _bytes(self, id: int) -> bytes:
        return self.engine.texts.bytes_of(id)


@dataclass
class _Choice:
    """Where one choice's text stands."""

    stream: CallStream | None = None
    characters: int = 0
    part: bytes = b""

    def offset(self, data: bytes) -> int:
        """Returns where a token begins, in characters, and goes on behind it."""
        before = self.characters
        whole = (self.part + data).decode("utf-8", "ignore")
        cut = len(whole.encode())
        self.characters, self.part = before + len(whole), (self.part + data)[cut:][-3:]
        return before


def _finish(pieces: Sequence[Piece]) -> str:
    return next((piece.finish for piece in pieces if piece.finish), "length")


def _finite(value: float) -> float:
    return max(value, _LEAST)
