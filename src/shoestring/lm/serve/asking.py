"""A request's body into prompts and settings: what is well-formed and still cannot be served is refused here."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from shoestring._errors import OptionError
from shoestring.lm.engines.base import Engine
from shoestring.lm.generation import grammar
from shoestring.lm.generation.generation import fitting
from shoestring.lm.generation.sampling import Sampling
from shoestring.lm.serve import conversation, tools
from shoestring.lm.serve.schema.bodies import ChatBody, CompletionBody, NamedTool, Settings, Tool
from shoestring.lm.serve.tools import CallFormat

_SAME = ("temperature", "top_p", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty",
         "min_tokens", "min_ends", "seed")  # fmt: skip
_MOST_REPORTED = 3  # mistakes in one message
T = TypeVar("T", bound=BaseModel)


class BodyError(OptionError):
    """A body that is not as its model says; `param` is the first field that is wrong."""

    def __init__(self, message: str, param: str | None) -> None:
        super().__init__(message)
        self.param = param


@dataclass(frozen=True)
class Limit:
    """What one request may ask for.

    Args:
        samples: rows of one prompt.
        prompts: of a completion.
        answer: tokens of an answer in a conversation that says none.
    """

    samples: int
    prompts: int
    answer: int


@dataclass(frozen=True)
class Asked:
    """What a request wants.

    Args:
        prompts: rows of ids.
        texts: the prompts as text.
        sampling: settings; without a seed, every request and every prompt in it draws anew.
        samples: of each prompt.
        stream: as server-sent events.
        usage: a stream ends with the token counts.
        echo: give the prompt back, too.
        chat: answer as a chat completion.
        tools: that the answer may call.
        calls: how it writes calls.
        single: at most one call.
        seeded: the request says where draws begin.
    """

    prompts: list[list[int]]
    texts: list[str]
    sampling: Sampling
    samples: int
    stream: bool = False
    usage: bool = False
    echo: bool = False
    chat: bool = False
    tools: tuple[Tool, ...] = ()
    calls: CallFormat | None = None
    single: bool = False
    seeded: bool = False

    def sampling_of_prompt(self) -> Sampling:
        """Returns the settings of one more prompt."""
        if self.seeded:
            return self.sampling
        return replace(self.sampling, seed=secrets.randbits(62))


def parsed(model: type[T], data: bytes) -> T:
    """Returns a body.

    Raises:
        BodyError: not JSON, or not what the model says; names each field that is wrong.
    """
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        found = error.errors(include_url=False)
    lines = {_field(each["loc"]): _mistake(model, each) for each in reversed(found)}
    shown = [f"{field}: {why}" if field else why for field, why in reversed(lines.items())]
    raise BodyError("; ".join(shown[:_MOST_REPORTED]), next(reversed(lines)) or None)


def completion(engine: Engine, body: CompletionBody, limit: Limit) -> Asked:
    """Reads a request to /v1/completions.

    Raises:
        OptionError, InputError: something cannot be served.
    """
    require_model(engine, body.model)
    prompt = body.prompt
    rows: list[Any] = [prompt] if isinstance(prompt, str) or isinstance(prompt[0], int) else list(prompt)
    for row in rows:
        if not isinstance(row, str):
            _require_ids("prompt", row, engine.vocabulary)
    if len(rows) > limit.prompts:
        raise OptionError(f"prompt: {len(rows)} prompts; at most {limit.prompts} in one request")
    tokens = 16 if body.max_tokens is None else body.max_tokens
    sampling = _sampling(engine, body, tokens, body.logprobs)
    asked = _asked(engine, body, rows, sampling, limit)
    return replace(asked, echo=bool(body.echo))


def chat(engine: Engine, body: ChatBody, limit: Limit) -> Asked:
    """Reads a request to /v1/chat/completions; a model without a chat template gets a conversation as text.

    Raises:
        OptionError, InputError: something cannot be served.
    """
    require_model(engine, body.model)
    prompt, stop = conversation.opened(engine, body)
    form = conversation.call_format(engine) if body.tools else None
    chosen = tools.asked_for(body, form)
    count = (body.top_logprobs or 0) if body.logprobs else None
    given = next((n for n in (body.max_completion_tokens, body.max_tokens) if n is not None), limit.answer)
    sampling = _sampling(engine, body, given, count, stop)
    if (
        form is not None
        and chosen
        and (body.tool_choice == "required" or isinstance(body.tool_choice, NamedTool))
    ):
        if sampling.grammar is not None:
            raise OptionError("response_format: not together with a tool_choice that asks for a call")
        try:
            sampling = replace(sampling, grammar=grammar.of_lark(form.grammar(chosen, engine.tokenizer)))
        except OptionError as error:
            raise BodyError(f"tools: {error}", "tools") from error
    asked = _asked(engine, body, [prompt], sampling, limit)
    single = body.parallel_tool_calls is False
    return replace(asked, chat=True, tools=tuple(chosen), calls=form if chosen else None, single=single)


class UnknownModel(OptionError):
    """A request names a model that is not here."""


def require_model(engine: Engine, name: str | None) -> None:
    """Raises UnknownModel if a request names a model that is not here."""
    if name is not None and name != engine.name:
        raise UnknownModel(
            f"model: there is no {name!r} here; this is {engine.name!r} (another name: --name)"
        )


def _asked(engine: Engine, body: Settings, rows: Sequence[Any], sampling: Sampling, limit: Limit) -> Asked:
    samples = body.n or 1
    if samples > limit.samples:
        raise OptionError(f"n: {samples} must be a whole number from 1 to {limit.samples}")
    prompts = [fitting(engine, row, sampling, body.truncate) for row in rows]
    texts = [  # what was cut off is not echoed
        row if isinstance(row, str) and body.truncate is None else engine.texts.decode(ids)
        for row, ids in zip(rows, prompts, strict=True)
    ]
    usage = bool(body.stream_options and body.stream_options.include_usage)
    seeded = body.seed is not None
    return Asked(prompts, texts, sampling, samples, bool(body.stream), usage, seeded=seeded)


def _sampling(
    engine: Engine, body: Settings, tokens: int, logprobs: int | None, stop: tuple[str, ...] = ()
) -> Sampling:
    given = {name: getattr(body, name) for name in _SAME if getattr(body, name) is not None}
    stops = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    bias = tuple((int(id), value) for id, value in (body.logit_bias or {}).items())
    if (body.min_tokens or 0) > tokens:
        raise BodyError(f"min_tokens: {body.min_tokens} must be at most max_tokens, {tokens}", "min_tokens")
    _require_ids("logit_bias", [id for id, _ in bias], engine.vocabulary)
    _require_ids("stop_token_ids", body.stop_token_ids or (), engine.vocabulary)
    return Sampling(
        max_tokens=tokens, top_k=max(0, body.top_k or 0), logit_bias=bias, stop=(*stops, *stop),
        stop_token_ids=tuple(body.stop_token_ids or ()), logprobs=logprobs, grammar=_grammar(body), **given,
    )  # fmt: skip


def _grammar(body: Settings) -> str | None:
    """Returns the grammar that the one field about the answer's form asks for."""
    form = body.response_format
    if form is not None and form.type == "json_object":
        return grammar.of_schema({"type": "object"})
    makers: dict[str, tuple[Callable[[Any], str], Any]] = {
        "response_format": (
            grammar.of_schema,
            form and form.json_schema and (form.json_schema.schema_ or {}),
        ),
        "guided_json": (grammar.of_schema, body.guided_json),
        "guided_choice": (grammar.of_choice, body.guided_choice),
        "guided_regex": (grammar.of_regex, body.guided_regex),
    }
    for field, (make, given) in makers.items():
        if given is not None:
            try:
                return make(given)
            except OptionError as error:
                raise BodyError(f"{field}: {error}", field) from error
    return None


