"""What a client may send, as pydantic models: types, ranges and every known field; others are refused by name.

OpenAI's names, and under the names of vLLM and llama.cpp what OpenAI has no word for: top_k, min_p,
repetition_penalty, min_tokens, stop_token_ids, guided_choice, guided_regex, guided_json, chat_template_kwargs.
Ours are min_ends and truncate. A field that OpenAI has and that is not served here has the type None: null is
taken, anything else is refused.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

MOST_LOGPROBS = 20
MOST_CANDIDATES = 100
MOST_TOKENS = 1_000_000

Id = Annotated[int, Field(ge=0, lt=2**31)]
Text = Annotated[str, Field(min_length=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Penalty = Annotated[Finite, Field(ge=-2, le=2)]
Nothing = Annotated[None, Field(description="Not served here: null, or leave it out.")]


class Body(BaseModel):
    """A JSON object of which every field is known."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class StreamOptions(Body):
    """What a stream has besides its pieces."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class JsonSchema(Body):
    """A schema that the answer follows."""

    name: str
    schema_: dict[str, JsonValue] | None = Field(None, alias="schema")
    description: str | None = None
    strict: bool | None = None


class ResponseFormat(Body):
    """Text, any JSON object, or JSON of a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _complete(self) -> ResponseFormat:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("json_schema belongs to type json_schema, and that needs it")
        return self


