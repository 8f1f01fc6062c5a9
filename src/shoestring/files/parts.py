"""Documents of sources, as one stream or as parts for several processes.

- `documents(sources)` and `read` over `parts(sources)` yield the same documents in the same order.
- A part of a big plain file is a range of bytes from the start of a line to the start of another; a line that is
  longer than a part is a part of its own, so that each byte is read once and once more at most to find the cuts.
- A part of a zip is a range of its members; everything else is read as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from shoestring._errors import InputError
from shoestring.files import encodings, recognising
from shoestring.files.reading import Reading, Report
from shoestring.files.sources import Source, find, kind_of, named_text, text_like
from shoestring.files.streams import BLOCK, Stream, blocks_of, decompressed, opened, plain_name

_SOURCES = Sequence[str | Path] | str | Path
_SALVAGED = 4096  # a read of a tar's member that meets the end is lost as a whole, so reads are small then


@dataclass(frozen=True)
class Part:
    """What one process reads at a time; picklable.

    Attributes:
        path: the file or address; `-` is stdin, which only the process that has it can read.
        start: the range's first byte, or the first member of a zip; 0 for a whole file.
        stop: the byte or member after the last; the file's size (0 if unknown) for a whole file.
        encoding: `"auto"`, or what was given, or what was detected because the file is split or plain.
        kind: txt, jsonl, csv, tsv, parquet, zip or tar.
        member: the first member of a zip's range, else None.
        plain: lines of UTF-8, neither compressed nor remote: what `read_bytes` takes.
        ranged: start and stop are bytes at which lines begin.
        size: bytes on disk that it stands for, for a progress bar.
    """

    path: str
    start: int
    stop: int
    encoding: str
    kind: str
    member: str | None = None
    plain: bool = False
    ranged: bool = False
    size: int = 0


def documents(
    sources: _SOURCES, reading: Reading | None = None, report: Report | None = None
) -> Iterator[str]:
    """Yields every document of the sources, in order, never holding more than a block and a document.

    Empty lines, cells and files are no documents.

    Args:
        sources: files, folders, patterns, fsspec addresses, or `-` for stdin.
        reading: how to read them.
        report: takes the counts.

    Raises:
        InputError: something is missing, unreadable, damaged or of the wrong form, or there is no document.
    """
    reading, report = reading or Reading(), report if report is not None else Report()
    before = report.documents + report.skipped
    names = []
    for source in find(sources, report):
        names.append(source.path)
        for batch in _batches(_whole(source, reading), reading, report):
            report.documents += len(batch)
            yield from batch
    if report.documents + report.skipped == before:
        raise InputError("; ".join([_nothing(names), *report.lines()[:3]]))


def parts(
    sources: _SOURCES, reading: Reading | None = None, size: int = 16 << 20, report: Report | None = None
) -> list[Part]:
    """Cuts sources into parts of about `size` bytes, in order; plain files and zips can be cut.

    Args:
        sources: as for `documents`.
        reading: how they will be read; give the same to `read`.
        size: bytes per part.
        report: takes what was left out.

    Raises:
        InputError: a source is missing or unreadable, its encoding cannot be told, or all of them are empty files.
    """
    reading = reading or Reading()
    found = list(find(sources, report))
    if found and all(source.regular and source.size == 0 for source in found):
        raise InputError(_nothing([source.path for source in found]))
    return [part for source in found for part in _cut(source, reading, max(1, size))]


def read(part: Part, reading: Reading | None = None, report: Report | None = None) -> Iterator[str]:
    """Yields the documents of one part.

    Args:
        part: from `parts`, in this process or another.
        reading: what `parts` was given.
        report: takes the counts.

    Raises:
        InputError: the data are unreadable, damaged or of the wrong form.
    """
    report = report if report is not None else Report()
    for batch in _batches(part, reading or Reading(), report):
        report.documents += len(batch)
        yield from batch


def read_bytes(part: Part, reading: Reading | None = None) -> bytes:
    """Returns the bytes of the complete lines that a plain part owns, without a BOM, for native code.

    Raises:
        InputError: the file cannot be read any more, or its last line goes on for over `max_document_bytes`.
        ValueError: the part is not plain.
    """
    if not part.plain:
        raise ValueError(f"{part.path}: only a plain part has bytes of its own, this is {part.kind}")
    limit = (reading or Reading()).max_document_bytes
    with opened(part.path) as file:
        if limit is not None and part.stop - part.start > limit:
            _check_lines(part, file, limit)
        file.seek(part.start)
        data = file.read(part.stop - part.start)
    return encodings.without_bom(data, part.encoding) if part.start == 0 else data


def _check_lines(part: Part, file: BinaryIO, limit: int) -> None:
    at = part.start
    while at < part.stop:
        following = min(_line_start(file, at + 1), part.stop)
        if following - at > limit + 1:
            from shoestring.files.lines import longer_than

            raise InputError(f"{part.path}: the line at byte {at:,} is {longer_than(limit)}")
        at = following


def _batches(part: Part, reading: Reading, report: Report) -> Iterator[list[str]]:
    """Documents in lists, because passing each through several generators would cost more than reading it."""
    with opened(part.path) as file:
        if part.kind == "zip":
            yield from _zip(part, file, reading, report)
        elif part.ranged:
            yield from _range(part, file, reading, report)
        else:
            reading = replace(reading, encoding=part.encoding)
            yield from _one(part.path, part.kind, blocks_of(file.read, part.path), reading, report, file=file)


def _whole(source: Source, reading: Reading) -> Part:
    kind = kind_of(source.path, reading)
    stop = source.size
    if kind == "zip":
        stop = -1
    return Part(source.path, 0, stop, reading.encoding, kind, size=source.size)


def _cut(source: Source, reading: Reading, size: int) -> list[Part]:
    whole = _whole(source, reading)
    if whole.kind == "zip":
        return _cut_zip(whole, size, reading.salvage)
    lines = whole.kind == "jsonl" or (whole.kind == "txt" and reading.document == "line")
    if not (lines and source.regular) or plain_name(source.path)[1]:
        return [whole]
    encoding = reading.encoding
    if encoding == "auto":
        with opened(source.path) as file:
            sample = file.read(recognising.SAMPLE)
        encoding = recognising.detect(sample, len(sample) == source.size, source.path)
    encoding = encodings.canonical(encoding)
    if not encodings.cuts_at_newline(encoding):
        return [replace(whole, encoding=encoding)]
    whole = replace(whole, encoding=encoding, ranged=True, plain=whole.kind == "txt" and encoding == "utf-8")
    with opened(source.path) as file:
        starts = _line_starts(file, source.size, size)
    return [
        replace(whole, start=start, stop=stop, size=stop - start)
        for start, stop in zip(starts, [*starts[1:], source.size], strict=True)
    ]


def _line_starts(file: BinaryIO, size: int, step: int) -> list[int]:
    starts = [0]
    while (at := starts[-1] + step) < size and (start := _line_start(file, at)) < size:
        starts.append(start)
    return starts


def _range(part: Part, file: BinaryIO, reading: Reading, report: Report) -> Iterator[list[str]]:
    from shoestring.files import formats
    from shoestring.files.lines import Lines

    report.files += part.start == 0
    if part.start == 0 and reading.encoding == "auto":
        report.recognised(part.path, part.encoding)
    if part.kind == "jsonl" and reading.field is None and part.start > 0:
        reading = replace(reading, field=_field_of_first(part, file, reading))
    file.seek(part.start)
    blocks = _limited(blocks_of(file.read, part.path), part.stop - part.start)
    stream = Stream(part.path, blocks, start=part.start)
    lines = Lines(stream, part.encoding, reading, report, partial(_count_lines, part.path, part.start))
    yield from formats.jsonl(lines, reading.field) if part.kind == "jsonl" else formats.txt(lines)


def _line_start(file: BinaryIO, at: int) -> int:
    """The first offset >= `at` at which a line starts, or the file's size."""
    if at == 0:
        return 0
    offset = at - 1
    file.seek(offset)
    size = 4096
    while block := file.read(size):
        if (end := block.find(b"\n")) >= 0:
            return offset + end + 1
        offset += len(block)
        size = BLOCK
    return offset


