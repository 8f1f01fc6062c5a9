"""Tool calls: the form is found in the template, calls are read from answers and forced by grammars.

The forms are those of published templates: Hermes and Qwen 2.5 (<tool_call>), Llama 3.1 (a bare object with
parameters), Mistral ([TOOL_CALLS] and a list). Each is a template of our own in that form.
"""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm.chat_model import chat_tokenizer
from shoestring._errors import OptionError
from shoestring.lm.engines.load import load
from shoestring.lm.serve.conversation import opened
from shoestring.lm.serve.schema.bodies import ChatBody, Function, Tool, UserMessage
from shoestring.lm.serve.tools import CallStream, format_of

LLAMA = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.tool_calls %}"
    '{"name": "{{ m.tool_calls[0].function.name }}", "parameters": {{ m.tool_calls[0].function.arguments | tojson }}}'
    "{% else %}{{ m.content }}{% endif %}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MISTRAL = (
    "{% for m in messages %}{% if m.tool_calls %}[TOOL_CALLS][{% for c in m.tool_calls %}"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}, "id": "{{ c.id }}"}'
    "{% endfor %}]<|im_end|>{% else %}[INST]{{ m.content }}[/INST]{% endif %}{% endfor %}"
)
NONE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
PYTHON = (
    "{% for m in messages %}{% for c in m.tool_calls or [] %}{{ c.function.name }}(x=1){% endfor %}"
    "{{ m.content }}{% endfor %}"
)
TOOLS = [
    Tool(type="function", function=Function(name="weather", parameters={
        "type": "object", "properties": {"city": {"enum": ["北京", "Paris"]}}, "required": ["city"],
        "additionalProperties": False})),
    Tool(type="function", function=Function(name="time", parameters={
        "type": "object", "properties": {}, "additionalProperties": False})),
]  # fmt: skip


def form_of(template=None):
    tokenizer = chat_tokenizer()
    tokenizer.chat_template = template or tokenizer.chat_template

    def render(messages, tools, open_turn):
        return tokenizer.apply_chat_template(
            messages, tools=tools, tokenize=False, add_generation_prompt=open_turn
        )

    return format_of(render, tokenizer)


@pytest.mark.parametrize(
    ("template", "mark", "arguments"),
    [(None, "<tool_call>", "arguments"), (LLAMA, "", "parameters"), (MISTRAL, "[TOOL_CALLS][", "arguments")],
)  # fmt: skip
def test_the_form_is_found_in_the_template(template, mark, arguments):
    form = form_of(template)
    assert (form.mark, form.name, form.arguments) == (mark, "name", arguments)


@pytest.mark.parametrize(
    "template", [NONE, PYTHON, "{{ messages[9].content }}", "{{ raise_exception('no') }}"]
)
def test_templates_without_calls_in_json_have_none(template):
    assert form_of(template) is None


ANSWERS = [
    (None, '<tool_call>\n{"name": "weather", "arguments": {"city": "北京"}}\n</tool_call>', "", ["weather"]),
    (None, 'Let me see.\n<tool_call>\n{"name": "time", "arguments": {}}\n</tool_call>\n<tool_call>\n'
     '{"name": "weather", "arguments": {"city": "{}"}}\n</tool_call>', "Let me see.", ["time", "weather"]),
    (None, "no { call <tool_call at all", "no { call <tool_call at all", []),
    (None, '<tool_call>{"name": "unknown", "arguments": {}}', '<tool_call>{"name": "unknown", "arguments": {}}', []),
    (None, '<tool_call>{"name": "time", "argu', '<tool_call>{"name": "time", "argu', []),
    (None, '{"name": "time", "arguments": {}}', '{"name": "time", "arguments": {}}', []),
    (LLAMA, '{"name": "weather", "parameters": {"city": "Paris"}}', "", ["weather"]),
    (LLAMA, '{"answer": 1}', '{"answer": 1}', []),
    (MISTRAL, '[TOOL_CALLS][{"name": "time", "arguments": {}}, {"name": "time", "arguments": {"a": 1}}]', "",
     ["time", "time"]),
]  # fmt: skip


@pytest.mark.parametrize(("template", "answer", "content", "names"), ANSWERS)
def test_answers_are_read(template, answer, content, names):
    found, calls = form_of(template).read(answer, TOOLS)
    assert (found, [call.name for call in calls]) == (content, names)


@given(st.sampled_from(ANSWERS), st.lists(st.integers(1, 9)))
def test_a_stream_gives_what_the_whole_answer_gives(case, cuts):
    template, answer, content, names = case
    stream, given_, rest = CallStream(form_of(template), TOOLS), "", answer
    for cut in cuts:
        given_ += stream.push(rest[:cut])
        rest = rest[cut:]
    given_ += stream.push(rest)
    last, calls = stream.finish()
    assert (given_ + last, [call.name for call in calls]) == (content, names)


@pytest.fixture
def server(chat_server):
    return chat_server