def _require_ids(field: str, ids: Sequence[int], vocabulary: int) -> None:
    wrong = next((id for id in ids if not 0 <= id < vocabulary), None)
    if wrong is not None:
        raise BodyError(
            f"{field}: {wrong} is not one of the token ids below the vocabulary's size, {vocabulary:,}", field
        )


def _field(place: tuple[int | str, ...]) -> str:
    """Returns where a mistake is, without the names that pydantic gives to the members of a union."""
    names = [str(part) for part in place if isinstance(part, int) or re.fullmatch(r"[a-z_]+", part)]
    return ".".join(name for name in names if name != "str")


def _mistake(model: type[BaseModel], each: Any) -> str:
    if each["type"] == "extra_forbidden":
        known = f"; known are {', '.join(sorted(model.model_fields))}" if len(each["loc"]) == 1 else ""
        return f"is not served here, leave it out{known}"
    if each["type"] == "none_required":
        return "is not served here, leave it out"
    if each["type"] == "missing":
        return "is missing"
    if each["type"] in ("json_invalid", "json_type"):
        return f"the request is not JSON: {each['msg'].removeprefix('Invalid JSON: ')}"
    why = each["msg"].removeprefix("Value error, ").replace("Input should", "must", 1)
    given = each["input"]
    return why if isinstance(given, dict | list) else f"{given!r:.80} {why}"
