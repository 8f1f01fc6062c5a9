"""Which words two corpora differ in: log-likelihood keyness (Rayson & Garside 2000).

For a word with a and b occurrences in corpora of c and d tokens, E1 = c (a + b) / (c + d), E2 = d (a + b) / (c + d):
G2 = 2 (a ln(a / E1) + b ln(b / E2)). Above 10.83 the difference is significant at p < 0.001 (for one word). The log
ratio, log2 of the relative frequencies with half an occurrence for none (Hardie 2014), says how large it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from shoestring._errors import InputError
from shoestring.count.counting.columns import ESCAPES
from shoestring.count.job import Job
from shoestring.count.table import FrequencyTable, count_words


@dataclass(frozen=True)
class Key:
    """A word and how differently two corpora use it.

    Args:
        word: it.
        first: occurrences in the first corpus.
        second: occurrences in the second.
        likelihood: G2.
        ratio: log2 of its relative frequency in the first over that in the second.
    """

    word: str
    first: int
    second: int
    likelihood: float
    ratio: float


def compare(first: FrequencyTable, second: FrequencyTable, min_count: int = 5) -> list[Key]:
    """Returns the words of two tables, those that differ most first.

    Args:
        first: one table, complete (without min_count or top, for its total is used).
        second: the other.
        min_count: words that are rarer in both together are left out.

    Raises:
        InputError: a table is empty.

    >>> one, two = FrequencyTable({"a": 80, "b": 20}), FrequencyTable({"a": 20, "b": 80})
    >>> [(key.word, round(key.likelihood, 1), key.ratio) for key in compare(one, two)]
    [('a', 38.5, 2.0), ('b', 38.5, -2.0)]
    """
    totals = first.total, second.total
    if 0 in totals:
        raise InputError("compare: a table has no words")
    words = {word for table in (first, second) for word in table}
    keys = [
        _key(word, first[word], second[word], *totals)
        for word in words
        if first[word] + second[word] >= min_count
    ]
    return sorted(keys, key=lambda key: (-key.likelihood, key.word))


def _key(word: str, a: int, b: int, c: int, d: int) -> Key:
    expected = c * (a + b) / (c + d), d * (a + b) / (c + d)
    likelihood = 2 * sum(
        count * math.log(count / mean) for count, mean in zip((a, b), expected, strict=True) if count
    )
    ratio = math.log2((a or 0.5) / c) - math.log2((b or 0.5) / d)
    return Key(word, a, b, max(0.0, likelihood), ratio)


def table_or_corpus(path: str, job: Job | None = None) -> FrequencyTable:
    """Reads a table that was counted before, or counts a corpus as `job` says."""
    looks_like_table = Path(path).suffix in (".tsv", ".csv", ".parquet") and Path(path).is_file()
    return FrequencyTable.read(path) if looks_like_table else count_words(path, job or Job())


def doubts(path: str, table: FrequencyTable) -> list[str]:
    """Says that a table looks as if `--min-count` or `--top` had cut it: its total is then too small.

    >>> doubts("a.tsv", FrequencyTable({"a": 7, "b": 5}))
    ['a.tsv: no word occurs once; if --min-count or --top cut this table, its total is too small: count it anew']
    """
    if table.report.files or min(table.counts.values(), default=1) == 1:
        return []
    return [
        f"{path}: no word occurs once; if --min-count or --top cut this table, its total is too small: count it anew"
    ]


def lines(keys: list[Key]) -> Iterator[str]:
    """Yields lines of a .tsv with a header."""
    yield "word\tfirst\tsecond\tlog_likelihood\tlog_ratio\n"
    for key in keys:
        yield f"{key.word.translate(ESCAPES)}\t{key.first}\t{key.second}\t{key.likelihood:.2f}\t{key.ratio:.2f}\n"
