"""What the server answers, as pydantic models for its description; `replies` writes them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue


class Answer(BaseModel):
    """A JSON object that has these fields and no others."""

    model_config = ConfigDict(extra="forbid")


class ErrorDetail(Answer):
    """What was wrong, what was given, what is allowed."""

    message: str
    type: Literal[
        "invalid_request_error", "authentication_error", "permission_error", "not_found_error",
        "rate_limit_error", "server_error",
    ]  # fmt: skip
    param: str | None
    code: str | None


class Error(Answer):
    """An error."""

    error: ErrorDetail


class Usage(Answer):
    """Token counts."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Logprobs(Answer):
    """Log-probabilities of a completion's tokens; a part of a character is written bytes:\\xe7."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class TextChoice(Answer):
    """One continuation of one prompt."""

    index: int
    text: str
    finish_reason: Literal["stop", "length"] | None
    logprobs: Logprobs | None


class Completion(Answer):
    """The answer of /v1/completions, and each event of its stream."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage | None = None


class TopLogprob(Answer):
    """A token that could have come."""

    token: str
    logprob: float
    bytes: list[Annotated[int, Field(ge=0, le=255)]]


class TokenLogprob(TopLogprob):
    """A token that came, and the most likely ones in its place."""

    top_logprobs: list[TopLogprob]


class ChatLogprobs(Answer):
    """Log-probabilities of an answer's tokens."""

    content: list[TokenLogprob]
    refusal: None


class FunctionOut(Answer):
    """The function that is to be called; arguments are JSON as text."""

    name: str
    arguments: str


class ToolCallOut(Answer):
    """A call."""

    id: str
    type: Literal["function"]
    function: FunctionOut


class MessageOut(Answer):
    """What the model says."""

    role: Literal["assistant"]
    content: str | None
    refusal: None
    tool_calls: list[ToolCallOut] | None = None


class ChatChoice(Answer):
    """One answer."""

    index: int
    message: MessageOut
    finish_reason: Literal["stop", "length", "tool_calls"]
    logprobs: ChatLogprobs | None


class ChatCompletion(Answer):
    """The answer of /v1/chat/completions."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


class Candidate(Answer):
    """A candidate's score and its softmax among the others."""

    candidate: str
    score: float
    logprob: float
    share: float


class Choice(Answer):
    """The answer of /v1/choose."""

    best: str
    choices: list[Candidate]


class Model(Answer):
    """A model."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class Models(Answer):
    """The models."""

    object: Literal["list"]
    data: list[Model]


class Health(Answer):
    """That the server answers, and what it does."""

    status: Literal["ok"]
    model: str
    running: int
    waiting: int
    cache_bytes: int


class Templates(Answer):
    """Few-shot prompts that come along."""

    data: list[dict[str, JsonValue]]
