"""Documents found by meaning: an index of the real encoder, three questions, three hits each."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from shoestring import files
from shoestring.tour import models
from shoestring.tour.stage import Headline, Outcome, Settings

SHARE = 0.6  # of the tour's minutes, 133 s: about enough for all reviews where the processor multiplies bf16
QUESTIONS = ("服务员态度不好", "适合孩子读的书", "屏幕有坏点")


def search(settings: Settings, before: dict[str, Outcome]) -> Outcome:
    """Indexes the tour's documents, each once, reviews first, until the time is up; and asks."""
    from shoestring.match import Index, Matcher

    folder = settings.folder / "reviews.index"
    matcher = Matcher(models.encoder(settings.folder / "e5"), "cpu", precision="auto")
    texts = reviews_first(before["text"].facts["files"], settings.seed)
    begun = time.perf_counter()
    index = Index(folder, matcher, anew=True)
    with settings.ui.bar("embedding", len(texts), "text") as bar:
        index.build(within(60 * SHARE * settings.minutes, texts), overwrite=True, progress=bar.update)
    built = time.perf_counter() - begun
    share = "all" if len(index) == len(texts) else f"{len(index):,} of"
    rows, literal = [], 0
    begun = time.perf_counter()
    for question in QUESTIONS:
        (hits,) = index.search([question], 3)
        rows += [
            (question if not at else "", f"{hit.score:.3f}", hit.text[:60]) for at, hit in enumerate(hits)
        ]
        literal += sum(question in text for text in texts[: len(index)])
    asked = (time.perf_counter() - begun) / len(QUESTIONS)
    return Outcome(
        f"{share} {len(texts):,} different documents indexed, reviews first, in {built:.0f} s, in {matcher.precision}; "
        f"{1e3 * asked:.0f} ms a question: {QUESTIONS[0]} → {rows[0][2]}",
        {
            "texts": len(index), "of": len(texts), "precision": matcher.precision, "seconds": built,
            "seconds_per_query": asked, "hits": rows,
        },
        tables=[("The three nearest documents", ("question", "score", "document"), rows)],
        command="shoestring match index YOUR-TEXTS -o index --model MODEL; "
        "shoestring match search index QUESTION --model MODEL",
        headline=Headline(
            f"found by meaning among {len(index):,} documents", f"{QUESTIONS[0]} → {rows[0][2][:24]}…",
            f"documents that have those very words: {literal} for all three questions",
        ),
    )  # fmt: skip


def reviews_first(sources: Sequence[str], seed: int) -> list[str]:
    """Returns every document once: the reviews in random order, then the others."""
    rng, texts = random.Random(seed), []
    for reviews in (True, False):
        part = [each for each in sources if ("reviews" in Path(each).name) == reviews]
        some = list(dict.fromkeys(files.documents(part)))
        rng.shuffle(some)
        texts += some
    return list(dict.fromkeys(texts))


def within(seconds: float, texts: Iterable[str]) -> Iterator[tuple[str, dict]]:
    """Yields documents for an index until the time is up."""
    end = time.perf_counter() + seconds
    for text in texts:
        if time.perf_counter() > end:
            return
        yield text, {}