class Settings(Body):
    """What both kinds of completion take."""

    model: str | None = Field(
        None, description="Name of the model; there is one, and another name is refused."
    )
    temperature: Annotated[Finite, Field(ge=0, le=100)] | None = None
    top_p: Annotated[Finite, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=MOST_TOKENS, description="0 and -1 are all.")] | None = None
    min_p: Annotated[Finite, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[Finite, Field(ge=0.001, le=100)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: (
        Annotated[
            dict[Annotated[str, Field(pattern=r"^[0-9]{1,9}$")], Annotated[Finite, Field(ge=-100, le=100)]],
            Field(description="Added to the logits of token ids.", max_length=1024),
        ]
        | None
    ) = None
    min_tokens: Annotated[int, Field(ge=0, le=MOST_TOKENS)] | None = None
    min_ends: Annotated[int, Field(ge=1, le=1000)] | None = None
    stop: Text | Annotated[list[Text], Field(max_length=64)] | None = None
    stop_token_ids: Annotated[list[Id], Field(max_length=64)] | None = None
    seed: (
        Annotated[
            int,
            Field(ge=-(2**63), lt=2**63, description="Of the draws; without one every request draws anew."),
        ]
        | None
    ) = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None
    guided_json: dict[str, JsonValue] | None = None
    guided_choice: Annotated[list[Text], Field(min_length=1, max_length=MOST_CANDIDATES)] | None = None
    guided_regex: Text | None = None
    truncate: Literal["left", "right"] | None = None
    user: str | None = Field(None, description="Changes nothing.")

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options: only with stream true")
        forms = [self.guided_json, self.guided_choice, self.guided_regex]
        given = sum(each is not None for each in forms)
        if given + (self.response_format is not None and self.response_format.type != "text") > 1:
            raise ValueError("response_format, guided_json, guided_choice and guided_regex: give one of them")
        return self


class CompletionBody(Settings):
    """A request to /v1/completions."""

    prompt: (
        str
        | Annotated[list[Id], Field(min_length=1)]
        | Annotated[list[str], Field(min_length=1)]
        | Annotated[list[Annotated[list[Id], Field(min_length=1)]], Field(min_length=1)]
    )
    max_tokens: Annotated[int, Field(ge=0, le=MOST_TOKENS, description="16 unless given.")] | None = None
    logprobs: Annotated[int, Field(ge=0, le=MOST_LOGPROBS)] | None = None
    echo: bool | None = None
    best_of: Annotated[int, Field(ge=1, le=128, description="Must be n.")] | None = None
    suffix: Nothing = None

    @model_validator(mode="after")
    def _same(self) -> CompletionBody:
        if self.best_of is not None and self.best_of != (self.n or 1):
            raise ValueError(f"best_of: {self.best_of} must be the same as n, {self.n or 1}")
        return self


class TextPart(Body):
    """A part of a message; text is the only kind that a language model reads."""

    type: Literal["text"]
    text: str


Content = str | list[TextPart]


class SystemMessage(Body):
    """Instructions; a developer's are read as the system's where the template does not know the role."""

    role: Literal["system", "developer"]
    content: Content
    name: str | None = None


class UserMessage(Body):
    """What the user says."""

    role: Literal["user"]
    content: Content
    name: str | None = None


class CalledFunction(Body):
    """Name and arguments, a JSON object as text."""

    name: Text
    arguments: str


class ToolCall(Body):
    """A call that the model made."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction
    index: int | None = None


class AssistantMessage(Body):
    """What the model said, or which tools it called."""

    role: Literal["assistant"]
    content: Content | None = None
    tool_calls: list[ToolCall] | None = None
    name: str | None = None
    refusal: str | None = None
    annotations: Annotated[list[JsonValue], Field(max_length=0)] | None = None
    audio: Nothing = None
    function_call: Nothing = None


class ToolMessage(Body):
    """What a tool answered."""

    role: Literal["tool"]
    content: Content
    tool_call_id: str | None = None
    name: str | None = None


Message = Annotated[SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")]


class Function(Body):
    """A function that the model may call."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    description: str | None = None
    parameters: dict[str, JsonValue] | None = None
    strict: bool | None = None


class Tool(Body):
    """A tool."""

    type: Literal["function"]
    function: Function


class NamedFunction(Body):
    """The name of a function."""

    name: Text


class NamedTool(Body):
    """The tool that must be called."""

    type: Literal["function"]
    function: NamedFunction


class ChatBody(Settings):
    """A request to /v1/chat/completions."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=0, le=MOST_TOKENS)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=0, le=MOST_TOKENS)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_LOGPROBS)] | None = None
    tools: Annotated[list[Tool], Field(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    chat_template_kwargs: dict[str, JsonValue] | None = None
    modalities: list[Literal["text"]] | None = None
    metadata: dict[str, str] | None = Field(None, description="Changes nothing.")
    safety_identifier: str | None = Field(None, description="Changes nothing.")
    prompt_cache_key: str | None = Field(None, description="Changes nothing.")
    service_tier: Literal["auto", "default"] | None = None
    store: Literal[False] | None = None
    audio: Nothing = None
    function_call: Nothing = None
    functions: Nothing = None
    prediction: Nothing = None
    reasoning_effort: Nothing = None
    verbosity: Nothing = None
    web_search_options: Nothing = None

    @model_validator(mode="after")
    def _complete(self) -> ChatBody:
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs: only with logprobs true")
        names = [tool.function.name for tool in self.tools or ()]
        if len(set(names)) < len(names):
            raise ValueError(f"tools: two functions have the same name among {', '.join(names)}")
        if isinstance(self.tool_choice, NamedTool) and self.tool_choice.function.name not in names:
            raise ValueError(f"tool_choice: {self.tool_choice.function.name!r} is not among tools")
        if self.tool_choice == "required" and not names:
            raise ValueError("tool_choice: required, but there are no tools")
        return self


class ChooseBody(Body):
    """A request to /v1/choose."""

    prompt: Text
    candidates: Annotated[list[Text], Field(min_length=2, max_length=MOST_CANDIDATES)]
    score: Literal["likelihood", "mean"] = "mean"
    model: str | None = None


def plain(content: Content | None) -> str:
    """Returns a message's text."""
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.text for part in content)


def as_sent(value: BaseModel) -> dict[str, Any]:
    """Returns a model as the JSON that was sent, without what was not given."""
    return value.model_dump(by_alias=True, exclude_none=True)
