"""Rows of a frequency table as four buffers: what the kernel returns, runs on disk hold and writers take.

The layout is Arrow's large_binary and int64, so that Arrow arrays are views of the same bytes.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow

ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


@dataclass(frozen=True)
class Columns:
    """Words, how often each occurs and, if asked for, in how many documents.

    Args:
        offsets: int64, one more than there are words: word i is `words[offsets[i]:offsets[i + 1]]`.
        words: the words, UTF-8, one after the other.
        counts: int64 per word.
        documents: int64 per word, or None.
    """

    offsets: bytes
    words: bytes
    counts: bytes
    documents: bytes | None = None

    def __len__(self) -> int:
        return len(self.counts) // 8

    @classmethod
    def of(cls, rows: Iterable[tuple[str, int, int]], with_documents: bool = False) -> Columns:
        """Makes columns of (word, count, documents) rows, in their order."""
        rows = list(rows)
        words = [word.encode() for word, _, _ in rows]
        return cls(
            array("q", accumulate(map(len, words), initial=0)).tobytes(),
            b"".join(words),
            array("q", [count for _, count, _ in rows]).tobytes(),
            array("q", [documents for _, _, documents in rows]).tobytes() if with_documents else None,
        )

    def rows(self) -> Iterator[tuple[str, int, int]]:
        """Yields (word, count, documents); documents is 0 where they were not counted."""
        offsets, counts = array("q", self.offsets), array("q", self.counts)
        documents = (
            array("q", self.documents) if self.documents is not None else array("q", bytes(8 * len(self)))
        )
        words = self.words
        for row, (count, contained) in enumerate(zip(counts, documents, strict=True)):
            yield words[offsets[row] : offsets[row + 1]].decode(), count, contained

    def slice(self, first: int, last: int) -> Columns:
        """Returns rows first..last; the words are cut to size too."""
        if first == 0 and last == len(self):
            return self
        offsets = array("q", self.offsets[8 * first : 8 * (last + 1)])
        begin, end = offsets[0], offsets[-1]
        if begin:
            offsets = array("q", [offset - begin for offset in offsets])
        documents = self.documents[8 * first : 8 * last] if self.documents is not None else None
        return Columns(offsets.tobytes(), self.words[begin:end], self.counts[8 * first : 8 * last], documents)

    def tsv(self, first: int, last: int) -> bytes:
        """Returns rows first..last as lines; tab, CR, LF and backslash in a word are written \\t \\r \\n \\\\."""
        try:
            from shoestring.count import _kernel
        except ImportError:
            lines = (
                f"{word.translate(ESCAPES)}\t{count}{f'{chr(9)}{contained}' if self.documents is not None else ''}\n"
                for word, count, contained in self.slice(first, last).rows()
            )
            return "".join(lines).encode()
        return _kernel.to_tsv(self.offsets, self.words, self.counts, self.documents, first, last)

    def arrow(self) -> pyarrow.RecordBatch:
        """Returns the rows as an Arrow batch with the columns word, count and, if there are any, documents."""
        import pyarrow

        rows = len(self)
        buffers = [None, pyarrow.py_buffer(self.offsets), pyarrow.py_buffer(self.words)]
        arrays = [pyarrow.Array.from_buffers(pyarrow.large_string(), rows, buffers), _int64(self.counts)]
        if self.documents is not None:
            arrays.append(_int64(self.documents))
        return pyarrow.record_batch(arrays, names=["word", "count", "documents"][: len(arrays)])

    @classmethod
    def from_arrow(cls, batch: pyarrow.RecordBatch) -> Columns:
        """Takes a batch as `arrow` returns it."""
        import pyarrow

        words = pyarrow.concat_arrays([batch.column(0).cast(pyarrow.large_string())])
        if words.offset:
            words = words.take(pyarrow.array(range(len(words))))
        _, offsets, blob = words.buffers()
        columns = [
            batch.column(index).to_numpy(zero_copy_only=False) for index in range(1, batch.num_columns)
        ]
        counts, *documents = [column.astype("int64").tobytes() for column in columns]
        size = 8 * (len(words) + 1)
        return cls(
            offsets.to_pybytes()[:size] if offsets else bytes(8),
            blob.to_pybytes() if blob else b"",
            counts,
            documents[0] if documents else None,
        )


def _int64(data: bytes):
    import pyarrow

    return pyarrow.Array.from_buffers(pyarrow.int64(), len(data) // 8, [None, pyarrow.py_buffer(data)])
