"""Rows of tables with the line that each came from: .tsv, .csv, .jsonl, .parquet and Hugging Face data sets.

- The one reader of tables: pairs, scores, shots and metadata all come through here.
- Strict: a row that does not fit the others is refused with its line, or left out and counted.
- A header is optional. Names are found without regard to case, in English and Chinese; a first row that looks like a
  header and has none of the usual names is not taken for data.
- Compressed files and encodings are recognised as everywhere in shoestring; a table may be larger than the memory.
- `hf:OWNER/NAME` or `hf:OWNER/NAME:SPLIT` loads a data set with the library `datasets`.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from shoestring._errors import InputError
from shoestring._extras import require
from shoestring.files.delimited import Bad, layout, records
from shoestring.files.lines import Lines
from shoestring.files.reading import Reading, Report
from shoestring.files.streams import Stream, blocks_of, decompressed, opened, plain_name

PARQUET_ROWS = 4096  # in memory at a time
SPREADSHEETS = (".xlsx", ".xls", ".ods", ".numbers")
Rows = Iterator[tuple[int, Sequence[Any] | Bad]]


@dataclass(frozen=True)
class Column:
    """A column that is wanted.

    Args:
        name: what the user calls it; None looks for the usual names.
        usual: names that are looked for, best first; `*loss` is any that ends so.
        place: where it stands in a table without names, from the left or (negative) from the right.
        option: how the user names it, for error messages.
        looks: tells whether a cell looks like a value of it; a first row whose cell does not is a header.
        optional: whether a table, or a row of it, may lack it; its cell is None there.
        alone: whether two columns with usual names are refused, so that the user says which; else the best is taken.
    """

    name: str | None
    usual: tuple[str, ...]
    place: int
    option: str
    looks: Callable[[str], bool] | None = None
    optional: bool = False
    alone: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """What it may be called."""
        return self.usual if self.name is None else (self.name,)


def read_table(
    source: str | Path,
    columns: Sequence[Column],
    skipped: Counter[str] | None = None,
    *,
    kind: str = "auto",
    remedy: str = "mend it",
) -> Iterator[tuple[int, list[Any]]]:
    """Yields (line, the wanted cells) of a table.

    Args:
        source: a file, a folder written by `datasets`, or `hf:NAME[:SPLIT]`.
        columns: that are wanted.
        skipped: counts the rows that cannot be read, by reason, which are then left out; None refuses them.
        kind: how a file is read whose name does not say it: `csv`, `tsv`, or `auto` by its first lines.
        remedy: what a user can do about a bad row, for the message.

    Raises:
        InputError: it is missing, damaged or empty, a column is not there or there twice, or a row is bad.
    """
    name = str(source)
    names, rows = _opened(name, kind)
    if names is None:
        names, rows = _header(name, rows, columns)
    places = [_place(name, names, column) for column in columns]
    needed = [place for place, column in zip(places, columns, strict=True) if not column.optional]
    for line, cells in rows:
        why = cells.why if isinstance(cells, Bad) else _too_short(cells, needed)
        if why is None and not isinstance(cells, Bad):
            yield line, [cells[place] if place < len(cells) else None for place in places]
        elif skipped is None:
            raise InputError(f"{name}: line {line:,}: {why}; {remedy}")
        else:
            skipped["not a row of the table"] += 1


def is_number(cell: object) -> bool:
    """Tells whether a cell is a number; the underscores that Python lets stand between digits are of no table.

    >>> is_number("0.5"), is_number("label"), is_number("1_000")
    (True, False, False)
    """
    try:
        float(str(cell))
    except ValueError:
        return False
    return "_" not in str(cell)


def _opened(name: str, kind: str) -> tuple[tuple[str, ...] | None, Rows]:
    """Returns the names of a table that certainly has some, and its rows."""
    if name.startswith("hf:") or (Path(name) / "dataset_info.json").is_file():
        return _data_set(name)
    plain, compression = plain_name(name)
    ending = Path(plain).suffix.lower()
    if ending in SPREADSHEETS:
        raise InputError(f"{name}: a spreadsheet; save it as CSV UTF-8 and give that file")
    if ending == ".parquet":
        return _parquet(name)
    lines = _lines(name, compression)
    first = next(lines, "")
    lines = chain([first], lines) if first else lines
    if ending in (".jsonl", ".ndjson", ".json"):
        return _jsonl(name, lines)
    form, lines = layout(lines, {".tsv": "tsv", ".csv": "csv"}.get(ending, kind))
    return None, records(lines, form, name)


def _lines(name: str, compression: str) -> Iterator[str]:
    """Yields the lines of a file with their ends."""
    with opened(name) as file:
        stream = Stream(name, decompressed(blocks_of(file.read, name), compression))
        mark = "\ufeff"  # a second one, where a program wrote one before a file that had one
        for batch in Lines(stream, "auto", Reading(errors="strict"), Report()).batches():
            *whole, rest = batch.removeprefix(mark).split("\n")
            mark = ""
            yield from (line + "\n" for line in whole)
            if rest:
                yield rest


def _header(name: str, rows: Rows, columns: Sequence[Column]) -> tuple[tuple[str, ...] | None, Rows]:
    """Returns the names of the first row if it is a header, and the rows of data."""
    first = next(rows, None)
    if first is None:
        raise InputError(f"{name}: empty; a table with {_listed(columns)} is needed")
    line, cells = first
    if isinstance(cells, Bad):
        raise InputError(f"{name}: line {line:,}: {cells.why}")
    if len(cells) == 1 and len(columns) > 1 and columns[-1].optional:
        return None, chain([first], rows)
    names = tuple(str(cell).strip() for cell in cells)
    known = [any(map(_same(usual), names)) for column in columns for usual in column.names]
    odd = [column for column in columns if column.looks and not _looks(column, cells)]
    if any(known) and (odd or all(column.looks is None for column in columns) or _named(columns)):
        return names, rows
    if odd and len(cells) > 1:
        flags = " ".join(f"{column.option} NAME" for column in columns)
        raise InputError(
            f"{name}: line {line:,}: {cells[max(odd[0].place, -len(cells))]!r} is no {odd[0].option[2:]}; if this row "
            f"is a header, say what its columns are: {flags}; there are: {', '.join(names)}"
        )
    return None, chain([first], rows)


def _named(columns: Sequence[Column]) -> bool:
    return any(column.name is not None for column in columns)


def _looks(column: Column, cells: Sequence[str]) -> bool:
    cell = cells[column.place] if -len(cells) <= column.place < len(cells) else ""
    return column.looks is None or column.looks(cell.strip())


def _place(source: str, names: tuple[str, ...] | None, column: Column) -> int:
    if names is None:
        if column.name is not None:
            raise InputError(
                f"{source}: {column.option} {column.name!r}: the first row has no names; add a header row"
            )
        return column.place
    for wanted in column.names:
        exact = [place for place, each in enumerate(names) if each == wanted]
        found = exact or [place for place, each in enumerate(names) if _same(wanted)(each)]
        if len(found) > 1:
            raise InputError(f"{source}: {len(found)} columns are called {wanted!r}; rename one of them")
        if found:
            _refuse_others(source, names, column)
            return found[0]
    if column.optional and column.name is None:
        return sys.maxsize
    flag = f"say {column.option} NAME" if column.option.startswith("--") else f"call one {column.usual[0]!r}"
    what = f"no column {column.name!r}" if column.name else f"which column? {flag}"
    raise InputError(f"{source}: {what}; there are: {', '.join(names)}")


def _refuse_others(source: str, names: tuple[str, ...], column: Column) -> None:
    others = [name for name in names if any(_same(wanted)(name) for wanted in column.names)]
    if column.alone and len(others) > 1:
        raise InputError(
            f"{source}: which column? {' and '.join(map(repr, others))} could both be meant; say {column.option} NAME"
        )


def _same(wanted: str) -> Callable[[str], bool]:
    end = wanted.removeprefix("*").casefold()
    return lambda name: (
        name.strip().casefold().endswith(end) if wanted.startswith("*") else name.strip().casefold() == end
    )


def _too_short(cells: Sequence[Any], places: Sequence[int]) -> str | None:
    if all(-len(cells) <= place < len(cells) for place in places):
        return None
    needed = max(len(places), *(place + 1 if place >= 0 else -place for place in places))
    return f"this row has {len(cells)} columns, at least {needed} are needed"


def _listed(columns: Sequence[Column]) -> str:
    return " and ".join(column.option.lstrip("-") for column in columns)


def _jsonl(name: str, text: Iterator[str]) -> tuple[tuple[str, ...], Rows]:
    lines = ((at, line) for at, line in enumerate(text, 1) if line.strip())
    first = next(lines, None)
    if first is None:
        raise InputError(f"{name}: empty; a JSON object per line is needed")
    if first[1].lstrip().startswith("["):
        raise InputError(f"{name}: a JSON array; save it as one object a line (.jsonl)")
    head = _record(*first)
    if isinstance(head, Bad):
        raise InputError(f"{name}: line {first[0]:,}: {head.why}")
    names = tuple(head)

    def rows() -> Rows:
        for at, line in chain([first], lines):
            record = _record(at, line)
            yield at, record if isinstance(record, Bad) else [record.get(each) for each in names]

    return names, rows()


def _record(at: int, line: str) -> dict[str, Any] | Bad:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Bad(f"this is not JSON ({error})")
    if not isinstance(record, dict):
        return Bad(f"a JSON object is needed, this is a {type(record).__name__}")
    return record


def _parquet(name: str) -> tuple[tuple[str, ...], Rows]:
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
    return tuple(file.schema_arrow.names), iter(enumerate(rows(), 1))


def _unsound(name: str, error: Exception) -> InputError:
    return InputError(f"{name}: this is not sound parquet: {' '.join(str(error).split())}")


def _data_set(name: str) -> tuple[tuple[str, ...], Rows]:
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
    return names, ((at, [row[each] for each in names]) for at, row in enumerate(data, 1))
