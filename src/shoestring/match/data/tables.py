"""Rows of tables with the line that each came from: .tsv, .csv, .jsonl, .parquet and Hugging Face data sets.

- Read as they are asked for: a table may be larger than the memory.
- Cells between tabs, commas (with quotes, as Python's csv reads them) or `||`, whichever the first line has.
- A header is optional: a first row whose wanted number is one is data, and columns then go by their place.
- Compressed files and encodings are recognised as everywhere in shoestring.
- `hf:OWNER/NAME` or `hf:OWNER/NAME:SPLIT` loads a data set with the library `datasets`.
"""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from shoestring._errors import InputError
from shoestring._extras import require
from shoestring.files.encodings import SAMPLE, detect
from shoestring.files.streams import Stream, blocks_of, decompressed, opened, plain_name

PARQUET_ROWS = 4096  # in memory at a time


@dataclass(frozen=True)
class Column:
    """A column that is wanted.

    Args:
        name: what the user calls it; None looks for the usual names.
        usual: names that are looked for, best first.
        place: where it stands in a table without names, from the left or (negative) from the right.
        option: how the user names it, for error messages.
    """

    name: str | None
    usual: tuple[str, ...]
    place: int
    option: str


@dataclass(frozen=True)
class Table:
    """Rows of a table: `(line, cells)`, and the columns' names if it has them."""

    source: str
    names: tuple[str, ...] | None
    rows: Iterator[tuple[int, Sequence[Any]]]

    def select(self, columns: Sequence[Column]) -> Iterator[tuple[int, list[Any]]]:
        """Yields (line, the wanted cells).

        Raises:
            InputError: a column is missing or there twice, or a row is too short.
        """
        places = [self._place(column) for column in columns]
        for line, cells in self.rows:
            try:
                yield line, [cells[place] for place in places]
            except IndexError as error:
                raise InputError(
                    f"{self.source}: line {line:,}: {len(cells)} columns, at least {len(places)} are needed"
                ) from error

    def _place(self, column: Column) -> int:
        if self.names is None:
            if column.name is not None:
                raise InputError(
                    f"{self.source}: {column.option} {column.name!r}: the first row has no names; add a header row"
                )
            return column.place
        wanted = [column.name] if column.name is not None else list(column.usual)
        for name in wanted:
            found = [place for place, each in enumerate(self.names) if each == name]
            if len(found) > 1:
                raise InputError(
                    f"{self.source}: {len(found)} columns are called {name!r}; rename one of them"
                )
            if found:
                return found[0]
        what = f"no column {wanted[0]!r}" if column.name else f"which column? say {column.option} NAME"
        raise InputError(f"{self.source}: {what}; there are: {', '.join(self.names)}")


def read_table(source: str | Path, number: Column) -> Table:
    """Opens a table.

    Args:
        source: a file, a folder written by `datasets`, or `hf:NAME[:SPLIT]`.
        number: the column that holds numbers, by which a header is recognised.

    Raises:
        InputError: it is missing, damaged or empty.
    """
    name = str(source)
    if name.startswith("hf:") or (Path(name) / "dataset_info.json").is_file():
        return _data_set(name)
    plain, compression = plain_name(name)
    if plain.lower().endswith(".parquet"):
        return _parquet(name)
    lines = _lines(name, compression)
    if plain.lower().endswith((".jsonl", ".ndjson")):
        return _jsonl(name, lines)
    return _delimited(name, lines, number)


def _lines(name: str, compression: str) -> Iterator[str]:
    """Yields the lines of a file, LF at their ends."""
    with opened(name) as file:
        stream = Stream(name, decompressed(blocks_of(file.read, name), compression))
        encoding = detect(*stream.peek(SAMPLE))
        decode = codecs.getincrementaldecoder(encoding)().decode
        rest, line, mark = "", 1, True
        for block in chain(stream, [b""]):
            try:
                text = decode(block, final=not block)
            except UnicodeDecodeError as error:
                line += error.object.count(b"\n", 0, error.start)
                raise InputError(
                    f"{name}: line {line:,}: broken bytes for {encoding}; convert it to UTF-8"
                ) from error
            if mark and text:
                text, mark = text.removeprefix("\ufeff").removeprefix("\ufeff"), False
            *whole, rest = (rest + text).split("\n")
            line += len(whole)
            yield from (each + "\n" for each in whole)
        if rest:
            yield rest