def _limited(blocks: Iterator[bytes], size: int) -> Iterator[bytes]:
    for block in blocks:
        yield block[:size]
        size -= len(block)
        if size <= 0:
            return


def _count_lines(path: str, stop: int) -> int:
    with opened(path) as file:
        return sum(block.count(b"\n") for block in _limited(blocks_of(file.read, path), stop))


def _field_of_first(part: Part, file: BinaryIO, reading: Reading) -> str | None:
    """The field that reading the file from its start would choose."""
    from shoestring.files import formats
    from shoestring.files.lines import Lines

    file.seek(0)
    lines = Lines(Stream(part.path, blocks_of(file.read, part.path)), part.encoding, reading, Report())
    return formats.first_field(lines)


def _one(
    name: str,
    kind: str,
    blocks: Iterator[bytes],
    reading: Reading,
    report: Report,
    *,
    file: BinaryIO | None = None,
) -> Iterator[list[str]]:
    """Documents of one file or member; `file` if it can be sought in."""
    from shoestring.files import formats
    from shoestring.files.lines import Lines

    compression = plain_name(name)[1]
    stream = Stream(name, decompressed(blocks, compression, reading.salvage), reading.salvage)
    if kind == "tar":
        yield from _tar(name, stream, reading, report)
        return
    report.files += 1
    if kind == "parquet":
        seekable = file is not None and not compression and file.seekable()
        with closing(file if seekable else formats.unpacked(stream)) as table:
            yield from formats.parquet(table, name, reading, report)
        return
    lines = Lines(stream, reading.encoding, reading, report)
    if kind == "txt":
        yield from formats.txt(lines)
    elif kind == "jsonl":
        yield from formats.jsonl(lines, reading.field)
    else:
        yield from formats.table(lines, reading.field, kind)


