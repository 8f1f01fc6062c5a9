"""Tool calls as the model's own chat template writes them: found out by rendering one, read back from the answer.

A template is given a call with a name and an argument that occur nowhere else. What it puts around the JSON object
of that call is what stands before and after a call in an answer, and the object's keys are the keys to look for. A
template that does not write calls as JSON objects is not understood, and tools are refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from shoestring._errors import OptionError
from shoestring.lm.generation.grammar import OPTIONS
from shoestring.lm.serve.schema.bodies import ChatBody, Function, NamedTool, Tool, as_sent

_NAME, _KEY, _VALUE = "namedseventeen", "keyseventeen", "valueseventeen"
_CALL = {"name": _NAME, "arguments": {_KEY: _VALUE}}
_TOOL = {"type": "function", "function": {"name": _NAME, "description": "", "parameters": {
    "type": "object", "properties": {_KEY: {"type": "string"}}}}}  # fmt: skip
Render = Callable[..., str]


@dataclass(frozen=True)
class Call:
    """A function and its arguments, JSON as text."""

    name: str
    arguments: str


@dataclass(frozen=True)
class CallFormat:
    """How a template writes a call.

    Args:
        before: text before the JSON object, special tokens too.
        after: text after it.
        mark: what of `before` an answer's text shows; may be empty.
        name: key of the function's name.
        arguments: key of its arguments.
    """

    before: str
    after: str
    mark: str
    name: str
    arguments: str

    def read(self, text: str, tools: Sequence[Tool]) -> tuple[str, list[Call]]:
        """Returns an answer's text before its calls, and the calls; all of it is text if there are none."""
        start = self._start(text)
        names = {tool.function.name for tool in tools}
        calls = [] if start is None else [
            Call(each[self.name], json.dumps(each[self.arguments], ensure_ascii=False))
            for _, _, each in _objects(text[start:])
            if each.get(self.name) in names and _is_arguments(each.get(self.arguments))
        ]  # fmt: skip
        return (text[:start].rstrip(), calls) if calls else (text, [])

    def certain(self, text: str) -> int:
        """Returns how many characters of an unfinished answer cannot belong to a call."""
        start = self._start(text)
        if start is not None:
            return len(text[:start].rstrip())
        sizes = range(min(len(self.mark), len(text)), 0, -1)
        held = next((size for size in sizes if text.endswith(self.mark[:size])), 0)
        return len(text[: len(text) - held].rstrip()) if text.strip() else 0

    def grammar(self, asked: Sequence[Tool], tokenizer: Any) -> str:
        """Returns the grammar, in llguidance's Lark, of one call of one of these tools."""
        schemas = [
            {
                "type": "object", "additionalProperties": False, "required": [self.name, self.arguments],
                "properties": {
                    self.name: {"const": tool.function.name},
                    self.arguments: _document(tool.function),
                },
            }
            for tool in asked
        ]  # fmt: skip
        around = [_literal(text, tokenizer) for text in (self.before, self._closing(tokenizer))]
        whole: dict[str, Any] = {"anyOf": schemas} if len(schemas) > 1 else schemas[0]
        call = json.dumps({**whole, "x-guidance": OPTIONS})
        return f"start: {around[0]} call {around[1]}\ncall: %json {call}\n"

    def _start(self, text: str) -> int | None:
        if self.mark:
            place = text.find(self.mark)
            return place if place >= 0 else None
        return 0 if text.lstrip().startswith("{") else None

    def _closing(self, tokenizer: Any) -> str:
        """What follows a call up to the token that ends the turn."""
        ids = tokenizer.encode(self.after, add_special_tokens=False)
        special = set(tokenizer.all_special_ids)
        end = next((place for place, id in enumerate(ids) if id in special), len(ids))
        return tokenizer.decode(ids[:end]).rstrip()


