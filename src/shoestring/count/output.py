"""Frequency tables on disk: .tsv, .csv and .parquet, each complete or not there; and reading them again.

- .tsv has no header: word, count and, with document frequencies, documents; `\\t \\r \\n \\\\` are escaped.
- .csv has a header and quotes; .parquet has the same columns.
- The order is count, then code point; the bytes are the same every time.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from shoestring._errors import InputError, OptionError
from shoestring._extras import require
from shoestring.count.counting.columns import Columns
from shoestring.files import atomic

FORMATS = (".tsv", ".csv", ".parquet")
ROWS = 1 << 18  # written at a time
LINES = 1 << 16  # of .tsv, so that they stay in the cache
UNESCAPED = {"t": "\t", "n": "\n", "r": "\r", "\\": "\\"}
LARGEST = 2**63 - 1


def checked_format(path: str | os.PathLike[str]) -> str:
    """Returns the format that the name asks for.

    Raises:
        OptionError: it is none of ours.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise OptionError(f"{path}: give the output a name that ends in {', '.join(FORMATS)}")
    if suffix == ".parquet":
        require("count", "pyarrow.parquet")
    return suffix


def write(path: str | os.PathLike[str], pieces: Iterable[Columns], with_documents: bool = False) -> None:
    """Writes pieces of a table, already in order, and renames the file into place.

    Raises:
        OutputError: the target cannot be written.
    """
    kind = checked_format(path)
    with atomic(os.fspath(path), "wb") as file:
        if kind == ".tsv":
            for piece in pieces:
                for first in range(0, len(piece), LINES):
                    file.write(piece.tsv(first, min(first + LINES, len(piece))))
        elif kind == ".csv":
            _write_csv(file, pieces, with_documents)
        else:
            _write_parquet(file, pieces, with_documents)


def _write_csv(file, pieces: Iterable[Columns], with_documents: bool) -> None:
    import csv

    text = io.TextIOWrapper(file, "utf-8", newline="")
    # Every word is quoted: before Python 3.11.4 a bare CR was not.
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    width = 3 if with_documents else 2
    writer.writerow(("word", "count", "documents")[:width])
    for piece in pieces:
        writer.writerows(row[:width] for row in piece.rows())
    text.flush()
    text.detach()


def _write_parquet(file, pieces: Iterable[Columns], with_documents: bool) -> None:
    pyarrow = require("count", "pyarrow", "pyarrow.parquet")
    schema = Columns.of([], with_documents).arrow().schema
    with pyarrow.parquet.ParquetWriter(file, schema) as writer:
        for piece in pieces:
            for first in range(0, len(piece), ROWS):
                writer.write_batch(piece.slice(first, min(first + ROWS, len(piece))).arrow())


def read(path: str | os.PathLike[str]) -> Iterator[Columns]:
    """Yields the rows of a table that `write` wrote, in pieces.

    Raises:
        InputError: it is not such a table; the message has the line.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise InputError(f"{path}: a frequency table ends in {', '.join(FORMATS)}")
    try:
        yield from {".tsv": _read_tsv, ".csv": _read_csv, ".parquet": _read_parquet}[suffix](path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}") from error


def _read_tsv(path: str | os.PathLike[str]) -> Iterator[Columns]:
    with open(path, encoding="utf-8", newline="\n") as file:
        lines = (line.rstrip("\n").split("\t") for line in file)
        yield from _pieces(path, ((_unescaped(fields[0]), *fields[1:]) for fields in lines), 1)


def _read_csv(path: str | os.PathLike[str]) -> Iterator[Columns]:
    import csv

    with open(path, encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        next(rows, None)
        yield from _pieces(path, map(tuple, rows), 2)


def _pieces(path, rows: Iterator[tuple[str, ...]], first_line: int) -> Iterator[Columns]:
    held: list[tuple[str, int, int]] = []
    width = 2
    for number, row in enumerate(rows, first_line):
        try:
            if not row[0] or len(row) not in (2, 3):
                raise ValueError
            word = row[0].removeprefix("\ufeff") if number == first_line else row[0]
            counts = int(row[1]), int(row[2]) if len(row) == 3 else 0
            if not (word and 0 <= counts[0] <= LARGEST and 0 <= counts[1] <= LARGEST):
                raise ValueError
            held.append((word, *counts))
        except (ValueError, IndexError):
            raise InputError(
                f"{path}, line {number}: not word, count[, documents] with whole numbers from 0 to 2^63 - 1"
            ) from None
        width = len(row)
        if len(held) == ROWS:
            yield Columns.of(held, width == 3)
            held = []
    if held:
        yield Columns.of(held, width == 3)


def _unescaped(word: str) -> str:
    return re.sub(r"\\([tnr\\])", lambda match: UNESCAPED[match[1]], word) if "\\" in word else word


def _read_parquet(path: str | os.PathLike[str]) -> Iterator[Columns]:
    pyarrow = require("count", "pyarrow", "pyarrow.parquet")
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            if file.schema_arrow.names[:2] != ["word", "count"]:
                raise InputError(f"{path}: not a frequency table, its columns are {file.schema_arrow.names}")
            for batch in file.iter_batches(batch_size=ROWS):
                yield Columns.from_arrow(batch)
    except pyarrow.ArrowException as error:
        raise InputError(f"{path}: not sound parquet: {error}") from error