def _member(name: str, inner: str, file: Any, reading: Reading, report: Report) -> Iterator[list[str]]:
    from shoestring.files.archives import BROKEN

    path = f"{name}/{inner}"
    kind = kind_of(inner, reading)
    if kind in ("zip", "tar"):
        raise InputError(f"{path}: an archive within an archive is not read; unpack the outer one")
    size = _SALVAGED if reading.salvage else BLOCK
    stream = Stream(path, blocks_of(lambda _: file.read1(size), path, BROKEN), reading.salvage)
    wanted = named_text(inner)
    if text_like(stream.peek(4096)[0]) if wanted is None else wanted:
        yield from _one(path, kind, stream.rest(), reading, report)


def _tar(name: str, stream: Stream, reading: Reading, report: Report) -> Iterator[list[str]]:
    from shoestring.files.archives import tar_members

    for inner, file in tar_members(name, stream, reading, report):
        yield from _member(name, inner, file, reading, report)


def _zip(part: Part, file: BinaryIO, reading: Reading, report: Report) -> Iterator[list[str]]:
    from shoestring.files.archives import is_whole, zip_front, zip_members

    if reading.salvage and not is_whole(file):
        for inner, member in zip_front(part.path, file, report):
            yield from _member(part.path, inner, member, reading, report)
        return
    for inner, opened_member in zip_members(part.path, file, part.start, part.stop):
        yield from _member(part.path, inner, opened_member, reading, report)


def _cut_zip(whole: Part, size: int, salvage: bool) -> list[Part]:
    from shoestring.files.archives import is_whole, zip_ranges

    with opened(whole.path) as file:
        if salvage and not is_whole(file):
            return [whole]
        return [
            replace(whole, start=each.start, stop=each.stop, member=each.first, size=each.size)
            for each in zip_ranges(whole.path, file, size)
        ]


def _nothing(names: list[str]) -> str:
    what = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") or "no source"
    return f"{what}: no document in there; every file is empty or has empty lines only"
