"""Words counted, with the naive loop beside: `collections.Counter` over `jieba.cut`, on a slice, in the same run."""

from __future__ import annotations

import time
from collections import Counter
from itertools import islice

from shoestring import files, plot
from shoestring.tour.stage import Headline, Outcome, Settings

SLICE = 300_000  # characters for the naive loop
SHOWN = 20


def count(settings: Settings, before: dict[str, Outcome]) -> Outcome:
    """Counts the words of the whole text, and of a slice of it naively."""
    from shoestring.count import count_words
    from shoestring.count.analysis import laws

    sources = before["text"].facts["files"]
    begun = time.process_time()
    table = count_words(sources)
    ours = before["text"].facts["bytes"] / (time.process_time() - begun)
    theirs = _naive(sources)
    zipf = settings.folder / "zipf.png"
    plot.zipf({"reviews and newspaper": laws.zipf(table)}, zipf)
    top = list(islice((item for item in table.items() if len(item[0]) > 1), SHOWN))
    return Outcome(
        f"{table.total:,} words, {table.distinct:,} distinct, the same as jieba's; the most frequent of several "
        "characters: " + " ".join(word for word, _ in top[:8]),
        {"words": table.total, "distinct": table.distinct, "top": top, "bytes_per_cpu_second": [ours, theirs]},
        figures=[("Word frequency by rank: Zipf's law", zipf)],
        tables=[("The most frequent words of several characters", ("word", "count"), top)],
        command="shoestring count YOUR-TEXT/ -o words.tsv",
        headline=Headline(
            "counting words, per second of the processor", f"{ours / 1e6:.0f} MB",
            f"jieba in a loop, on {SLICE:,} characters: {theirs / 1e6:.2f} MB ({ours / theirs:.0f} times less)",
        ),
    )  # fmt: skip


def _naive(sources: list[str]) -> float:
    """Returns bytes per CPU second of the loop that everyone writes first."""
    import jieba

    jieba.setLogLevel(60)
    jieba.initialize()
    text, size = [], 0
    for document in files.documents(sources):
        text.append(document)
        size += len(document)
        if size >= SLICE:
            break
    begun, counts = time.process_time(), Counter()
    for document in text:
        counts.update(jieba.cut(document))
    return sum(len(document.encode()) for document in text) / (time.process_time() - begun)