@dataclass
class CallStream:
    """Gives out an answer's text while it comes, and holds what may be a call.

    Args:
        form: of the calls.
        tools: that may be called.
    """

    form: CallFormat
    tools: Sequence[Tool]
    _text: str = field(default="", init=False)
    _given: int = field(default=0, init=False)

    def push(self, text: str) -> str:
        """Takes text and returns what is certain to be none of a call."""
        self._text += text
        end = max(self._given, self.form.certain(self._text))
        given, self._given = self._text[self._given : end], end
        return given

    def finish(self) -> tuple[str, list[Call]]:
        """Returns the rest of the text, and the calls."""
        content, calls = self.form.read(self._text, self.tools)
        return content[self._given :], calls


def format_of(render: Render, tokenizer: Any) -> CallFormat | None:
    """Returns how a template writes calls, or None if it does not, or not as JSON objects.

    Args:
        render: (messages, tools, add_generation_prompt) -> text.
        tokenizer: of the model.
    """
    said: list[dict[str, Any]] = [{"role": "user", "content": "x"}]
    call = {"id": "call00017", "type": "function", "function": _CALL}
    called = {"role": "assistant", "content": "", "tool_calls": [call]}
    try:
        open_turn = render(said, [_TOOL], True)
        whole = render([*said, called], [_TOOL], False)
    except Exception:  # a template is a program of somebody else's: whatever it raises, it has no calls
        return None
    tail = whole[len(open_turn) :] if whole.startswith(open_turn) else whole[_shared(open_turn, whole) :]
    for start, end, each in _objects(tail):
        keys = {_kind(value): key for key, value in each.items()}
        if "name" in keys and "arguments" in keys:
            ids = tokenizer.encode(tail[:start], add_special_tokens=False)
            mark = tokenizer.decode(ids, skip_special_tokens=True).strip()
            return CallFormat(tail[:start], tail[end:], mark, keys["name"], keys["arguments"])
    return None


def asked_for(body: ChatBody, form: CallFormat | None) -> list[Tool]:
    """Returns the tools that the answer may call.

    Raises:
        OptionError: the template has no calls, or the calls of a strict tool are left to the model.
    """
    tools = list(body.tools or ())
    if not tools or body.tool_choice == "none":
        return []
    if form is None:
        raise OptionError(
            "tools: this model's chat template does not write tool calls as JSON; leave tools out"
        )
    if isinstance(body.tool_choice, NamedTool):
        return [tool for tool in tools if tool.function.name == body.tool_choice.function.name]
    if body.tool_choice != "required" and any(tool.function.strict for tool in tools):
        raise OptionError("tools: strict is served with tool_choice required or a function's name only")
    return tools


def sent(tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """Returns tools as a template takes them."""
    return [as_sent(tool) for tool in tools]


def _document(function: Function) -> dict[str, Any]:
    """Returns the schema of a function's arguments, with an id of its own, so that its "#/$defs/..." mean itself."""
    return {"$id": f"urn:function:{function.name}"} | (function.parameters or {"type": "object"})


def _is_arguments(value: Any) -> bool:
    """Whether this is an object that can be written as JSON; Python reads NaN and 1e999, which cannot."""
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return isinstance(value, dict)


def _kind(value: Any) -> str:
    return "name" if value == _NAME else "arguments" if value == _CALL["arguments"] else ""


def _objects(text: str) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Yields the JSON objects in a text, where each begins and ends."""
    decoder, place = json.JSONDecoder(), text.find("{")
    while place >= 0:
        try:
            found, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            end = place + 1
        else:
            yield place, end, found
        place = text.find("{", end)


def _shared(left: str, right: str) -> int:
    return next(
        (n for n, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right))
    )


def _literal(text: str, tokenizer: Any) -> str:
    """Returns text as Lark, special tokens by number, since their names are not text."""
    special, parts = set(tokenizer.all_special_ids), []
    for id in tokenizer.encode(text, add_special_tokens=False):
        if id in special:
            parts += [f"<[{id}]>"]
        elif parts and isinstance(parts[-1], list):
            parts[-1].append(id)
        else:
            parts.append([id])
    return " ".join(each if isinstance(each, str) else json.dumps(tokenizer.decode(each)) for each in parts)