def ask(server, **settings):
    tools = [tool.model_dump(exclude_none=True) for tool in TOOLS]
    messages = [{"role": "user", "content": "weather?"}]
    return server.client.chat.completions.create(
        model="m", messages=messages, tools=tools, max_tokens=200, **settings
    )


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "weather"}}])
def test_a_call_is_forced(server, choice):
    for seed in range(3):
        (answer,) = ask(server, tool_choice=choice, seed=seed).choices
        assert answer.finish_reason == "tool_calls"
        (call,) = answer.message.tool_calls
        arguments = json.loads(call.function.arguments)
        if call.function.name == "weather":
            assert arguments["city"] in ("北京", "Paris")
        assert call.function.name in (["weather"] if isinstance(choice, dict) else ["weather", "time"])


def test_a_streamed_call_is_the_whole_ones(server):
    choice = {"type": "function", "function": {"name": "weather"}}
    (whole,) = ask(server, tool_choice=choice, temperature=0).choices
    chunks = [chunk.choices[0] for chunk in ask(server, tool_choice=choice, temperature=0, stream=True)]
    calls = [call for chunk in chunks for call in chunk.delta.tool_calls or ()]
    assert [call.function.arguments for call in calls] == [
        call.function.arguments for call in whole.message.tool_calls
    ]
    assert chunks[-1].finish_reason == "tool_calls"
    assert not any(chunk.delta.content for chunk in chunks)


def test_the_answer_of_a_tool_goes_back(server):
    said = {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "weather", "arguments": '{"city": "北京"}'},
            }
        ],
    }
    told = {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}
    body = {"messages": [{"role": "user", "content": "weather?"}, said, told], "max_tokens": 4}
    assert server.post("v1/chat/completions", body)[0] == 200
    said["tool_calls"][0]["function"]["arguments"] = "not json"
    status, answer = server.post("v1/chat/completions", body)
    assert (status, "arguments are not JSON" in answer["error"]["message"]) == (400, True)
    strict = {"type": "function", "function": {"name": "f", "strict": True}}
    status, answer = server.post("v1/chat/completions", {"messages": body["messages"][:1], "tools": [strict]})
    assert (status, "strict is served with tool_choice" in answer["error"]["message"]) == (400, True)


def test_models_without_calls_refuse_tools(folder):
    body = ChatBody(messages=[UserMessage(role="user", content="x")], tools=TOOLS)
    with pytest.raises(OptionError, match="has no chat template"):
        opened(load(folder), body)


def test_definitions_are_looked_up_in_the_functions_own_schema(server):
    def tool(name, word):
        schema = {
            "type": "object", "properties": {"x": {"$ref": "#/$defs/n"}}, "required": ["x"],
            "additionalProperties": False, "$defs": {"n": {"const": word}},
        }  # fmt: skip
        return {"type": "function", "function": {"name": name, "parameters": schema}}

    body = {"messages": [{"role": "user", "content": "x"}], "tools": [tool("f", "cat"), tool("g", "mat")],
            "tool_choice": "required", "max_tokens": 200}  # fmt: skip
    words = {"f": "cat", "g": "mat"}
    for choice in ("required", *({"type": "function", "function": {"name": name}} for name in words)):
        status, answer = server.post("v1/chat/completions", body | {"tool_choice": choice, "seed": 1})
        assert status == 200, answer
        (call,) = answer["choices"][0]["message"]["tool_calls"]
        assert json.loads(call["function"]["arguments"]) == {"x": words[call["function"]["name"]]}


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999"])
def test_arguments_that_no_client_can_read_are_no_call(number):
    text = f'<tool_call>\n{{"name": "weather", "arguments": {{"city": {number}}}}}\n</tool_call>'
    assert form_of().read(text, TOOLS) == (text, [])


def _called(*names):
    calls = [
        {"id": f"call_{name}", "type": "function", "function": {"name": name, "arguments": "{}"}}
        for name in names
    ]
    return [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": None, "tool_calls": calls},
    ]


def _answered(*names):
    return [{"role": "tool", "tool_call_id": f"call_{name}", "content": f"of {name}"} for name in names]


def _prompt(chat_folder, messages, template=None):
    engine = load(chat_folder)
    if template:
        engine.tokenizer.chat_template = template
    return engine.texts.decode(opened(engine, ChatBody.model_validate({"messages": messages}))[0])


def test_answers_of_tools_stand_in_the_order_of_their_calls(chat_folder):
    right = _prompt(chat_folder, [*_called("a", "b"), *_answered("a", "b")])
    assert right.index("of a") < right.index("of b")
    assert _prompt(chat_folder, [*_called("a", "b"), *_answered("b", "a")]) == right
    for messages in (_answered("a"), [*_called("a"), *_answered("c")]):
        with pytest.raises(OptionError, match="no call before it has tool_call_id"):
            _prompt(chat_folder, messages)


def test_what_a_template_drops_is_seen_however_short_it_is(chat_folder):
    with pytest.raises(OptionError, match="drops tool_calls"):
        _prompt(chat_folder, _called("s"), NONE)
    silent = "{% for m in messages %}{% if m.role != 'system' %}{{ m.role }}: {{ m.content }}{% endif %}{% endfor %}"
    with pytest.raises(OptionError, match="drops a message of role system"):
        _prompt(chat_folder, [{"role": "system", "content": "s"}, {"role": "user", "content": "x"}], silent)
