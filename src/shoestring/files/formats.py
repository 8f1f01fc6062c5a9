"""Documents of one text, table or line of JSON, format by format; empty ones are none.

- .csv and .tsv are read strictly, see `shoestring.files.delimited`. The first row has the names.
- .parquet is read by pyarrow, one column, batch by batch; compressed or archived it goes to a temporary file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from shoestring._errors import InputError
from shoestring._extras import require
from shoestring.files.delimited import Bad, layout, records
from shoestring.files.lines import BROKEN, Lines
from shoestring.files.reading import Reading, Report
from shoestring.files.streams import BLOCK, Stream, reason

_SURROGATES = re.compile("[\ud800-\udfff]")
_ROWS = 256  # of a table, in a batch; cells may be long
TEXT = ("text", "文本", "内容", "正文")


def txt(lines: Lines) -> Iterator[list[str]]:
    """Yields, in batches, the lines that are not empty, or the whole text under `document="file"`."""
    if lines.reading.document == "file":
        text = lines.whole()
        if BROKEN in text:
            lines.drop(0, 0, "a byte is broken")
        elif text:
            yield [text]
        return
    for batch in lines.batches():
        text = _without_broken(lines, batch) if BROKEN in batch else batch
        if "\r\n" in text:
            text = text.replace("\r\n", "\n")
        found = text.split("\n")
        if not found[-1]:
            found.pop()  # the last line had its end
        yield list(filter(None, found)) if "\n\n" in text or text.startswith("\n") else found


def _without_broken(lines: Lines, text: str) -> str:
    kept, at = [], 0
    for number, line in enumerate(text.split("\n")):
        if BROKEN in line:
            lines.drop(number, at, "a byte is broken")
        else:
            kept.append(line)
        at += lines.size(line) + 1
    return "\n".join(kept)


def jsonl(lines: Lines, field: str | None) -> Iterator[list[str]]:
    """Yields, in batches, one field of every line's JSON object; lone surrogates become U+FFFD."""
    first = lines.stream.start == 0
    for text in lines.batches():
        split, found = text.split("\n"), []
        for number, line in enumerate(split):
            if not line or line.isspace():
                continue
            record, wrong = _record(line)
            if wrong and first:
                _refuse_document(line, lines.stream.name)
            first = False
            if record is not None:
                field = field or only_text(record, lines.stream.name)
                value, wrong = _text(record, field)
                if value and "\\u" in line:
                    value, lone = _SURROGATES.subn("\ufffd", value)
                    if lone:
                        lines.report.note("surrogates", lines.stream.name, _at(lines, split, number), lone)
                if value:
                    found.append(value)
            if wrong:
                lines.drop(number, _at(lines, split, number), wrong)
        yield found


def first_field(lines: Lines) -> str | None:
    """Returns the field that `jsonl` would choose for these lines; None if no line has an object."""
    for text in lines.batches():
        for line in text.split("\n"):
            record, _ = _record(line)
            if record is not None:
                return only_text(record, lines.stream.name)
    return None


def _at(lines: Lines, split: Sequence[str], number: int) -> int:
    return sum(lines.size(line) + 1 for line in split[:number])


def _record(line: str) -> tuple[dict[str, Any] | None, str]:
    if BROKEN in line:
        return None, "a byte is broken"
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        return None, f"this is not JSON ({error})"
    if not isinstance(record, dict):
        return None, f"a JSON object is needed, this is a {type(record).__name__}"
    return record, ""


def _refuse_document(line: str, name: str) -> None:
    """Refuses a file that is one JSON document, an array or an object over several lines."""
    what = {"[": "a JSON array", "{": "one JSON object over several lines"}.get(line.lstrip()[:1])
    if what and (what == "a JSON array" or line.strip() == "{"):
        raise InputError(
            f"{name}: {what}; save it as one object a line (.jsonl), or as .txt to read it as it stands"
        )


def _text(record: dict[str, Any], field: str) -> tuple[str, str]:
    if field not in record:
        return "", f"no field {field!r}; there are: {_listed(record)}"
    value = record[field]
    if value is None:
        return "", ""
    return (value, "") if isinstance(value, str) else ("", f"field {field!r} is no text, but {value!r:.40}")


