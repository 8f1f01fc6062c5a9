"""Reading a prompt and making tokens: our engines, llama.cpp and transformers, in turns."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import torch

from shoestring.lm.engines.base import Engine
from shoestring.lm.engines.load import load
from width.checkpoints import VOCABULARY, weights

PROMPT, NEW = 128, 24
THEIR_PROMPT, THEIR_NEW = 8, 4  # once: where the processor has no bf16, a token takes transformers seconds


def read_speed() -> float:
    """GB/s at which all threads together read memory."""
    data, best = torch.ones(1 << 27), 0.0
    for _ in range(4):
        started = time.perf_counter()
        data.sum()
        best = max(best, data.numel() * 4 / 1e9 / (time.perf_counter() - started))
    return best


class Theirs:
    """transformers' own model and cache, in bf16."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModelForCausalLM

        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()

    @torch.inference_mode()
    def run(self, ids: list[int]) -> tuple[float, float]:
        """Returns tokens per second of reading and of making."""
        started = time.perf_counter()
        output = self.model(torch.tensor([ids]), use_cache=True, logits_to_keep=1)
        read = time.perf_counter()
        for _ in range(THEIR_NEW):
            token = output.logits[:, -1:].argmax(-1)
            output = self.model(token, past_key_values=output.past_key_values, use_cache=True)
        return len(ids) / (read - started), THEIR_NEW / (time.perf_counter() - read)


class Ours:
    """One of our engines."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def run(self, ids: list[int]) -> tuple[float, float]:
        """Returns tokens per second of reading and of making."""
        started = time.perf_counter()
        session = self.engine.open([ids])
        read = time.perf_counter()
        for _ in range(NEW):
            session.step([int(session.logits[0].argmax())])
        done = time.perf_counter()
        session.close()
        return len(ids) / (read - started), NEW / (done - read)


def speeds(model: Path, folders: dict[str, Path], rounds: int) -> dict[str, Any]:
    """Returns every engine's speeds; the first round warms up and is not counted."""
    ids = torch.randint(8, VOCABULARY, (PROMPT,), generator=torch.Generator().manual_seed(0)).tolist()
    engines: dict[str, Any] = {"transformers bf16": Theirs(model)}
    size = {"transformers bf16": weights(model)}
    for target, folder in folders.items():
        name = target.replace("gguf-", "llama.cpp ")
        engines[name] = Ours(load(folder, threads=torch.get_num_threads(), device="cpu"))
        size[name] = weights(folder)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in engines}
    roofs = []
    for number in range(rounds + 1):
        roofs.append(read_speed())
        for name, engine in engines.items():
            theirs = isinstance(engine, Theirs)
            if theirs and number != 1:
                continue
            speed = engine.run(ids[: THEIR_PROMPT if theirs or not number else PROMPT])
            found[name] += [speed] if number else []
    roof = statistics.median(roofs)
    rows = {
        name: _row([made for _, made in runs], [read for read, _ in runs], size[name] / 1e9, roof)
        for name, runs in found.items()
    }
    return {"read_gigabytes_per_second": roof, "rounds": rounds, "engines": rows, "ratios": _ratios(rows)}


def _row(made: list[float], read: list[float], gigabytes: float, roof: float) -> dict[str, float]:
    decode = statistics.median(made)
    return {
        "prefill": statistics.median(read), "best_prefill": max(read), "decode": decode, "best_decode": max(made),
        "gigabytes": gigabytes, "share_of_read_speed": decode * gigabytes / roof,
    }  # fmt: skip


def _ratios(rows: dict[str, dict[str, float]]) -> dict[str, float]:
    def over(kind: str, ours: str, theirs: str) -> float:
        return rows[ours][kind] / rows[theirs][kind]

    return {
        "int8 decode over llama.cpp q8_0": over("decode", "int8", "llama.cpp q8_0"),
        "int8 decode over transformers bf16": over("decode", "int8", "transformers bf16"),
        "int4 decode over llama.cpp q4_k_m": over("decode", "int4", "llama.cpp q4_k_m"),
        "int8 prefill over llama.cpp q8_0": over("prefill", "int8", "llama.cpp q8_0"),
        "int4 prefill over llama.cpp q4_k_m": over("prefill", "int4", "llama.cpp q4_k_m"),
    }
