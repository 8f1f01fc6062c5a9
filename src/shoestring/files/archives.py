"""Members of zip and tar archives, one after the other, never a whole archive in memory.

Loaded only when there is an archive, as the standard library's modules for them are.
"""

from __future__ import annotations

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from shoestring._errors import InputError
from shoestring.files.reading import Reading, Report
from shoestring.files.sources import hidden
from shoestring.files.streams import BLOCK, Stream, reason

BROKEN = (
    EOFError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    tarfile.TarError,
)  # what reading a member raises
_MOST_ZIP_PARTS = 64  # each reads the zip's table of contents again


def tar_members(name: str, stream: Stream, reading: Reading, report: Report) -> Iterator[tuple[str, Any]]:
    """Yields name and file of each member of a tar; a file is good until the next is asked for.

    Raises:
        InputError: the archive is damaged; under salvage that is its end.
    """
    try:
        with tarfile.open(fileobj=stream.file(), mode="r|", bufsize=BLOCK) as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isfile() and not hidden(member.name) else None
                if file is not None:
                    yield member.name, file
    except (tarfile.TarError, EOFError) as error:
        if not reading.salvage:
            raise InputError(f"{name}: the tar archive is damaged ({reason(error)})") from error
        report.note("truncated", name, 0)


def zip_members(path: str, file: BinaryIO, start: int, stop: int) -> Iterator[tuple[str, Any]]:
    """Yields name and file of the members from `start` to before `stop` (to the last, if negative).

    Raises:
        InputError: this is no sound zip, or a member cannot be unpacked.
    """
    with _opened(path, file) as archive:
        for member in _members(archive)[start : None if stop < 0 else stop]:
            try:
                opened = archive.open(member)
            except (RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:
                raise InputError(f"{path}/{member.filename}: cannot be unpacked: {reason(error)}") from error
            with opened:
                yield member.filename, opened


@dataclass(frozen=True)
class Range:
    """Neighbours in a zip: from member `start`, called `first`, to before `stop`; `size` bytes packed."""

    start: int
    stop: int
    first: str
    size: int


def zip_ranges(path: str, file: BinaryIO, size: int) -> list[Range]:
    """Cuts a zip into ranges of about `size` unpacked bytes."""
    with _opened(path, file) as archive:
        members = _members(archive)
    size = max(size, sum(member.file_size for member in members) // _MOST_ZIP_PARTS)
    found, start, held, packed = [], 0, 0, 0
    for index, member in enumerate(members, 1):
        held, packed = held + member.file_size, packed + member.compress_size
        if held >= size or index == len(members):
            found.append(Range(start, index, members[start].filename, packed))
            start, held, packed = index, 0, 0
    return found


def _members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    return [each for each in archive.infolist() if not each.is_dir() and not hidden(each.filename)]


def _opened(path: str, file: BinaryIO) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError(f"{path}: this is not a sound zip archive: {reason(error)}") from error