def _delimited(name: str, lines: Iterator[str], number: Column) -> Table:
    first = next(lines, "")
    every = chain([first], lines)
    if "||" in first and "\t" not in first:
        rows = (
            (at, line.rstrip("\r\n").split("||")) for at, line in enumerate(every, 1) if line.strip("\r\n")
        )
    elif "\t" in first:
        rows = (
            (at, line.rstrip("\r\n").split("\t")) for at, line in enumerate(every, 1) if line.strip("\r\n")
        )
    else:
        reader = csv.reader(every)
        rows = ((reader.line_num, row) for row in reader if row)
    return _with_header(name, rows, number)


def _with_header(name: str, rows: Iterator[tuple[int, list[str]]], number: Column) -> Table:
    first = next(rows, None)
    if first is None:
        raise InputError(f"{name}: empty; a table of texts and labels is needed")
    cells = first[1]
    named = number.name in cells if number.name else not _is_number(cells[max(number.place, -len(cells))])
    if named and (len(cells) > 1) and (number.name or set(cells) & set(number.usual)):
        return Table(name, tuple(cell.strip() for cell in cells), rows)

    def all_rows() -> Iterator[tuple[int, list[str]]]:
        yield first
        yield from rows

    return Table(name, None, all_rows())


def _jsonl(name: str, text: Iterator[str]) -> Table:
    lines = ((at, line) for at, line in enumerate(text, 1) if line.strip())
    first = next(lines, None)
    if first is None:
        raise InputError(f"{name}: empty; a JSON object per line is needed")
    names = tuple(_record(name, *first))

    def rows() -> Iterator[tuple[int, list[Any]]]:
        for at, line in chain([first], lines):
            record = _record(name, at, line)
            yield at, [record.get(each) for each in names]

    return Table(name, names, rows())


def _record(name: str, at: int, line: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise InputError(f"{name}: line {at:,}: this is not JSON ({error})") from error
    if not isinstance(record, dict):
        raise InputError(f"{name}: line {at:,}: a JSON object is needed, this is a {type(record).__name__}")
    return record


def _parquet(name: str) -> Table:
    pyarrow: Any = require("files", "pyarrow", "pyarrow.parquet")

    def rows() -> Iterator[Sequence[Any]]:
        try:
            for batch in file.iter_batches(PARQUET_ROWS):
                yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
        except (OSError, pyarrow.ArrowException) as error:
            raise _unsound(name, error) from error

    try:
        file = pyarrow.parquet.ParquetFile(name, memory_map=True)
    except (OSError, pyarrow.ArrowException) as error:
        raise _unsound(name, error) from error
    return Table(name, tuple(file.schema_arrow.names), iter(enumerate(rows(), 1)))


def _unsound(name: str, error: Exception) -> InputError:
    return InputError(f"{name}: this is not sound parquet: {' '.join(str(error).split())}")


def _data_set(name: str) -> Table:
    datasets: Any = require("match", "datasets")
    try:
        if name.startswith("hf:"):
            path, _, split = name[3:].partition(":")
            data = datasets.load_dataset(path, split=split or "train")
        else:
            data = datasets.load_from_disk(name)
    except Exception as error:  # the hub client has errors of many kinds, all of them mean this
        raise InputError(f"{name}: cannot be loaded: {str(error).splitlines()[0]}") from error
    names = tuple(data.column_names)
    return Table(name, names, ((at, [row[each] for each in names]) for at, row in enumerate(data, 1)))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
