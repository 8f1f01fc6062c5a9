"""A conversation as the text that the model continues: by its own chat template, or as a dialogue if it has none.

What a template would drop in silence is refused: instructions, a tool's answer, a called function that its text
lacks.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import count, groupby
from typing import Any

from shoestring._errors import OptionError
from shoestring.lm.engines.base import Engine
from shoestring.lm.fewshot.template import named
from shoestring.lm.serve import tools
from shoestring.lm.serve.schema.bodies import AssistantMessage, ChatBody, ToolMessage, plain

_SPEAKERS = {"user": "甲：", "assistant": "乙：", "system": ""}
_KEPT = ("system", "developer", "tool")  # what a template must not drop
_MOST_TEXT = 1 << 20  # characters that a template may make of a request


def opened(engine: Engine, body: ChatBody) -> tuple[str | list[int], tuple[str, ...]]:
    """Returns the prompt of a conversation, open for the assistant's answer, and where that stops.

    Raises:
        OptionError: the template refuses the messages or would drop one, or there is none for tools.
    """
    template = _template(engine)
    if template is None:
        if body.tools or body.chat_template_kwargs or any(each.role == "tool" for each in body.messages):
            raise OptionError("tools: this model has no chat template, so it cannot call any; leave them out")
        return as_dialogue([_plain_message(each, developer=False) for each in body.messages])
    messages = _answers_in_order([_plain_message(each, "developer" in template) for each in body.messages])
    chosen = tools.sent(tools.asked_for(body, call_format(engine)))
    extra = body.chat_template_kwargs or {}
    text = _rendered(engine, messages, chosen, extra)
    _require_complete(text, messages, chosen)
    _require_complete(*_marked(engine, messages, chosen, extra))
    return engine.texts.encode_chat(text), ()


def as_dialogue(messages: Sequence[Mapping[str, str]]) -> tuple[str, tuple[str, ...]]:
    """Returns a conversation in the words of the built-in dialogue template, open at the end, and where it stops.

    >>> as_dialogue([{"role": "user", "content": "你好"}])[0]
    '甲：你好\\n乙：'
    """
    lines = [_SPEAKERS[each["role"]] + each["content"].replace("\n", " ") for each in messages]
    return "\n".join([*lines, _SPEAKERS["assistant"]]), named("dialogue").stop


@lru_cache(4)
def call_format(engine: Engine) -> tools.CallFormat | None:
    """Returns how the model's template writes tool calls."""
    if _template(engine) is None:
        return None

    def render(messages: list[dict[str, Any]], given: list[dict[str, Any]], open_turn: bool) -> str:
        return engine.tokenizer.apply_chat_template(
            messages, tools=given, tokenize=False, add_generation_prompt=open_turn
        )

    return tools.format_of(render, engine.tokenizer)


def _template(engine: Engine) -> str | None:
    found = getattr(engine.tokenizer, "chat_template", None)
    return json.dumps(found, ensure_ascii=False) if found else None


def _plain_message(message: Any, developer: bool) -> dict[str, Any]:
    """Returns a message as templates take it: content a text, arguments an object."""
    role = "system" if message.role == "developer" and not developer else message.role
    said: dict[str, Any] = {"role": role, "content": plain(message.content)}
    if isinstance(message, AssistantMessage) and message.tool_calls:
        said["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {
                "name": call.function.name, "arguments": _arguments(call.function.arguments)}}
            for call in message.tool_calls
        ]  # fmt: skip
    if isinstance(message, ToolMessage) and message.tool_call_id is not None:
        said["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        said["name"] = message.name
    return said


def _answers_in_order(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns messages with the answers of tools in the order of their calls, as templates without ids need them.

    Raises:
        OptionError: an answer names a call that the turn before it does not have.
    """
    found: list[dict[str, Any]] = []
    calls: list[str | None] = []
    for answers, group in groupby(messages, lambda each: each["role"] == "tool"):
        run = list(group)
        if answers:
            named = [each["tool_call_id"] for each in run if "tool_call_id" in each]
            unknown = next((id for id in named if id not in calls), None)
            if unknown is not None:
                raise OptionError(f"messages: no call before it has tool_call_id {unknown[:80]!r}")
            if len(named) == len(run):
                run.sort(key=lambda each: calls.index(each["tool_call_id"]))
        calls = [call["id"] for call in run[-1].get("tool_calls", ())]
        found += run
    return found


def _arguments(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise OptionError(f"messages: a tool call's arguments are not JSON: {text[:80]!r}") from error
    if not isinstance(found, dict):
        raise OptionError(f"messages: a tool call's arguments are not a JSON object: {text[:80]!r}")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _marked(
    engine: Engine, messages: list[dict[str, Any]], chosen: list[dict[str, Any]], extra: Mapping[str, Any]
) -> tuple[str, list[dict[str, Any]], list[dict[str, Any]]]:
    """Returns the same conversation in words that occur nowhere else: "f" and "7" are found in many a text."""
    number = count(1)
    messages, chosen = copy.deepcopy(messages), copy.deepcopy(chosen)
    for message in messages:
        for call in message.get("tool_calls", ()):
            call["function"]["name"] = f"called{next(number)}mark"
        if message["role"] in _KEPT and message["content"].strip():
            message["content"] = f"said{next(number)}mark"
    for tool in chosen:
        tool["function"]["name"] = f"tool{next(number)}mark"
    try:
        return _rendered(engine, messages, chosen, extra), messages, chosen
    except OptionError:  # a template that looks into these texts
        return "", [], []


def _rendered(
    engine: Engine, messages: list[dict[str, Any]], chosen: list[dict[str, Any]], extra: Mapping[str, Any]
) -> str:
    taken = extra.keys() & {
        "conversation",
        "tools",
        "tokenize",
        "add_generation_prompt",
        "return_dict",
        "chat_template",
    }
    if taken:
        raise OptionError(f"chat_template_kwargs: {', '.join(sorted(taken))} cannot be set there")
    try:
        text = engine.tokenizer.apply_chat_template(
            messages, tools=chosen or None, tokenize=False, add_generation_prompt=True, **extra
        )
    except Exception as error:  # a template is a program of somebody else's, and may raise anything
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise OptionError(f"messages: the model's chat template refuses them: {why}") from error
    if len(text) > _MOST_TEXT:
        raise OptionError(
            f"messages: the chat template makes {len(text):,} characters of them; at most {_MOST_TEXT:,}"
        )
    return text


def _require_complete(text: str, messages: list[dict[str, Any]], chosen: list[dict[str, Any]]) -> None:
    """Refuses what the template has left out."""
    for tool in chosen:
        if tool["function"]["name"] not in text:
            raise OptionError("tools: this model's chat template does not show tools; leave them out")
    for message in messages:
        for call in message.get("tool_calls", ()):
            if call["function"]["name"] not in text:
                raise OptionError("messages: this model's chat template drops tool_calls")
        if message["role"] in _KEPT and not _occurs(message["content"], text):
            raise OptionError(
                f"messages: this model's chat template drops a message of role {message['role']}"
            )


def _occurs(content: str, text: str) -> bool:
    content = content.strip()
    return content in text or json.dumps(content, ensure_ascii=False)[1:-1] in text
