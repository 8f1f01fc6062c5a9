"""Rows of .csv, .tsv and `||` text, read strictly: what is not a row of the table is named, never shifted or swallowed.

- Every row has as many cells as the first; a quotation mark that opens a cell closes it before a separator.
- A quoted cell may hold line ends (RFC 4180), but not lines that are themselves whole rows of the table: there a
  quotation mark is missing.
- A first line `sep=;`, which Excel writes and obeys, names the separator and is no row.
- .tsv has no quotes (IANA text/tab-separated-values), but for cells that only Excel writes so (marks around it, those
  within it twice) and for files whose rows have one width only if they are read with quotes.
- A row that is refused ends with its first line; reading goes on with the next, so that a caller may leave it out.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from shoestring._errors import InputError

SAMPLE = 256  # lines that decide whether Excel wrote a .tsv
LARGEST = 2**31 - 1  # the csv module's limit is a C long, which has 32 bits on Windows
_DECLARED = re.compile(r"sep=([,;\t|])\s*", re.IGNORECASE)
SWALLOWED = 2  # whole rows inside of one cell that prove a missing quotation mark


@dataclass(frozen=True)
class Bad:
    """A row that cannot be read, and why."""

    why: str


@dataclass(frozen=True)
class Layout:
    """How cells are separated.

    Args:
        separator: a comma, semicolon, tab, `|` or `||`.
        quoted: whether a cell may stand in quotation marks.
    """

    separator: str
    quoted: bool


def layout(lines: Iterable[str], kind: str = "auto") -> tuple[Layout, Iterator[str]]:
    """Returns the layout that the first lines show, and all lines again.

    Args:
        lines: each with its end.
        kind: `csv` or `tsv` by the file's name, or `auto`.
    """
    every = iter(lines)
    sample = list(islice(every, SAMPLE))
    declared = _DECLARED.fullmatch(sample[0]) if sample else None
    if declared:
        sample[0] = "\n"  # no row, and the others keep their numbers
    first = next((line for line in sample if line.strip("\r\n")), "")
    bare = "".join(first.split('"')[::2])  # what stands outside of quotation marks
    if declared:
        found = Layout(declared[1], declared[1] != "\t" or _by_excel(sample))
    elif kind == "tsv" or ("\t" in bare and (kind == "auto" or "," not in bare)):
        found = Layout("\t", _by_excel(sample))
    elif "||" in first:
        found = Layout("||", quoted=False)
    elif _by_pipes(sample):
        found = Layout("|", quoted=True)
    else:
        found = Layout(";" if ";" in bare and "," not in bare else ",", quoted=True)
    return found, chain(sample, every)


def records(
    lines: Iterable[str], form: Layout, name: str, limit: int | None = None
) -> Iterator[tuple[int, list[str] | Bad]]:
    """Yields (number of the row's first line, its cells or what is wrong with it); empty lines are no rows.

    Args:
        lines: each with its end, LF or CR LF.
        form: from `layout`.
        name: of the file, for errors.
        limit: characters that a quoted cell may run over; None is 2 GB.

    Raises:
        InputError: the lines end in CR alone.
    """
    most, width, first_line = limit or LARGEST, 0, 0
    csv.field_size_limit(LARGEST)
    waiting: deque[str] = deque()
    source = iter(lines)
    number = 0
    while (line := waiting.popleft() if waiting else next(source, None)) is not None:
        number += 1
        if not line.strip("\r\n"):
            continue
        _refuse_cr(line, name, number)
        taken: list[str] = [line]
        row: list[str] | Bad
        if form.quoted and '"' in line:
            row = _quoted(taken, waiting, source, form.separator, most, width)
        else:
            row = line.rstrip("\r\n").split(form.separator)
            if '"' in line and form.separator == "\t":
                row = [cell[1:-1].replace('""', '"') if _doubled(cell) else cell for cell in row]
        if isinstance(row, list):
            if not width:
                width, first_line = len(row), number
            elif len(row) != width:
                row = Bad(f"this row has {len(row)} columns, line {first_line:,} has {width}")
        if isinstance(row, Bad):
            waiting.extendleft(reversed(taken[1:]))
            yield number, row
            continue
        yield number, row
        number += len(taken) - 1


def written(row: Sequence[object]) -> str:
    """Returns a line of a .tsv; a tab or line end within a cell becomes a space, since a .tsv cannot have them.

    >>> written(["a", "b\\tc", 1])
    'a\\tb c\\t1\\n'
    """
    cells = [str(cell).translate({9: " ", 10: " ", 13: " "}) for cell in row]
    return "\t".join('"' + cell.replace('"', '""') + '"' if _doubled(cell) else cell for cell in cells) + "\n"


def _quoted(
    taken: list[str], waiting: deque[str], source: Iterator[str], separator: str, most: int, width: int
) -> list[str] | Bad:
    """Reads one row whose first line has a quotation mark; takes the lines that it runs over."""
    inside, size = _open_after(taken[0], separator, False), len(taken[0])
    while inside:
        line = waiting.popleft() if waiting else next(source, None)
        if line is None:
            return Bad("the quotation mark that opens a cell here is never closed")
        taken.append(line)
        size += len(line)
        if size > most:
            return Bad(
                f"the quotation mark that opens a cell here is not closed within {most:,} characters; "
                "is it missing? (or raise max_document_bytes)"
            )
        inside = _open_after(line, separator, True)
    swallowed = sum(_like_a_row(line, separator, width) for line in taken[1:-1])
    if width > 1 and swallowed >= SWALLOWED:
        return Bad(f"the quotation mark here runs over {len(taken) - 1:,} rows into another cell")
    try:
        return next(csv.reader(taken, delimiter=separator, strict=True))
    except csv.Error as error:
        if len(taken) > 1:
            return Bad(f"the quotation mark here runs over {len(taken) - 1:,} rows into another cell")
        return Bad(f"{error}: a quotation mark within a cell is written twice")


def _open_after(line: str, separator: str, inside: bool) -> bool:
    """Tells whether a quoted cell is still open at the end of a line."""
    at, end = 0, len(line)
    while at < end:
        if inside:
            at = line.find('"', at)
            if at < 0:
                return True
            inside = line[at + 1 : at + 2] == '"'
            at += 2 if inside else 1
            if inside:
                continue
        elif line[at] == '"':
            inside, at = True, at + 1
            continue
        at = line.find(separator, at)
        if at < 0:
            return False
        at += len(separator)
    return inside


def _like_a_row(line: str, separator: str, width: int) -> bool:
    return line.count(separator) == width - 1 and '"' not in line


def _refuse_cr(line: str, name: str, number: int) -> None:
    if "\r" in line.rstrip("\r\n") and "\n" not in line and number == 1:
        raise InputError(
            f"{name}: its lines end in CR alone, as on old Macs; convert them: tr '\\r' '\\n' < FILE > NEW"
        )


def _doubled(cell: str) -> bool:
    """Tells whether a cell can only be one that Excel quoted: marks around it, each mark within it twice."""
    inner = cell[1:-1]
    if len(cell) < 3 or cell[0] != '"' or cell[-1] != '"':
        return False
    return '""' in inner and '"' not in inner.replace('""', "")


def _by_pipes(sample: list[str]) -> bool:
    """Whether every row has the same number of `|`, and the first has nothing else that separates."""
    rows = ["".join(line.split('"')[::2]) for line in sample if line.strip("\r\n")]
    counts = {row.count("|") for row in rows}
    return len(counts) == 1 and counts != {0} and not re.search("[,;\t]", rows[0])


def _by_excel(sample: list[str]) -> bool:
    if not any('"' in line for line in sample):
        return False
    plain = {line.rstrip("\r\n").count("\t") for line in sample if line.strip("\r\n")}
    try:
        widths = {len(row) for row in csv.reader(sample, delimiter="\t", strict=True) if row}
    except csv.Error:
        return False
    doubled = any(_doubled(cell) for line in sample for cell in line.rstrip("\r\n").split("\t"))
    return len(widths) == 1 and (len(plain) > 1 or doubled)
