"""Requests as clients send them (tests/lm/requests), and what must come back; nobody else's answer suffers from them.

The counterparts are not ours: bodies that harnesses and clients send, and the openai package that reads the answers.
"""

import json
import threading
from pathlib import Path
from typing import Literal

import openai
import pytest
from pydantic import BaseModel

from shoestring.lm.engines.load import load
from shoestring.lm.generation.generation import generate
from shoestring.lm.generation.sampling import Sampling
from shoestring.lm.serve.schema.bodies import ChatBody, CompletionBody

REQUESTS = Path(__file__).parents[1] / "requests"
COMPLETIONS, CHAT = "v1/completions", "v1/chat/completions"
FIELDS = {*ChatBody.model_fields, *CompletionBody.model_fields}


@pytest.fixture
def server(chat_server):
    return chat_server


@pytest.fixture(scope="module")
def engine(chat_folder):
    return load(chat_folder)


def sent(name):
    return (REQUESTS / f"{name}.json").read_bytes()


@pytest.mark.parametrize(
    ("name", "path", "param"),
    [
        ("float-top-k", COMPLETIONS, "top_k"),
        ("stop-number", COMPLETIONS, "stop"),
        ("surrogate", COMPLETIONS, None),
        ("deep", COMPLETIONS, None),
    ],
)
def test_what_is_malformed_is_400_as_json(server, name, path, param):
    status, answer = server.post(path, sent(name))
    assert (status, answer["error"]["param"], answer["error"]["type"]) == (
        400,
        param,
        "invalid_request_error",
    )


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"prompt": "x", "guided": 1}, "guided: is not served here, leave it out; known are best_of"),
        ({"prompt": "x", "suffix": "y"}, "suffix: is not served here, leave it out"),
        ({"prompt": "x", "seed": 0.5}, "seed: 0.5 must be a valid integer"),
        ({"prompt": "x", "temperature": True}, "temperature: True must be a valid number"),
        ({"prompt": "x", "max_tokens": "5"}, "max_tokens: '5' must be a valid integer"),
        ({"prompt": "x", "stop": [""]}, "stop.0: '' String should have at least 1 character"),
        ({"prompt": "x", "best_of": 3}, "best_of: 3 must be the same as n, 1"),
        ({"prompt": "x", "logit_bias": {"99999": 1}}, "logit_bias: 99999 is not one of the token ids"),
        ({"prompt": "x", "stop_token_ids": [99999]}, "stop_token_ids: 99999 is not one of the token ids"),
        ({"prompt": "x", "n": 5}, "n: 5 must be a whole number from 1 to 4"),
        ({"prompt": "x", "stream_options": {"include_usage": True}}, "stream_options: only with stream true"),
        ({"prompt": "x", "min_tokens": 17}, "min_tokens: 17 must be at most max_tokens, 16"),
        ({"prompt": "x", "guided_regex": "("}, "guided_regex: regular expression: "),
        ({"prompt": "x", "guided_json": {"type": "strin"}}, "guided_json: schema: "),
        ({"prompt": []}, "prompt"),
        ({"prompt": [1, "x"]}, "prompt"),
        ({}, "prompt: is missing"),
        ([], "must be an object"),
    ],
)
def test_each_mistake_is_named(server, body, says):
    status, answer = server.post(COMPLETIONS, body)
    assert status == 400
    assert says in answer["error"]["message"]
    named = answer["error"]["message"].partition(":")[0].partition(".")[0]
    assert named not in FIELDS or answer["error"]["param"].partition(".")[0] == named


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "king", "content": "x"}]}, "messages.0: "),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages.0.user.content"),
        ({"messages": [{"role": "user"}]}, "messages.0.user.content: is missing"),
        ({"top_logprobs": 3}, "top_logprobs: only with logprobs true"),
        ({"reasoning_effort": "high"}, "reasoning_effort: is not served here, leave it out"),
        ({"tool_choice": "required"}, "tool_choice: required, but there are no tools"),
        ({"response_format": {"type": "json_schema"}}, "json_schema belongs to type json_schema"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": {"type": "x"}},
                }
            },
            "response_format: schema: ",
        ),
        ({"chat_template_kwargs": {"tokenize": True}}, "chat_template_kwargs: tokenize cannot be set"),
    ],
)
def test_each_mistake_of_a_conversation_is_named(server, body, says):
    status, answer = server.post(CHAT, {"messages": [{"role": "user", "content": "hi"}], **body})
    assert status == 400
    assert says in answer["error"]["message"]
    named = answer["error"]["message"].partition(":")[0].partition(".")[0]
    assert named not in FIELDS or answer["error"]["param"].partition(".")[0] == named


def test_a_wrong_model_is_404_and_the_right_one_is_retrieved(server):
    status, answer = server.post(COMPLETIONS, {"prompt": "x", "model": "gpt-4"})
    assert (status, answer["error"]["type"]) == (404, "not_found_error")
    assert server.client.models.retrieve("m").id == "m"
    with pytest.raises(openai.NotFoundError, match="there is no model 'other' here; this is 'm'"):
        server.client.models.retrieve("other")


