"""A real decoder, SmolLM2-135M-Instruct: what each precision costs, few-shot judgement, choosing, a conversation."""

from __future__ import annotations

import random
import time
from itertools import islice
from math import sqrt
from pathlib import Path
from pydoc_data.topics import (
    topics,  # the reference of Python's language: English prose that comes with Python
)
from typing import TYPE_CHECKING, Any

from shoestring import files
from shoestring.tour import models
from shoestring.tour.stage import Outcome, Settings

if TYPE_CHECKING:
    from shoestring.lm.engines.base import Engine

PARAGRAPHS, PARAGRAPH = 6, 1200  # characters of English prose that perplexity is measured on
PRECISIONS = ("fp32", "int8", "int4")
SHOTS, ASKED = 2, 30  # reviews of each label
QUESTION = "Give one tip for reading a long book."
# Written for this tour; they show that it works and are no benchmark.
ENGLISH = {
    "good": (
        "The staff were kind and the room was spotless.", "A moving story, beautifully told.",
        "Fast, quiet and worth every cent.", "We laughed all evening and want to see it again.",
        "Best breakfast I have had in years.", "The battery lasts for days and the screen is superb.",
        "I could not put this book down.", "Lovely place, we will come back next summer.",
        "It arrived early and works perfectly.", "Great acting and a clever ending.",
    ),
    "bad": (
        "The room smelled and nobody answered the phone.", "A dull plot and wooden dialogue.",
        "It broke after two days and they refused a refund.", "We left before the end, what a waste of time.",
        "Cold food, slow service, dirty tables.", "The battery dies within an hour.",
        "I regret buying this book.", "Noisy, overpriced and far from everything.",
        "It never worked and support was useless.", "Poor acting and an ending that makes no sense.",
    ),
}  # fmt: skip


def decoder(settings: Settings, before: dict[str, Outcome]) -> Outcome:
    """Reads the model and asks it."""
    from shoestring.lm import load, perplexity

    folder = models.decoder(settings.folder / "smollm2")
    prose = _prose()
    rows, engine = [], None
    for precision in PRECISIONS:
        engine = load(folder, precision=precision, device="cpu")
        begun = time.perf_counter()
        cost = perplexity(engine, settings.ui.track(prose, f"perplexity, {precision}", unit="paragraph"))
        seconds = time.perf_counter() - begun
        rows.append(
            (precision, round(cost.per_token, 2), _more(cost.per_token, rows), round(cost.tokens / seconds))
        )
    engine = load(folder, precision="fp32", device="cpu")
    judged = [_english(engine), _chinese(engine, before, settings)]
    choosing = _choosing(engine)
    answer = _chat(engine)
    return Outcome(
        f"perplexity {rows[0][1]} in fp32, {rows[1][1]} in int8 ({rows[1][2]}), {rows[2][1]} in int4 ({rows[2][2]}); "
        f"English reviews: {judged[0][1]} right; to a question: {answer!r}",
        {"folder": str(folder), "precisions": rows, "judged": judged, "choosing": choosing, "answer": answer},
        tables=[
            (f"{PARAGRAPHS} paragraphs of English prose", ("precision", "perplexity", "dearer", "tokens/s read"), rows),
            (
                f"Reviews judged after {2 * SHOTS} examples by choosing among the labels",
                ("reviews", "right", "95 % interval", "always the same answer"), judged,
            ),
            ("Choosing among ten candidates after the shots", ("way", "seconds"), choosing),
            ("A conversation", ("you", "SmolLM2"), [(QUESTION, answer)]),
        ],
        command="shoestring lm chat MODEL; shoestring lm eval MODEL YOUR-TEXT; "
        "shoestring lm fewshot MODEL SHOTS.tsv --test T.tsv",
    )  # fmt: skip


def _prose() -> list[str]:
    long = sorted(text for text in topics.values() if len(text) > 2 * PARAGRAPH)
    return [text[PARAGRAPH : 2 * PARAGRAPH] for text in long[:: max(1, len(long) // PARAGRAPHS)][:PARAGRAPHS]]


def _more(value: float, rows: list[Any]) -> str:
    return f"{value / rows[0][1] - 1:+.1%}" if rows else "-"


def _english(engine: Engine) -> tuple[object, ...]:
    shots = [(text, label) for label, texts in ENGLISH.items() for text in texts[:SHOTS]]
    asked = [(text, label) for label, texts in ENGLISH.items() for text in texts[SHOTS:]]
    return _judged(
        engine, "English, written for this tour", "Review: {input}\nSentiment: {output}\n\n", shots, asked
    )


def _chinese(engine: Engine, before: dict[str, Outcome], settings: Settings) -> tuple[object, ...]:
    folder, draw = Path(before["text"].facts["files"][0]).parent, random.Random(settings.seed)
    shots, asked = [], []
    for label, name in (("good", "good-reviews"), ("bad", "bad-reviews")):
        fitting = [
            text for text in islice(files.documents([folder / f"{name}.txt"]), 4000) if 10 <= len(text) < 40
        ]
        chosen = draw.sample(fitting, SHOTS + ASKED)
        shots += [(text, label) for text in chosen[:SHOTS]]
        asked += [(text, label) for text in chosen[SHOTS:]]
    return _judged(engine, "Chinese, real", "评论：{input}\nSentiment: {output}\n\n", shots, asked)


def _judged(
    engine: Engine, name: str, form: str, shots: list[tuple[str, str]], asked: list[tuple[str, str]]
) -> tuple[object, ...]:
    from shoestring.lm.fewshot.choosing import FewShot
    from shoestring.lm.fewshot.evaluate import accuracy, predictions
    from shoestring.lm.fewshot.template import Template

    random.Random(0).shuffle(shots)
    task = FewShot(
        engine, Template("review", form.strip("\n")), shots, ["bad", "good"], "likelihood", calibrate=True
    )
    found = accuracy(list(predictions(task, asked)))
    share, count = float(found["accuracy"]), len(asked)
    low, high = _wilson(share, count)
    return f"{count} {name}", f"{share:.0%}", f"{low:.0%} to {high:.0%}", f"{found['majority']:.0%}"


def _wilson(share: float, count: int) -> tuple[float, float]:
    """Returns Wilson's 95 % interval of a share."""
    z = 1.96
    middle, width = (
        share + z * z / (2 * count),
        z * sqrt(share * (1 - share) / count + z * z / (4 * count * count)),
    )
    return (middle - width) / (1 + z * z / count), (middle + width) / (1 + z * z / count)


def _choosing(engine: Engine) -> list[tuple[str, float]]:
    """Times ten candidates on a shared prefix, and with a forward pass each."""
    from shoestring.lm import choose

    prompt = (
        "\n".join(f"{text} It is {label}." for label, texts in ENGLISH.items() for text in texts) + "\nIt is"
    )
    words = [" good", " bad", " fine", " poor", " great", " awful", " nice", " sad", " fast", " slow"]
    begun = time.perf_counter()
    choose(engine, prompt, words)
    together = time.perf_counter() - begun
    begun = time.perf_counter()
    for word in words[:3]:
        engine.logprobs(engine.tokenizer.encode(prompt + word))
    each = (time.perf_counter() - begun) / 3 * len(words)
    return [
        ("the shots read once for all", round(together, 2)),
        ("a forward pass each (three timed)", round(each, 2)),
    ]


def _chat(engine: Engine) -> str:
    from shoestring.lm import Sampling, generate

    asked = [{"role": "user", "content": QUESTION}]
    prompt = engine.tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    return generate(engine, [prompt], Sampling(temperature=0, max_tokens=40))[0][0].text.strip()
