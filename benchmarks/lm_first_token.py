"""How long eight clients wait for their first token while a ninth is being answered, and how long that one is held up.

    python benchmarks/lm_first_token.py              a random model of SmolLM2-135M's shape; 8, 32 and 128 tokens
    ... --before FOLDER                              another checkout's src beside this one, alternately in one run

The real server and the openai package over loopback. Written to benchmarks/results/lm_first_token.json.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RESULT = Path(__file__).with_name("results") / "lm_first_token.json"
HERE = Path(__file__).resolve().parents[1] / "src"
CLIENTS, ROUNDS, LENGTHS = 8, 2, (8, 32, 128)


def model(folder: Path) -> Path:
    """Saves a Llama of SmolLM2-135M's shape with random weights and a tokenizer of numbers."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    size = 2048
    config = LlamaConfig(
        vocab_size=size, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
        num_key_value_heads=3, max_position_embeddings=2048, tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    words = Tokenizer(models.WordLevel({f"w{number}": number for number in range(size)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0").save_pretrained(folder)
    return folder


def measured(folder: Path, source: Path, threads: int) -> dict[str, Any]:
    """Returns seconds by the prompts' length."""
    command = [sys.executable, "-m", "shoestring", "lm", "serve", str(folder), "--port", "0", "--device", "cpu",
               "--batch", "16", "--threads", str(threads)]  # fmt: skip
    settings = {**os.environ, "PYTHONPATH": str(source)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=settings) as running:
        try:
            assert running.stderr is not None
            url = next(line.split()[0] for line in running.stderr if line.startswith("http://"))
            asyncio.run(_round(url, folder.name, 8, 0))  # warms up
            return {str(length): asyncio.run(_rounds(url, folder.name, length)) for length in LENGTHS}
        finally:
            running.terminate()


async def _rounds(url: str, name: str, length: int) -> dict[str, Any]:
    found = [await _round(url, name, length, number + 1) for number in range(ROUNDS)]
    first = sorted(value for waits, _ in found for value in waits)
    return {
        "first_token_median": statistics.median(first), "first_token_last": max(first),
        "longest_gap_of_the_running_client": statistics.median(gap for _, gap in found),
    }  # fmt: skip


async def _round(url: str, name: str, length: int, seed: int) -> tuple[list[float], float]:
    import openai

    draw = random.Random(seed * 1000 + length)
    prompts = [[draw.randrange(1, 2048) for _ in range(length)] for _ in range(CLIENTS)]
    async with openai.AsyncOpenAI(base_url=f"{url}v1", api_key="k", max_retries=0) as client:
        ask = client.completions.create

        async def first(prompt: list[int]) -> float:
            started, waited = time.perf_counter(), []
            async for _ in await ask(model=name, prompt=prompt, max_tokens=4, stream=True, logprobs=0):
                waited.append(time.perf_counter() - started)
            return waited[0]

        stream = await ask(model=name, prompt=[1, 2, 3], max_tokens=400, stream=True, logprobs=0)
        times: list[float] = []

        async def watch() -> None:
            async for _ in stream:
                times.append(time.perf_counter())

        watching = asyncio.ensure_future(watch())
        while len(times) < 10:
            await asyncio.sleep(0.01)
        waits = await asyncio.gather(*map(first, prompts))
        end = time.perf_counter()
        watching.cancel()
        await stream.close()
    within = [each for each in times if each <= end]
    return list(waits), max(after - before for before, after in itertools.pairwise(within))


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--before", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    sources = {"now": HERE, **({"before": given.before} if given.before else {})}
    with tempfile.TemporaryDirectory() as work:
        folder = model(Path(work) / "random")
        runs: dict[str, list[Any]] = {name: [] for name in sources}
        load = round(os.getloadavg()[0], 2)  # of the machine, before the run
        for _ in range(1):
            for name, source in sources.items():
                runs[name].append(measured(folder, source, given.threads))
    best = {name: {length: min((run[length] for run in each), key=lambda run: run["first_token_median"])
                   for length in map(str, LENGTHS)} for name, each in runs.items()}  # fmt: skip
    RESULT.write_text(
        json.dumps(
            {"clients": CLIENTS, "rounds": ROUNDS, "threads": given.threads, "load_before": load, **best},
            indent=1,
        )
        + "\n"
    )
    print(json.dumps(best, indent=1))


if __name__ == "__main__":
    main()