def test_unknown_paths_and_methods_are_json(server):
    assert server.post("v1/nothing", {})[0] == 404
    status, answer = server.post("v1/models", {})
    assert (status, answer["error"]["message"]) == (405, "POST /v1/models: not with this method")


def test_one_bad_row_does_not_touch_the_others(server, engine):
    """Every malformed body and a tiny temperature while another client streams: its text is that of the library."""
    wanted = generate(engine, ["the cat"], Sampling(max_tokens=120, temperature=0))[0][0].text
    found = []

    def stream():
        chunks = server.client.completions.create(
            model="m", prompt="the cat", max_tokens=120, temperature=0, stream=True
        )
        found.append("".join(chunk.choices[0].text for chunk in chunks))

    client = threading.Thread(target=stream)
    client.start()
    for name in ("float-top-k", "tiny-temperature", "stop-number", "surrogate", "deep", "unknown-option"):
        assert server.post(COMPLETIONS, sent(name))[0] < 500
    impossible = {"prompt": "x", "guided_regex": "(", "max_tokens": 5}
    assert server.post(COMPLETIONS, impossible)[0] == 400
    client.join()
    assert found == [wanted]


def test_a_tiny_temperature_is_greedy(server, engine):
    status, answer = server.post(COMPLETIONS, sent("tiny-temperature"))
    assert status == 200
    wanted = generate(engine, ["x"], Sampling(max_tokens=3, temperature=0))[0][0].text
    assert answer["choices"][0]["text"] == wanted


def test_no_tokens_and_an_echo(server, engine):
    status, answer = server.post(COMPLETIONS, sent("max-tokens-zero-echo"))
    assert (status, answer["usage"]["completion_tokens"]) == (200, 0)
    (choice,) = answer["choices"]
    ids = engine.tokenizer.encode("The cat sat")
    assert (choice["text"], choice["finish_reason"]) == ("The cat sat", "length")
    assert choice["logprobs"]["token_logprobs"][1:] == pytest.approx(engine.logprobs(ids), abs=1e-4)
    assert all(len(top) == 1 for top in choice["logprobs"]["top_logprobs"][1:])


def test_what_the_harness_reads(server, engine):
    body = json.loads(sent("harness-loglikelihood"))
    ids = [id % engine.vocabulary for id in body["prompt"][0]]  # it was written for a larger vocabulary
    status, answer = server.post(COMPLETIONS, {**body, "prompt": [ids]})
    assert status == 200
    found = answer["choices"][0]["logprobs"]
    assert found["token_logprobs"][0] is None
    assert found["top_logprobs"][0] is None
    assert all(found["top_logprobs"][1:])
    for value, top in zip(found["token_logprobs"][1:], found["top_logprobs"][1:], strict=True):
        assert value <= max(top.values())
    assert len(found["tokens"]) == len(ids) + 1


def test_top_log_probabilities_lose_no_entry(server, engine):
    """Parts of characters and tokens of the same text: as many entries as were asked for, and the right bytes."""
    answer = server.client.completions.create(
        model="m", prompt="你好😀", max_tokens=20, temperature=0, logprobs=20, echo=True
    ).choices[0]
    assert all(len(top) == 20 for top in answer.logprobs.top_logprobs[1:])
    prompt = [each for each in answer.logprobs.tokens if each.startswith("bytes:")]
    assert "\ufffd" not in "".join(answer.logprobs.tokens)
    assert prompt
    talk = server.client.chat.completions.create(
        model="m", messages=[{"role": "user", "content": "你好😀"}], max_tokens=40, logprobs=True, seed=5
    ).choices[0]
    data = b"".join(bytes(each.bytes) for each in talk.logprobs.content if each.token != "<|im_end|>")
    assert data.decode("utf-8", "replace").startswith(talk.message.content.rstrip("\ufffd"))


@pytest.mark.parametrize(
    ("name", "rendered"),
    [
        ("content-parts", "user\nHello there<|im_end|>"),
        ("developer-role", "system\nBe brief.<|im_end|>"),
        ("assistant-null", "assistant\n<|im_end|>"),
    ],
)
def test_everyday_conversations(server, engine, name, rendered):
    status, answer = server.post(CHAT, sent(name))
    assert status == 200
    messages = json.loads(sent(name))["messages"]
    plain = [
        {"role": each["role"].replace("developer", "system"), "content": _text(each["content"])}
        for each in messages
    ]
    text = engine.tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=True)
    assert rendered in text
    ids = engine.tokenizer.encode(text, add_special_tokens=False)
    assert answer["usage"]["prompt_tokens"] == len(ids)
    assert answer["choices"][0]["finish_reason"] in ("stop", "length")


def _text(content):
    return content if isinstance(content, str) else "".join(part["text"] for part in content or ())


