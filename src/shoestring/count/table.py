"""`count_words` and the `FrequencyTable` it returns."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shoestring import files
from shoestring._errors import InputError
from shoestring._extras import require
from shoestring.count import output
from shoestring.count.counting.columns import Columns
from shoestring.count.counting.pipeline import Count
from shoestring.count.job import Job

if TYPE_CHECKING:
    import pandas
    import pyarrow


@dataclass(frozen=True)
class FrequencyTable:
    """How often every word occurs, in order of count, then code point.

    Args:
        counts: word -> count.
        documents: word -> documents it occurs in; empty if they were not counted.
        report: what reading the corpus met.

    >>> table = FrequencyTable.of(["我", "爱", "我"])
    >>> table.top(1), table["爱"], table.total, table.distinct
    ([('我', 2)], 1, 3, 2)
    """

    counts: Mapping[str, int]
    documents: Mapping[str, int] = field(default_factory=dict)
    report: files.Report = field(default_factory=files.Report, compare=False)

    def __post_init__(self) -> None:
        order = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        object.__setattr__(self, "counts", dict(order))

    @classmethod
    def of(cls, tokens: Iterable[str]) -> FrequencyTable:
        """Counts tokens."""
        return cls(Counter(tokens))

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> FrequencyTable:
        """Reads a .tsv, .csv or .parquet that `save` or `shoestring count` wrote."""
        return cls._from(output.read(path))

    @classmethod
    def _from(cls, pieces: Iterable[Columns]) -> FrequencyTable:
        counts, documents = {}, {}
        for piece in pieces:
            for word, count, contained in piece.rows():
                counts[word] = counts.get(word, 0) + count
                if piece.documents is not None:
                    documents[word] = documents.get(word, 0) + contained
        return cls(counts, documents)

    @property
    def total(self) -> int:
        """The sum of all counts."""
        return sum(self.counts.values())

    @property
    def distinct(self) -> int:
        """How many different words there are."""
        return len(self.counts)

    def __len__(self) -> int:
        return len(self.counts)

    def __iter__(self) -> Iterator[str]:
        return iter(self.counts)

    def __contains__(self, word: object) -> bool:
        return word in self.counts

    def __getitem__(self, word: str) -> int:
        return self.counts.get(word, 0)

    def items(self) -> Iterator[tuple[str, int]]:
        """Yields (word, count), the most frequent first."""
        return iter(self.counts.items())

    def top(self, n: int = 10) -> list[tuple[str, int]]:
        """Returns the n most frequent words with their counts."""
        return [item for item, _ in zip(self.counts.items(), range(n), strict=False)]

    def __add__(self, other: FrequencyTable) -> FrequencyTable:
        """Adds two tables, exactly; the order of adding does not matter."""
        return FrequencyTable(
            Counter(self.counts) + Counter(other.counts),
            Counter(self.documents) + Counter(other.documents),
            self.report + other.report,
        )

    def columns(self) -> Columns:
        """Returns the rows as buffers."""
        get = self.documents.get
        return Columns.of(((word, count, get(word, 0)) for word, count in self.items()), bool(self.documents))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes .tsv, .csv or .parquet, by the name's ending."""
        output.write(path, [self.columns()], bool(self.documents))

    def to_arrow(self) -> pyarrow.Table:
        """Returns a pyarrow.Table with the columns word, count and, if counted, documents."""
        return require("count", "pyarrow").Table.from_batches([self.columns().arrow()])

    def to_pandas(self) -> pandas.DataFrame:
        """Returns the same as a DataFrame; needs pandas."""
        require("pandas", "pandas")
        return self.to_arrow().to_pandas()


def count_words(
    sources: Sequence[str | Path] | str | Path, job: Job | None = None, **settings: Any
) -> FrequencyTable:
    """Counts the words of a corpus, exactly.

    Args:
        sources: files, folders, patterns, fsspec addresses, or `-` for stdin.
        job: how; or its fields as keywords, such as `tokenizer="char"`, `workers=2`, `min_count=5`.
        settings: fields of `Job`.

    Raises:
        InputError: the corpus is missing, empty or broken.

    >>> count_words(corpus, workers=2).top(3)
    [('，', 13), ('的', 9), ('。', 7)]
    """
    if job is not None and settings:
        raise InputError("count_words: give a Job or its fields, not both")
    counting = Count(job or Job(**settings), sources)
    try:
        counting.run()
        table = FrequencyTable._from(counting.pieces())
    finally:
        counting.close()
    object.__setattr__(table, "report", counting.report)
    return table
