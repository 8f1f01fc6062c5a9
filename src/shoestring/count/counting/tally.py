"""Where counts add up in memory: in the kernel's hash table, or in a dict where there is no kernel."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from shoestring.count.counting.columns import Columns

if TYPE_CHECKING:
    from shoestring.count import _kernel
    from shoestring.count.job import Job

DICT_ENTRY = 150  # bytes that a word takes in a dict, with its str, about


class Tally(Protocol):
    """Counts that grow, and can be taken out sorted."""

    with_documents: bool

    def add(self, columns: Columns) -> None:
        """Adds rows in any order."""

    def discard(self, words: Iterable[str]) -> None:
        """Forgets these words."""

    def columns(self, by_count: bool, min_count: int = 1, top: int = 0) -> Columns:
        """Returns the rows by code point, or by count and then code point."""

    def tokens(self) -> int:
        """Returns the sum of all counts."""

    def memory(self) -> int:
        """Returns the bytes that grow with the number of words."""


class NativeTally:
    """Counts in the kernel; `table` is needed only where it also cuts."""

    def __init__(self, with_documents: bool, table: _kernel.Table | None = None) -> None:
        from shoestring.count import _kernel

        self.with_documents = with_documents
        self.counter: Any = _kernel.Counter(table, with_documents)

    def add(self, columns: Columns) -> None:
        """Adds rows in any order."""
        self.counter.add_columns(columns.offsets, columns.words, columns.counts, columns.documents)

    def merge(self, other: NativeTally) -> None:
        """Adds another's counts; the other is used up."""
        self.counter.merge(other.counter)

    def discard(self, words: Iterable[str]) -> None:
        """Forgets these words."""
        for word in words:
            self.counter.discard(word)

    def columns(self, by_count: bool, min_count: int = 1, top: int = 0) -> Columns:
        """Returns the rows by code point, or by count and then code point."""
        return Columns(*self.counter.columns(by_count, min_count, top))

    def tokens(self) -> int:
        """Returns the sum of all counts."""
        return self.counter.tokens()

    def memory(self) -> int:
        """Returns the bytes that grow with the number of words."""
        return self.counter.memory()


class RunTally(NativeTally):
    """Counts runs of words in the kernel; stop words never get in."""

    def __init__(self, job: Job, table: _kernel.Table | None) -> None:
        from shoestring.count import _kernel

        self.with_documents = job.df
        stop = [] if job.characters else sorted(job.stop_set())
        self.counter = _kernel.Grams(table, job.df, *job.ngrams, not job.characters, stop)

    def settle(self) -> None:
        """Sorts what waits: each worker its own, before their tables are merged in one."""
        self.counter.settle()

    def discard(self, words: Iterable[str]) -> None:
        """Has nothing to forget: a run that looks like a stop word would have a space in it, see counts_natively."""


class DictTally:
    """Counts in a dict of lists [count, documents]."""

    def __init__(self, with_documents: bool) -> None:
        self.with_documents = with_documents
        self.counts: dict[str, list[int]] = {}
        self.total = 0

    def add(self, columns: Columns) -> None:
        """Adds rows in any order."""
        counts = self.counts
        for word, count, documents in columns.rows():
            self.total += count
            if (entry := counts.get(word)) is not None:
                entry[0] += count
                entry[1] += documents
            else:
                counts[word] = [count, documents]

    def discard(self, words: Iterable[str]) -> None:
        """Forgets these words."""
        for word in words:
            self.total -= self.counts.pop(word, (0, 0))[0]

    def columns(self, by_count: bool, min_count: int = 1, top: int = 0) -> Columns:
        """Returns the rows by code point, or by count and then code point."""
        rows = [(word, count, inside) for word, (count, inside) in self.counts.items() if count >= min_count]
        rows.sort(key=(lambda row: (-row[1], row[0])) if by_count else (lambda row: row[0]))
        return Columns.of(rows[: top or None], self.with_documents)

    def tokens(self) -> int:
        """Returns the sum of all counts."""
        return self.total

    def memory(self) -> int:
        """Returns the bytes that grow with the number of words, about."""
        return DICT_ENTRY * len(self.counts)


def new_tally(with_documents: bool) -> Tally:
    """Returns the faster kind that this installation has."""
    try:
        return NativeTally(with_documents)
    except ImportError:
        return DictTally(with_documents)
