"""The page in Chromium, driven by its own debugging protocol: a conversation and a text two languages."""

import asyncio
import json
import shutil
import subprocess
import urllib.request
from contextlib import contextmanager

import pytest
import tornado.websocket

from shoestring.lm.engines.load import load
from shoestring.lm.generation.generation import generate
from shoestring.lm.generation.sampling import Sampling
from shoestring.lm.serve.server import PAGES

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")


@pytest.fixture
def server(chat_server):
    return chat_server


@contextmanager
def browser(folder, url, language):
    """Opens a page and yields the port of its debugger."""
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}",
        f"--accept-lang={language}", f"--lang={language}", "--remote-debugging-port=0", url,
    ]  # fmt: skip
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={"LANGUAGE": language, "HOME": str(folder)}
    ) as found:
        try:
            line = next(line for line in found.stderr if "DevTools listening" in line)
            yield int(line.split(":")[2].split("/")[0])
        finally:
            found.terminate()


async def page(port, *steps):
    """Runs scripts in the page, each once the one before has become true, and returns what the last one gives."""
    for _ in range(100):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=30) as reply:
            pages = [each for each in json.loads(reply.read()) if each["type"] == "page"]
        if pages:
            break
        await asyncio.sleep(0.1)
    connection = await tornado.websocket.websocket_connect(pages[0]["webSocketDebuggerUrl"])
    for number, step in enumerate(steps):
        for turn in range(300):
            message = {
                "id": number * 1000 + turn,
                "method": "Runtime.evaluate",
                "params": {"expression": step},
            }
            await connection.write_message(json.dumps(message))
            found = json.loads(await connection.read_message())["result"]["result"].get("value")
            if found:
                break
            await asyncio.sleep(0.1)
        else:
            pytest.fail(f"the page never came to: {step}")
    return found


READY = "document.body?.dataset.ready"
DONE = "document.body.dataset.done"
WHOLE = "document.documentElement.outerHTML"


def send(text):
    settings = "$('temperature').value = 0; $('max_tokens').value = 12"
    return f"{settings}; $('said').value = {json.dumps(text)}; $('send').click(); true"


@pytest.mark.parametrize(("language", "words"), [("en-US", ["Chat", "Send"]), ("zh-CN", ["对话", "发送"])])
def test_a_conversation(server, chat_folder, tmp_path, language, words):
    engine = load(chat_folder)
    messages = [{"role": "user", "content": "the cat"}]
    for _ in range(2):
        text = engine.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        ids = engine.texts.encode_chat(text)
        answer = generate(engine, [ids], Sampling(max_tokens=12, temperature=0))[0][0].text
        messages += [{"role": "assistant", "content": answer}, {"role": "user", "content": "and?"}]
    talk = "JSON.stringify([...document.querySelectorAll('.message')].map(each => each.textContent))"
    with browser(tmp_path, server.url, language) as port:
        shown = asyncio.run(page(port, READY, send("the cat"), DONE, send("and?"), DONE, talk))
        labels = asyncio.run(page(port, "[$('tab-chat'), $('send')].map(each => each.textContent).join()"))
    assert json.loads(shown) == [each["content"] for each in messages[:4]]
    assert labels.split(",") == words


def test_a_text_is_continued_when_it_is_asked_for(server, tmp_path):
    with browser(tmp_path, f"{server.url}#the%20cat", "en-US") as port:
        before = asyncio.run(page(port, READY, WHOLE))
        after = asyncio.run(page(port, "$('go').click(); true", DONE, WHOLE))
    assert '<pre id="out"></pre>' in before  # a link does not make the machine work
    assert '<pre id="out">the cat<b>' in after
    assert "capital: common sense" in after


def test_an_error_is_shown_and_nothing_is_lost(server, tmp_path):
    wrong = "$('max_tokens').value = -5; $('said').value = 'hi'; $('send').click(); true"
    shown = "$('state').className === 'error' && $('said').value === 'hi' && $('state').textContent"
    with browser(tmp_path, server.url, "en-US") as port:
        assert "max_tokens: -5 must be" in asyncio.run(page(port, READY, wrong, shown))


def test_the_description_page(server, tmp_path):
    with browser(tmp_path, f"{server.url}docs", "en-US") as port:
        shown = asyncio.run(
            page(port, "document.querySelectorAll('h2').length >= 7 && document.body.textContent")
        )
    assert "POST /v1/chat/completions" in shown
    assert "presence_penalty" in shown


def test_nothing_is_loaded_from_elsewhere():
    for path in PAGES.glob("*.html"):
        assert "http" not in path.read_text("utf-8"), path
