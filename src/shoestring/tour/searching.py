"""Reviews found by meaning: an index of the real encoder, three questions, three hits each."""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path

from shoestring import files
from shoestring.tour import models
from shoestring.tour.stage import Headline, Outcome, Settings

TEXTS = 3000  # of each kind; all would take ten minutes of two cores
QUESTIONS = ("服务员态度不好", "适合孩子读的书", "屏幕有坏点")


def search(settings: Settings, before: dict[str, Outcome]) -> Outcome:
    """Indexes reviews and asks."""
    from shoestring.match import Index, Matcher

    folder = settings.folder / "reviews.index"
    matcher = Matcher(models.encoder(settings.folder / "e5"), "cpu")
    sources = [Path(each) for each in before["text"].facts["files"] if "reviews" in each]
    texts = [text for source in sources for text in islice(files.documents([source]), TEXTS)]
    begun = time.perf_counter()
    index = Index(folder, matcher)
    with settings.ui.bar("embedding", len(texts), "text") as bar:
        index.build(((text, {}) for text in texts), overwrite=True, progress=bar.update)
    built = time.perf_counter() - begun
    rows, literal = [], 0
    begun = time.perf_counter()
    for question in QUESTIONS:
        (hits,) = index.search([question], 3)
        rows += [
            (question if not at else "", f"{hit.score:.3f}", hit.text[:60]) for at, hit in enumerate(hits)
        ]
        literal += sum(question in text for text in texts)
    asked = (time.perf_counter() - begun) / len(QUESTIONS)
    return Outcome(
        f"{len(texts):,} reviews indexed in {built:.0f} s; {1e3 * asked:.0f} ms a question: "
        f"{QUESTIONS[0]} → {rows[0][2]}",
        {"texts": len(texts), "seconds": built, "seconds_per_query": asked, "hits": rows},
        tables=[("The three nearest reviews", ("question", "score", "review"), rows)],
        command="shoestring match index YOUR-TEXTS -o index --model MODEL; "
        "shoestring match search index QUESTION --model MODEL",
        headline=Headline(
            f"reviews found by meaning among {len(texts):,}", f"{QUESTIONS[0]} → {rows[0][2][:24]}…",
            f"reviews that have those very words: {literal} for all three questions",
        ),
    )  # fmt: skip
