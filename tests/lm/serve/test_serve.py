"""The server, asked by the real OpenAI client: the same text as the library, streams, limits, clients that go."""

import http.client
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from urllib.parse import urlsplit

import openai
import pytest

from lm.serving import Running
from shoestring.lm.engines.load import load
from shoestring.lm.generation.generation import generate
from shoestring.lm.generation.sampling import Sampling
from shoestring.lm.serve.conversation import as_dialogue
from shoestring.lm.serve.requests import Full, Limits, Request
from shoestring.lm.serve.scheduler import Scheduler

PROMPT = "美国的首都是华盛顿\n中国的首都是"


@pytest.fixture(scope="module")
def server(folder):
    running = Running(folder, "--batch", "4", "--queue", "8")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def engine(folder):
    return load(folder)


def complete(server, prompt=PROMPT, **settings):
    return server.client.completions.create(model="tiny", prompt=prompt, **settings)


def test_the_answer_is_the_librarys(server, engine):
    sampling = Sampling(max_tokens=10, temperature=0.7, top_p=0.9, seed=3)
    wanted = generate(engine, [PROMPT, "今天"], sampling, samples=2)
    found = complete(server, [PROMPT, "今天"], max_tokens=10, temperature=0.7, top_p=0.9, seed=3, n=2)
    assert [each.text for each in found.choices] == [sample.text for row in wanted for sample in row]
    assert found.usage.completion_tokens == 40


def test_a_stream_joins_to_the_answer(server):
    whole = complete(server, max_tokens=12, temperature=0).choices[0]
    chunks = list(complete(server, max_tokens=12, temperature=0, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.text
    assert [chunk.choices[0].finish_reason for chunk in chunks][-1] == whole.finish_reason == "length"


def test_stop_echo_and_log_probabilities(server, engine):
    text = complete(server, max_tokens=10, temperature=0).choices[0].text
    stopped = complete(server, max_tokens=10, temperature=0, stop=[text[3:5]]).choices[0]
    assert (stopped.text, stopped.finish_reason) == (text[: text.index(text[3:5])], "stop")
    echoed = complete(server, max_tokens=2, temperature=0, echo=True, logprobs=2).choices[0]
    assert echoed.text.startswith(PROMPT)
    ids = engine.tokenizer.encode(PROMPT)
    assert echoed.logprobs.token_logprobs[0] is None
    assert echoed.logprobs.token_logprobs[1 : len(ids)] == pytest.approx(engine.logprobs(ids), abs=1e-4)
    assert len(echoed.logprobs.tokens) == len(ids) + 2
    assert len(echoed.logprobs.top_logprobs[-1]) == 2


def test_chat(server, engine):
    messages = [{"role": "system", "content": "对话"}, {"role": "user", "content": "你好"}]
    text, stop = as_dialogue(messages)
    assert text == "对话\n甲：你好\n乙："
    wanted = generate(engine, [text], Sampling(max_tokens=8, temperature=0, stop=stop))[0][0].text
    ask = server.client.chat.completions.create
    found = ask(model="tiny", messages=messages, max_tokens=8, temperature=0, logprobs=True, top_logprobs=2)
    assert found.choices[0].message.content == wanted
    assert len(found.choices[0].logprobs.content[0].top_logprobs) == 2
    chunks = ask(model="tiny", messages=messages, max_tokens=8, temperature=0, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == wanted


def test_models_health_metrics_choose(server):
    assert [model.id for model in server.client.models.list()] == ["tiny"]
    assert json.loads(server.get("healthz"))["status"] == "ok"
    assert "shoestring_generated_tokens_total" in server.get("metrics")
    request = urllib.request.Request(
        server.url + "v1/choose", json.dumps({"prompt": PROMPT, "candidates": ["北京", "上海"]}).encode()
    )
    found = json.loads(urllib.request.urlopen(request, timeout=60).read())
    assert found["best"] in ("北京", "上海")


def test_prompts_that_begin_alike_share_their_keys(server, engine):
    shots = "".join(f"第{number}天是好天气\n" for number in range(6))
    first = complete(server, shots + "今天", max_tokens=4, temperature=0).choices[0].text
    before = server.counted("reused_tokens_total")
    second = complete(server, shots + "明天", max_tokens=4, temperature=0).choices[0].text
    assert server.counted("reused_tokens_total") - before > 30
    sampling = Sampling(max_tokens=4, temperature=0)
    assert [first, second] == [
        row[0].text for row in generate(engine, [shots + "今天", shots + "明天"], sampling)
    ]


def test_many_clients_get_what_each_would_alone(server, engine):
    found: dict[int, str] = {}

    def ask(seed):
        found[seed] = complete(server, f"第{seed}天", max_tokens=6, seed=seed).choices[0].text

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, text in found.items():
        assert text == generate(engine, [f"第{seed}天"], Sampling(max_tokens=6, seed=seed))[0][0].text
    assert len(found) == 8


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"max_tokens": -1}, "max_tokens: -1 must be greater than or equal to 0"),
        ({"temperature": 1000}, "temperature: 1000 must be less than or equal to 100"),
        ({"n": 99}, "n: 99 must be a whole number from 1 to 4"),
        ({"suffix": "x"}, "suffix: is not served here"),
        ({"prompt": ""}, "the prompt is empty"),
        ({"prompt": [[30_000]]}, "token ids below the vocabulary's size"),
        ({"prompt": "中国" * 300}, "300 tokens, 173 more than the model's 127 positions"),
    ],
)
def test_bad_requests_are_400(server, settings, says):
    with pytest.raises(openai.BadRequestError, match=says):
        complete(server, **{"prompt": PROMPT, **settings})


