"""Thirty clients for a minute: readers that dawdle, hang up and send nonsense, then 500 further requests.

No error that was not asked for, every greedy answer that of the library alone, and memory that stays where it was.
The clients are the openai package's.
"""

import asyncio
import random
import time

import openai
import psutil
import pytest

from lm.serving import running
from shoestring.lm.engines.load import load
from shoestring.lm.generation.generation import generate
from shoestring.lm.generation.sampling import Sampling

CLIENTS, SECONDS, FURTHER = 30, 60, 500
TOKENS = 24
PROMPTS = ["the cat " * (1 + number) + "and" for number in range(24)]
SETTINGS = {"model": "talker", "max_tokens": TOKENS, "temperature": 0}


async def whole(client, prompt):
    return (await client.completions.create(prompt=prompt, **SETTINGS)).choices[0].text


async def streamed(client, prompt, pause=0.0):
    text = ""
    async for chunk in await client.completions.create(prompt=prompt, stream=True, **SETTINGS):
        text += chunk.choices[0].text
        await asyncio.sleep(pause)
    return text


async def hung_up(client, prompt):
    stream = await client.completions.create(prompt=prompt, stream=True, **SETTINGS)
    async for _ in stream:
        break
    await stream.close()


async def refused(client, prompt):
    with pytest.raises(openai.BadRequestError):
        await client.completions.create(prompt=prompt, **{**SETTINGS, "max_tokens": -1})


async def asked(client, wanted, draw):
    """Asks in one of five ways and checks the answer; returns 1 if a whole answer came."""
    prompt, way = draw.choice(PROMPTS), draw.randrange(6)
    if way == 4:
        await hung_up(client, prompt)
        return 0
    if way == 5:
        await refused(client, prompt)
        return 0
    pause = 0.05 if way == 3 else 0.0
    text = await (streamed(client, prompt, pause) if way >= 2 else whole(client, prompt))
    assert text == wanted[prompt]
    return 1


async def load_for(url, wanted, seconds=None, requests=None):
    """Returns how many whole answers came: for so long, or of so many requests."""
    left, end, count = requests, time.monotonic() + (seconds or 0), 0
    async with openai.AsyncOpenAI(base_url=f"{url}v1", api_key="k", max_retries=0, timeout=120) as client:

        async def one(number):
            nonlocal left, count
            draw = random.Random(number)
            while (left is None and time.monotonic() < end) or (left is not None and left > 0):
                left = None if left is None else left - 1
                came = await asked(client, wanted, draw)  # others count meanwhile
                count += came

        await asyncio.gather(*map(one, range(CLIENTS)))
    return count


@pytest.mark.slow
def test_thirty_clients_for_a_minute(chat_folder):
    engine = load(chat_folder)
    greedy = Sampling(max_tokens=TOKENS, temperature=0)
    wanted = {prompt: generate(engine, [prompt], greedy)[0][0].text for prompt in PROMPTS}
    with running(chat_folder, "--device", "cpu", "--threads", "1", "--cache-mb", "4") as server:
        process = psutil.Process(server.process.pid)
        asyncio.run(load_for(server.url, wanted, requests=200))  # warms up
        before = process.memory_info().rss
        answers = asyncio.run(load_for(server.url, wanted, seconds=SECONDS))
        further = asyncio.run(load_for(server.url, wanted, requests=FURTHER))
        after = process.memory_info().rss
        assert server.counted("cache_bytes") <= 4 << 20
        for _ in range(100):
            if server.counted("running") == 0:
                break
            time.sleep(0.1)
        assert server.counted("running") == server.counted("waiting") == 0
    print(
        f"{answers} whole answers in {SECONDS} s, {further} further; memory {before >> 20} -> {after >> 20} MB"
    )
    assert answers > CLIENTS
    assert after < before * 1.1 + (20 << 20)
