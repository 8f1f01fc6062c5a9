"""Batches of parts, and how a worker process counts one: read, cut, count, return one table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from shoestring import files
from shoestring.count.counting.columns import Columns
from shoestring.count.cutting.tokenizers import tokenizer
from shoestring.count.job import Job
from shoestring.files import Part, Report

MOST_FILES = 1000  # in one batch

Batch = tuple[Part, ...]


def batched(parts: Sequence[Part], size: int) -> list[Batch]:
    """Puts small parts together, in order, until they have `size` bytes."""
    batches: list[Batch] = []
    held: list[Part] = []
    weight = 0
    for part in parts:
        held.append(part)
        weight += part.size
        if weight >= size or len(held) == MOST_FILES:
            batches.append(tuple(held))
            held, weight = [], 0
    return [*batches, tuple(held)] if held else batches


def describe(batch: Batch) -> str:
    """Names a batch by its files and bytes."""
    first, last = batch[0], batch[-1]
    if len(batch) == 1:
        return f"{first.path}, bytes {first.start:,} to {first.stop:,}"
    return f"{first.path} to {last.path} ({len(batch):,} files)"


_process: dict = {}  # of one worker process: its job, tokenizer and stop words


def prepare(job: Job, engine: str) -> None:
    """Builds the tokenizer once per process."""
    stop = frozenset() if job.ngrams == (1, 1) or job.characters else job.stop_set()
    _process.update(job=job, cut=tokenizer(job, engine), stop=stop)


def count_batch(batch: Batch) -> tuple[Columns, Report]:
    """Reads, cuts and counts one batch into one table."""
    job, cut, stop = _process["job"], _process["cut"], _process["stop"]
    report, counts, documents = Report(), Counter(), Counter()
    joint = "" if job.characters else " "
    for part in batch:
        for text in files.read(part, job.reading, report):
            tokens = list(ngrams(cut(text), job.ngrams, stop, joint)) if job.ngrams != (1, 1) else cut(text)
            if job.df:
                tokens = list(tokens)
                documents.update(set(tokens))
            counts.update(tokens)
    counts.pop("", None)
    return Columns.of(((word, count, documents[word]) for word, count in counts.items()), job.df), report


def ngrams(
    tokens: Iterable[str], lengths: tuple[int, int], stop: frozenset[str] = frozenset(), joint: str = " "
) -> Iterator[str]:
    """Yields the runs of tokens, joined by `joint`; stop words are taken out first.

    >>> list(ngrams(["a", "b", "c"], (1, 2)))
    ['a', 'b', 'c', 'a b', 'b c']
    """
    kept = [token for token in tokens if token not in stop]
    for length in range(lengths[0], lengths[1] + 1):
        for start in range(len(kept) - length + 1):
            yield joint.join(kept[start : start + length])