def test_bodies_that_are_too_large_or_no_json(server):
    for body, code in ((b"{" + b" " * (1 << 21), 413), (b" " * (30 << 20), 413), (b"{", 400), (b"[]", 400)):
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(urllib.request.Request(server.url + "v1/completions", body), timeout=60)
        assert error.value.code == code


def wait_until_idle(server):
    for _ in range(1200):
        if json.loads(server.get("healthz"))["running"] == 0:
            return
        time.sleep(0.05)
    pytest.fail("rows are still running")


def test_an_idle_connection_outlives_what_clients_keep_of_theirs(server):
    """httpx, under the openai package, asks again on one that was idle for up to 5 seconds."""
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=60)
    for pause in (0, 6):
        time.sleep(pause)
        connection.request("GET", "/health")
        assert connection.getresponse().read()
    connection.close()


def test_clients_that_go_free_their_rows(server):
    for _ in range(3):
        stream = complete(server, max_tokens=110, stream=True, seed=1)
        assert next(iter(stream)).choices
        stream.close()
    address = server.url.removeprefix("http://").strip("/").split(":")
    body = json.dumps({"prompt": PROMPT, "max_tokens": 110, "stream": True, "seed": 1}).encode()
    silent = socket.create_connection((address[0], int(address[1])))
    silent.sendall(
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    )
    wait_until_idle(server)  # although the last one never reads
    assert server.counted("cancelled_total") >= 3
    assert complete(server, max_tokens=2, seed=1).choices[0].text
    silent.close()


def test_a_full_queue_is_429_and_all_or_none(engine):
    scheduler = Scheduler(engine, Limits(batch=1, queue=2))
    block = threading.Event()
    scheduler.call(block.wait)
    done = []
    requests = [Request([9], Sampling(max_tokens=1), 1, done.append) for _ in range(3)]
    scheduler.submit(requests[:2])
    with pytest.raises(Full, match="2 requests are waiting already"):
        scheduler.submit(requests[2:])
    block.set()
    scheduler.close()
    assert done.count(None) == 2


def test_an_api_key_is_asked_for(folder):
    running = Running(folder, "--api-key", "secret")
    try:
        with pytest.raises(openai.AuthenticationError, match="wrong or missing API key"):
            complete(running)
        right = openai.OpenAI(base_url=f"{running.url}v1", api_key="secret")
        assert right.completions.create(model="tiny", prompt=PROMPT, max_tokens=1).choices
    finally:
        assert running.stop() in (0, -15, 143)


def test_a_port_that_is_taken(folder, shoestring):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = shoestring("lm", "serve", folder, "--port", taken.getsockname()[1])
    assert done.returncode == 1
    assert "Address already in use; choose another port, such as --port 0" in done.stderr
