"""Choice among 10 candidates after 300 tokens of shots: one whole forward pass for each, beside the shared cache."""

from __future__ import annotations

import time
from typing import Any

import torch

from shoestring.lm.engines.base import Engine
from shoestring.lm.fewshot.choosing import FewShot
from shoestring.lm.fewshot.template import Template
from width.checkpoints import WORDS

TEMPLATE = Template("words", "{input}主题：{output}")
QUERIES = [
    "北京的历史和文化很美丽", "人民的生活和工作", "城市经济发展", "今天我们学习历史", "中国的城市很美丽", "天气和生活",
    "我们的工作", "北京的今天", "文化的发展", "人民学习经济",
]  # fmt: skip


def choice(engine: Engine, naive_queries: int) -> dict[str, Any]:
    """Returns seconds a query: all queries on the shared cache, the first few by the naive loop too."""
    candidates = [WORDS[n] + WORDS[n + 1] for n in range(10)]
    started = time.perf_counter()
    task = FewShot(engine, TEMPLATE, _shots(), candidates, "likelihood")
    shots_seconds = time.perf_counter() - started
    task.choose(QUERIES[-1])
    started = time.perf_counter()
    ours = [task.choose(query).logprobs for query in QUERIES]
    seconds = (time.perf_counter() - started) / len(QUERIES)
    started, differences = time.perf_counter(), []
    for query, found in zip(QUERIES[:naive_queries], ours, strict=False):
        wanted = _naive(engine, TEMPLATE.prompt(query, _shots()), candidates)
        differences += [abs(a - b) for a, b in zip(wanted, found, strict=True)]
    naive = (time.perf_counter() - started) / naive_queries
    with_shots = seconds + shots_seconds / len(QUERIES)
    return {
        "shot_tokens": len(engine.tokenizer.encode(TEMPLATE.prefix(_shots()))), "candidates": len(candidates),
        "queries": len(QUERIES), "naive_queries": naive_queries, "shots_seconds": shots_seconds,
        "seconds": seconds, "naive_seconds": naive, "times": naive / seconds, "times_with_shots": naive / with_shots,
        "largest_difference": max(differences),
    }  # fmt: skip


def _shots() -> list[tuple[str, str]]:
    return [
        ("".join(WORDS[k % 15] + WORDS[(k * 7 + 3) % 15] for k in range(n, n + 6)), WORDS[n % 15])
        for n in range(18)
    ]


@torch.inference_mode()
def _naive(engine: Any, prompt: str, candidates: list[str]) -> list[float]:
    encode, scores = engine.tokenizer.encode, []
    first = len(encode(prompt)) - 1
    for candidate in candidates:
        ids = torch.tensor(encode(prompt + candidate))
        chances = engine.model(ids[None]).logits[0, first:-1].double().log_softmax(-1)
        scores.append(float(chances.gather(1, ids[first + 1 :, None]).sum()))
    return scores
