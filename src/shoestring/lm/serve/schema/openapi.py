"""What can be asked, as OpenAPI 3.1: written from the same pydantic models that check it."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

import shoestring
from shoestring.lm.serve.schema import answers, bodies

_ERRORS = {
    "400": "the request: which field, what was given, what is allowed",
    "401": "wrong or missing API key",
    "403": "a Host or Origin that may not ask",
    "404": "no such model",
    "413": "the body is too large",
    "429": "too many wait; try again later",
    "500": "a mistake in the server",
}
_POSTS: dict[str, tuple[type[BaseModel], type[BaseModel], str]] = {
    "/v1/completions": (bodies.CompletionBody, answers.Completion, "Continues prompts."),
    "/v1/chat/completions": (bodies.ChatBody, answers.ChatCompletion, "Continues a conversation."),
    "/v1/choose": (bodies.ChooseBody, answers.Choice, "Tells which of some candidates follows a prompt."),
}
_GETS: dict[str, tuple[type[BaseModel], str]] = {
    "/v1/models": (answers.Models, "The one model."),
    "/v1/models/{name}": (answers.Model, "A model by its name."),
    "/v1/templates": (answers.Templates, "The built-in few-shot templates as prompts."),
    "/healthz": (answers.Health, "Says that the server answers."),
}


@cache
def document() -> dict[str, Any]:
    """Returns the document."""
    asked = [(body, "validation") for body, _, _ in _POSTS.values()]
    told = [(answer, "serialization") for _, answer, _ in _POSTS.values()]
    told += [(answer, "serialization") for answer, _ in _GETS.values()] + [(answers.Error, "serialization")]
    models: Any = [*asked, *told]
    names, schemas = models_json_schema(models, ref_template="#/components/schemas/{model}")
    paths = {path: {"post": _post(names, *each)} for path, each in _POSTS.items()}
    paths |= {path: {"get": _get(path, names, *each)} for path, each in _GETS.items()}
    return {
        "openapi": "3.1.0",
        "info": {"title": "shoestring lm", "version": shoestring.__version__,
                 "description": "A language model behind OpenAI's API."},
        "paths": paths,
        "components": {"schemas": schemas["$defs"],
                       "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
        "security": [{}, {"key": []}],
    }  # fmt: skip


def _post(names: Any, body: Any, answer: Any, about: str) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": names[answer, "serialization"]}}
    if body is not bodies.ChooseBody:  # each event is a JSON document after "data: "
        content["text/event-stream"] = {"schema": {}}
    request = {"required": True, "content": {"application/json": {"schema": names[body, "validation"]}}}
    return {"summary": about, "requestBody": request, "responses": _responses(names, content)}


def _get(path: str, names: Any, answer: Any, about: str) -> dict[str, Any]:
    content = {"application/json": {"schema": names[answer, "serialization"]}}
    found: dict[str, Any] = {"summary": about, "responses": _responses(names, content)}
    if "{name}" in path:
        found["parameters"] = [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}]
    return found


def _responses(names: Any, content: dict[str, Any]) -> dict[str, Any]:
    wrong = {"application/json": {"schema": names[answers.Error, "serialization"]}}
    errors = {status: {"description": why, "content": wrong} for status, why in _ERRORS.items()}
    return {"200": {"description": "the answer", "content": content}} | errors
