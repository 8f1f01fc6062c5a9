"""The real server: one streaming client, then eight at once, some of whom hang up in the middle."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import torch

from width.checkpoints import WORDS


def serving(folder: Path, seconds: float) -> dict[str, Any]:
    """Returns tokens per second of one client and of eight, and what went wrong."""
    command = [sys.executable, "-m", "shoestring", "lm", "serve", str(folder), "--port", "0", "--name", "m",
               "--device", "cpu", "--threads", str(torch.get_num_threads())]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        try:
            assert running.stderr is not None
            url = next(line.split()[0] for line in running.stderr if line.startswith("http://"))
            errors: list[str] = []
            _tokens_per_second(url, 1, 3, errors)  # warms up
            one = _tokens_per_second(url, 1, seconds, errors)
            eight = _tokens_per_second(url, 8, seconds, errors)
            left = _rows_left_by_killed_clients(url)
        finally:
            running.terminate()
    return {
        "seconds": seconds, "one": one, "eight": eight, "times": eight / one, "errors": errors,
        "seconds_until_killed_clients_are_gone": left,
    }  # fmt: skip


def _client(url: str) -> Any:
    import openai

    return openai.OpenAI(base_url=f"{url}v1", api_key="k", max_retries=0)


def _tokens_per_second(url: str, clients: int, seconds: float, errors: list[str]) -> float:
    client, counts = _client(url), [0] * clients
    started = time.perf_counter()

    def ask(index: int) -> None:
        try:
            while time.perf_counter() < started + seconds:
                prompt = "今天天气" + WORDS[index] + WORDS[counts[index] % 15]
                for _ in client.completions.create(
                    model="m", prompt=prompt, max_tokens=32, seed=index, stream=True, logprobs=1
                ):
                    counts[index] += 1
        except Exception as error:  # counted, not hidden
            errors.append(repr(error))

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - started)


def _rows_left_by_killed_clients(url: str) -> float:
    """Eight clients hang up after the first token; returns the seconds until no row runs for them."""
    for index in range(8):
        stream = _client(url).completions.create(model="m", prompt=WORDS[index], max_tokens=900, stream=True)
        next(iter(stream))
        stream.close()
    started = time.perf_counter()
    while b'"running":0' not in urllib.request.urlopen(url + "healthz").read().replace(b" ", b""):
        if time.perf_counter() - started > 60:
            raise RuntimeError("rows of killed clients are still running after a minute")
        time.sleep(0.02)
    return time.perf_counter() - started