def only_text(record: dict[str, Any], name: str) -> str:
    """Returns the field to read when none was named: `"text"`, else the only one with text.

    Raises:
        InputError: there are several, or none; they are listed.
    """
    names = [each for each, value in record.items() if isinstance(value, str)]
    if "text" in record or len(names) == 1:
        return "text" if "text" in record else names[0]
    raise InputError(f"{name}: which field is the text? say field=...; there are: {_listed(record)}")


def table(lines: Lines, field: str | None, kind: str) -> Iterator[list[str]]:
    """Yields, in batches, one column of a `csv` or `tsv` with a header row."""
    form, every = layout(_with_ends(lines), kind)
    column, found = -1, []
    for number, row in records(every, form, lines.stream.name, lines.reading.max_document_bytes):
        if isinstance(row, Bad):
            lines.drop(number - lines.line - 1, 0, row.why)
        elif any(BROKEN in cell for cell in row):
            lines.drop(number - lines.line - 1, 0, "a byte is broken")
        elif column < 0:
            column = _column(row, field, lines.stream.name)
        elif row[column]:
            found.append(row[column])
        if len(found) == _ROWS:
            yield found
            found = []
    yield found


def _with_ends(lines: Lines) -> Iterator[str]:
    for text in lines.batches():
        split = text.split("\n")
        yield from (line + "\n" for line in split[:-1])
        if split[-1]:
            yield split[-1]


def _column(header: list[str], field: str | None, name: str) -> int:
    wanted = [field] if field else TEXT
    for each in wanted:
        found = [place for place, cell in enumerate(header) if cell == each] or [
            place for place, cell in enumerate(header) if cell.strip().casefold() == each.casefold()
        ]
        if len(found) > 1:
            raise InputError(f"{name}: {len(found)} columns are called {each!r}; rename one of them")
        if found:
            return found[0]
    if field is None and len(header) == 1:
        raise InputError(
            f"{name}: its first line is {header[0][:40]!r}; if that is the name of the column, say "
            f"field={header[0][:40]!r}, if it is text, rename the file to .txt"
        )
    if field is None:
        raise InputError(f"{name}: which column is the text? say field=...; there are: {_listed(header)}")
    raise InputError(f"{name}: no column {field!r}; there are: {_listed(header)}")


def parquet(file: BinaryIO, name: str, reading: Reading, report: Report) -> Iterator[list[str]]:
    """Yields, in batches, one text column of a .parquet file that can be sought in."""
    pyarrow = require("files", "pyarrow", "pyarrow.parquet")
    try:
        table = pyarrow.parquet.ParquetFile(file)
        column = _parquet_column(pyarrow, table.schema_arrow, reading.field, name)
        for batch in table.iter_batches(batch_size=_ROWS, columns=[column]):
            report.bytes += batch.nbytes
            yield list(filter(None, batch.column(0).to_pylist()))
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{name}: this is not sound parquet: {reason(error)}") from error


def _parquet_column(pyarrow: Any, schema: Any, field: str | None, name: str) -> str:
    texts = [each.name for each in schema if _is_text(pyarrow, each.type)]
    wanted = field or ("text" if "text" in texts else texts[0] if len(texts) == 1 else None)
    if wanted is not None and wanted in texts:
        return wanted
    problem = f"no text column {wanted!r}" if wanted else "which column is the text? say field=..."
    raise InputError(
        f"{name}: {problem}; there are: {_listed(f'{each.name} ({each.type})' for each in schema)}"
    )


def _is_text(pyarrow: Any, kind: Any) -> bool:
    types = pyarrow.types
    if types.is_dictionary(kind):
        kind = kind.value_type
    return types.is_string(kind) or types.is_large_string(kind) or str(kind) == "string_view"


def unpacked(stream: Stream) -> BinaryIO:
    """Returns the stream as a file that can be sought in, in the folder for temporary files."""
    import shutil
    import tempfile

    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    shutil.copyfileobj(stream.file(), file, BLOCK)
    file.seek(0)
    return file


def _listed(names: Any) -> str:
    names = list(names)
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "") or "none"
