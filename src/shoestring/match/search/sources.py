"""Documents for an index from files and tables; what cannot be searched for is left out and told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from shoestring import files
from shoestring._errors import InputError
from shoestring.files.tables import Column, read_table
from shoestring.match.search.hits import Document
from shoestring.match.search.metadata import plain

TEXT = ("text", "sentence", "title")
BATCH = 256  # texts that are measured at a time


@dataclass
class Met:
    """What was met on the way.

    Args:
        report: of reading.
        blank: where texts of nothing but spaces were: source -> how many, and the place of the first.
        cut: how many texts are longer than the model reads.
    """

    report: files.Report = field(default_factory=files.Report)
    blank: dict[str, tuple[int, str]] = field(default_factory=dict)
    cut: int = 0

    def note(self, source: str, place: str) -> None:
        """Counts a blank text."""
        count, first = self.blank.get(source, (0, place))
        self.blank[source] = (count + 1, first)

    def lines(self) -> list[str]:
        """Returns one line for each source and kind of trouble, for people."""
        return [
            *self.report.lines(),
            *(f"{count:,} left out of {source}, of nothing but spaces (first: {place})"
              for source, (count, place) in self.blank.items()),
            *([f"{self.cut:,} texts are longer than the model reads, and cut"] if self.cut else []),
        ]  # fmt: skip


def documents(
    sources: Sequence[str], met: Met, reading: files.Reading, metadata: str | None = None
) -> Iterator[Document]:
    """Yields (text, metadata).

    Args:
        sources: files, folders and patterns; with metadata, tables.
        met: takes what was met.
        reading: how to read; its field is the column of the text.
        metadata: columns that are stored with the text, separated by commas.
    """
    if metadata is None:
        for number, text in enumerate(files.documents(sources, reading, met.report), 1):
            if text.strip():
                yield text, {}
            else:
                met.note(", ".join(sources[:3]), f"document {number:,}")
        return
    yield from (document for _, document in _rows(sources, met, reading, metadata.split(","), None))


def keyed(
    sources: Sequence[str], met: Met, reading: files.Reading, metadata: str | None, key: str
) -> Iterator[tuple[str, Document]]:
    """Yields (key, (text, metadata)) of tables.

    Args:
        sources: tables.
        met: takes what was met.
        reading: how to read.
        metadata: as for `documents`.
        key: the column of the keys.

    Raises:
        InputError: a row has no key.
    """
    yield from _rows(sources, met, reading, metadata.split(",") if metadata else [], key)


def measured(stream: Iterator[Any], met: Met, too_long: Callable[[list[str]], int]) -> Iterator[Any]:
    """Yields what it is given, documents with keys or without, and counts those whose text is cut.

    Args:
        stream: as `documents` or `keyed` give it.
        met: takes the count.
        too_long: a matcher's.
    """
    while batch := list(islice(stream, BATCH)):
        texts = (first if isinstance(second, dict) else second[0] for first, second in batch)
        met.cut += too_long(list(texts))
        yield from batch


def _rows(
    sources: Sequence[str], met: Met, reading: files.Reading, names: list[str], key: str | None
) -> Iterator[tuple[str, Document]]:
    columns = [
        Column(reading.field, TEXT, 0, "--field"),
        *(Column(name, (), 1, "--metadata") for name in names),
    ]
    columns += [Column(key, (), 1, "--key")] if key else []
    for source in sources:
        for line, (text, *values) in read_table(source, columns):
            if not isinstance(text, str) or not text.strip():
                met.note(source, f"line {line:,}")
                continue
            yield _key(source, line, values[-1]) if key else "", (text, _named(source, line, names, values))


def _named(source: str, line: int, names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    try:
        return plain(dict(zip(names, values, strict=False)))
    except InputError as error:
        raise InputError(f"{source}: line {line:,}: {error}") from error


def _key(source: str, line: int, value: object) -> str:
    if value is None or not str(value).strip():
        raise InputError(f"{source}: line {line:,}: no --key; every row needs one")
    return str(value)
