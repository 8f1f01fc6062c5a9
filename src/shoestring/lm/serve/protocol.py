"""OpenAI's JSON: requests into prompts and settings, pieces into choices and chunks. Pure functions.

Beside OpenAI's fields: top_k, repetition_penalty, min_tokens, min_ends, truncate. Fields that would change the
answer and are not served are refused, not ignored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shoestring._errors import OptionError
from shoestring.lm.engines.base import Engine
from shoestring.lm.fewshot.template import named
from shoestring.lm.generation.generation import Piece, Token, fitting
from shoestring.lm.generation.sampling import Sampling

_SETTINGS = ("temperature", "top_p", "top_k", "repetition_penalty", "min_tokens", "min_ends", "seed")
_REFUSED = {"best_of": (None, 1), "frequency_penalty": (None, 0), "presence_penalty": (None, 0),
            "logit_bias": (None, {}), "suffix": (None, ""), "tools": (None, []), "functions": (None, [])}  # fmt: skip
_MOST_LOGPROBS = 20


@dataclass(frozen=True)
class Asked:
    """What a request wants.

    Args:
        prompts: rows of ids.
        texts: the prompts as text.
        sampling: settings.
        samples: of each prompt.
        stream: as server-sent events.
        echo: give the prompt back, too.
        chat: answer as a chat completion.
    """

    prompts: list[list[int]]
    texts: list[str]
    sampling: Sampling
    samples: int
    stream: bool
    echo: bool
    chat: bool


def completion(engine: Engine, body: Mapping[str, Any], most: int) -> Asked:
    """Reads a request to /v1/completions.

    Raises:
        OptionError, InputError: a field is missing, of the wrong kind, out of range, or not served.
    """
    _refuse(body)
    prompt = body.get("prompt")
    rows: list[Any] = (
        [prompt] if isinstance(prompt, str) or (isinstance(prompt, list) and prompt and isinstance(prompt[0], int))
        else prompt if isinstance(prompt, list) else []
    )  # fmt: skip
    if not rows or not all(isinstance(row, str) or _is_ids(row, engine.vocabulary) for row in rows):
        raise OptionError("prompt: give a text, a list of texts, or token ids below the vocabulary's size")
    logprobs = body.get("logprobs")
    sampling = _sampling(body, body.get("max_tokens") or 16, _as_int("logprobs", logprobs, 0, _MOST_LOGPROBS))
    return _asked(engine, body, rows, sampling, most, chat=False)


def chat(engine: Engine, body: Mapping[str, Any], most: int) -> Asked:
    """Reads a request to /v1/chat/completions; a model without a chat template gets a conversation as text."""
    _refuse(body)
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(_is_message(each) for each in messages):
        raise OptionError("messages: give a list of {role: system, user or assistant, content: text}")
    template = getattr(engine.tokenizer, "chat_template", None)
    if template:
        text = engine.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        stop: tuple[str, ...] = ()
    else:
        text, stop = as_dialogue(messages)
    count = (
        (_as_int("top_logprobs", body.get("top_logprobs"), 0, _MOST_LOGPROBS) or 0)
        if body.get("logprobs")
        else None
    )
    most_tokens = body.get("max_completion_tokens") or body.get("max_tokens") or 64
    return _asked(engine, body, [text], _sampling(body, most_tokens, count, stop), most, chat=True)


def as_dialogue(messages: Sequence[Mapping[str, str]]) -> tuple[str, tuple[str, ...]]:
    """Returns a conversation in the words of the built-in dialogue template, open at the end, and where it stops.

    >>> as_dialogue([{"role": "user", "content": "你好"}])[0]
    '甲：你好\\n乙：'
    """
    speakers = {"user": "甲：", "assistant": "乙：", "system": ""}
    lines = [speakers[each["role"]] + each["content"].replace("\n", " ") for each in messages]
    return "\n".join([*lines, "乙："]), named("dialogue").stop


def chunk(asked: Asked, engine: Engine, head: Mapping[str, Any], piece: Piece, first: bool) -> dict[str, Any]:
    """Returns one server-sent event of a piece."""
    index = piece.prompt * asked.samples + piece.sample
    if asked.chat:
        delta = ({"role": "assistant"} if first else {}) | (
            {"content": piece.text} if piece.text or first else {}
        )
        choice: dict[str, Any] = {"index": index, "delta": delta, "finish_reason": piece.finish}
        choice["logprobs"] = _chat_logprobs(asked, engine, [piece])
        return {**head, "object": "chat.completion.chunk", "choices": [choice]}
    text = (asked.texts[piece.prompt] if asked.echo and first else "") + piece.text
    choice = {"index": index, "text": text, "finish_reason": piece.finish}
    choice["logprobs"] = _logprobs(asked, engine, [piece], [])
    return {**head, "object": "text_completion", "choices": [choice]}


def whole(
    asked: Asked,
    engine: Engine,
    head: Mapping[str, Any],
    pieces: Sequence[Piece],
    echoed: Sequence[Sequence[float]],
) -> dict[str, Any]:
    """Returns the answer of all pieces; `echoed` has the log-probabilities of each prompt if they were asked for."""
    choices = []
    for prompt in range(len(asked.prompts)):
        for sample in range(asked.samples):
            own = [piece for piece in pieces if (piece.prompt, piece.sample) == (prompt, sample)]
            choices.append(_choice(asked, engine, own, prompt * asked.samples + sample, echoed))
    kind = "chat.completion" if asked.chat else "text_completion"
    return {**head, "object": kind, "choices": choices, "usage": usage(asked, len(pieces))}


def usage(asked: Asked, made: int) -> dict[str, int]:
    """Returns the token counts of an answer."""
    read = sum(map(len, asked.prompts))
    return {"prompt_tokens": read, "completion_tokens": made, "total_tokens": read + made}


def _choice(
    asked: Asked, engine: Engine, pieces: list[Piece], index: int, echoed: Sequence[Sequence[float]]
) -> dict[str, Any]:
    text = "".join(piece.text for piece in pieces)
    finish = next((piece.finish for piece in pieces if piece.finish), "length")
    if asked.chat:
        message = {"role": "assistant", "content": text}
        return {
            "index": index, "message": message, "finish_reason": finish,
            "logprobs": _chat_logprobs(asked, engine, pieces),
        }  # fmt: skip
    prompt = index // asked.samples
    text = asked.texts[prompt] + text if asked.echo else text
    before = list(echoed[prompt]) if echoed else []
    return {
        "index": index, "text": text, "finish_reason": finish,
        "logprobs": _logprobs(asked, engine, pieces, before, asked.prompts[prompt] if before else []),
    }  # fmt: skip


def _logprobs(
    asked: Asked, engine: Engine, pieces: Sequence[Piece], before: Sequence[float], prompt: Sequence[int] = ()
) -> dict[str, Any] | None:
    if asked.sampling.logprobs is None:
        return None
    decode = engine.tokenizer.decode
    made = [piece.token for piece in pieces if piece.token is not None]
    tokens = [decode([id]) for id in [*prompt, *(token.id for token in made)]]
    offsets = [sum(map(len, tokens[:place])) for place in range(len(tokens))]
    tops: list[Any] = [None] * len(prompt) + [
        {decode([id]): value for id, value in token.top} for token in made
    ]
    values = ([None, *before] if prompt else []) + [token.logprob for token in made]
    return {"tokens": tokens, "token_logprobs": values, "top_logprobs": tops, "text_offset": offsets}


def _chat_logprobs(asked: Asked, engine: Engine, pieces: Sequence[Piece]) -> dict[str, Any] | None:
    if asked.sampling.logprobs is None:
        return None

    def entry(id: int, value: float) -> dict[str, Any]:
        text = engine.tokenizer.decode([id])
        return {"token": text, "logprob": value, "bytes": list(text.encode())}

    def content(token: Token) -> dict[str, Any]:
        return entry(token.id, token.logprob) | {"top_logprobs": [entry(*each) for each in token.top]}

    return {"content": [content(piece.token) for piece in pieces if piece.token is not None]}


def _asked(
    engine: Engine, body: Mapping[str, Any], rows: list[Any], sampling: Sampling, most: int, chat: bool
) -> Asked:
    samples = _as_int("n", body.get("n"), 1, most) or 1
    if len(rows) > most:
        raise OptionError(f"prompt: {len(rows)} prompts; at most {most} in one request")
    prompts = [fitting(engine, row, sampling, body.get("truncate")) for row in rows]
    decode = engine.tokenizer.decode
    texts = [row if isinstance(row, str) else decode(row) for row in rows]
    return Asked(prompts, texts, sampling, samples, bool(body.get("stream")), bool(body.get("echo")), chat)


def _sampling(
    body: Mapping[str, Any], max_tokens: Any, logprobs: int | None, stop: tuple[str, ...] = ()
) -> Sampling:
    given = {name: body[name] for name in _SETTINGS if body.get(name) is not None}
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise OptionError(f"{name}: {value!r} is not a number")
    asked = body.get("stop")
    stops = (asked,) if isinstance(asked, str) else tuple(asked or ())
    if not all(isinstance(each, str) for each in stops):
        raise OptionError(f"stop: {asked!r} is not a text or a list of texts")
    number = _as_int("max_tokens", max_tokens, 1, 1_000_000) or 16
    return Sampling(max_tokens=number, stop=(*stops, *stop), logprobs=logprobs, **given)


def _as_int(name: str, value: Any, low: int, high: int) -> int | None:
    if value is None or value is False:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise OptionError(f"{name}: {value!r} must be a whole number from {low:,} to {high:,}")
    return value


def _refuse(body: Mapping[str, Any]) -> None:
    for name, allowed in _REFUSED.items():
        if body.get(name) not in allowed:
            raise OptionError(f"{name}: is not served here; leave it out")


def _is_ids(row: Any, vocabulary: int) -> bool:
    return isinstance(row, list) and bool(row) and all(
        isinstance(id, int) and 0 <= id < vocabulary for id in row
    )  # fmt: skip


def _is_message(each: Any) -> bool:
    return (
        isinstance(each, dict)
        and each.get("role") in ("system", "user", "assistant")
        and isinstance(each.get("content"), str)
    )