def test_usage_comes_last_in_a_stream(server):
    chunks = list(
        server.client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "hi"}], max_tokens=3, stream=True,
            stream_options={"include_usage": True},
        )
    )  # fmt: skip
    *others, last = chunks
    assert (last.choices, last.usage.completion_tokens) == ([], 3)
    assert all(chunk.usage is None and chunk.choices for chunk in others)
    assert server.post(CHAT, {**json.loads(sent("stream-usage")), "stream": False})[0] == 400


def test_json_mode_is_served(server):
    status, answer = server.post(CHAT, {**json.loads(sent("json-schema")), "max_tokens": 300, "seed": 1})
    assert status == 200
    choice = answer["choices"][0]
    if choice["finish_reason"] == "stop":
        assert isinstance(json.loads(choice["message"]["content"]), dict)
    assert choice["message"]["content"].startswith("{")


def test_options_of_other_servers_are_served(server):
    status, answer = server.post(COMPLETIONS, sent("unknown-option"))
    assert (status, answer["choices"][0]["finish_reason"]) == (200, "stop")
    assert answer["choices"][0]["text"] in ("a", "b")


def test_stop_token_ids_end_the_text(server, engine):
    whole = generate(engine, ["the cat"], Sampling(max_tokens=9, temperature=0))[0][0]
    end = whole.tokens[4].id
    place = [token.id for token in whole.tokens].index(end)
    body = {"prompt": "the cat", "max_tokens": 9, "temperature": 0, "stop_token_ids": [end]}
    status, answer = server.post(COMPLETIONS, body)
    assert (status, answer["choices"][0]["finish_reason"]) == (200, "stop")
    assert answer["usage"]["completion_tokens"] == place + 1
    assert whole.text.startswith(answer["choices"][0]["text"])


def test_an_echo_in_a_stream_has_the_prompt_and_its_log_probabilities(server):
    settings = {
        "model": "m",
        "prompt": "the cat",
        "max_tokens": 4,
        "temperature": 0,
        "logprobs": 2,
        "echo": True,
    }
    whole = server.client.completions.create(**settings).choices[0]
    chunks = [each.choices[0] for each in server.client.completions.create(**settings, stream=True)]
    assert "".join(chunk.text for chunk in chunks) == whole.text
    joined = {
        name: [value for chunk in chunks for value in getattr(chunk.logprobs, name)]
        for name in ("tokens", "token_logprobs", "text_offset")
    }
    assert (joined["tokens"], joined["text_offset"]) == (whole.logprobs.tokens, whole.logprobs.text_offset)
    assert joined["token_logprobs"][1:] == pytest.approx(whole.logprobs.token_logprobs[1:], abs=1e-4)
    assert "".join(whole.logprobs.tokens) == whole.text


def test_offsets_count_the_special_tokens_that_a_prompt_has_in_writing(server, engine):
    special = engine.tokenizer.all_special_tokens[-1]
    prompt = f"{special}user\nhi{special}\nthe cat"
    body = {"prompt": prompt, "max_tokens": 2, "temperature": 0, "logprobs": 0, "echo": True}
    choice = server.post(COMPLETIONS, body)[1]["choices"][0]
    tokens, offsets = choice["logprobs"]["tokens"], choice["logprobs"]["text_offset"]
    written = [
        (token, at) for token, at in zip(tokens, offsets, strict=True) if not token.startswith("bytes:")
    ]
    assert written
    assert all(choice["text"].startswith(token, at) for token, at in written)


def test_draws_differ_between_requests_and_prompts_unless_a_seed_is_given(server):
    def drawn(**settings):
        body = {"prompt": ["the cat", "the cat"], "max_tokens": 12, "temperature": 1.5, **settings}
        return [each["text"] for each in server.post(COMPLETIONS, body)[1]["choices"]]

    assert len({*drawn(), *drawn()}) == 4
    assert drawn(seed=3) == drawn(seed=3)


@pytest.mark.parametrize("settings", [{}, {"echo": True}])
def test_no_tokens_in_a_stream_have_an_end_too(server, settings):
    stream = server.client.completions.create(
        model="m", prompt="the cat", max_tokens=0, stream=True, **settings
    )
    chunks = [chunk.choices[0] for chunk in stream]
    assert "".join(chunk.text for chunk in chunks) == ("the cat" if settings else "")
    assert chunks[-1].finish_reason == "length"


def test_the_clients_own_parser_of_answers(server):
    """What openai's `parse` makes of a pydantic model is a schema that is served."""

    class Cat(BaseModel):
        name: Literal["Tom", "咪咪"]
        lives: Literal[7, 9]

    answer = server.client.chat.completions.parse(
        model="m",
        messages=[{"role": "user", "content": "a cat"}],
        response_format=Cat,
        max_tokens=80,
        temperature=0,
    )
    assert answer.choices[0].message.parsed.name in ("Tom", "咪咪")
