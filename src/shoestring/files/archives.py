"""Members of zip and tar archives, one after the other, never a whole archive in memory.

Loaded only when there is an archive, as the standard library's modules for them are.
"""

from __future__ import annotations

import lzma
import struct
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


def zip_front(path: str, file: BinaryIO, report: Report) -> Iterator[tuple[str, Any]]:
    """Yields name and file of the members that a zip without its end begins with, up to where it is cut.

    Each member stands behind a header of its own (PKWARE APPNOTE 4.3.7), so what is there can be read without the table
    of contents. A member whose length the header does not say must be deflated, for that has an end of its own.
    """
    while (header := file.read(30))[:4] == b"PK\x03\x04" and len(header) == 30:
        flags, method, packed, names, extra = struct.unpack("<6xHH8xL4xHH", header)
        name = file.read(names).decode("utf-8" if flags & 0x800 else "cp437", "replace")
        file.seek(extra, 1)
        open_ended = bool(flags & 8) and not packed
        if flags & 1 or method not in (0, 8) or packed == 0xFFFFFFFF or (open_ended and method == 0):
            break
        member = _Member(file, method == 8, None if open_ended else packed)
        if not (name.endswith("/") or hidden(name)):
            yield name, member
        if not member.finish(bool(flags & 8)):
            break
    report.note("truncated", path, file.tell())


class _Member:
    """A member of a cut zip, read forwards."""

    def __init__(self, file: BinaryIO, deflated: bool, packed: int | None) -> None:
        self._file, self._left = file, packed
        self._engine = zlib.decompressobj(-15) if deflated else None
        self._begin = file.tell()
        self._ended = packed == 0

    def read1(self, size: int) -> bytes:
        """Returns some of its bytes, none at its end.

        Raises:
            EOFError: the zip is cut here.
        """
        while not self._ended:
            block = self._file.read(size if self._left is None else min(size, self._left))
            if not block:
                raise EOFError("it ends early")
            if self._left is not None:
                self._left -= len(block)
            text = self._engine.decompress(block) if self._engine else block
            if self._engine and self._engine.eof:
                self._file.seek(-len(self._engine.unused_data), 1)
            self._ended = self._left == 0 or bool(self._engine and self._engine.eof)
            if text:
                return text
        return b""

    def finish(self, described: bool) -> bool:
        """Goes to the next header; False if this member is cut."""
        try:
            while self.read1(BLOCK):
                pass
        except BROKEN:
            return False
        if self._left:
            self._file.seek(self._left, 1)
        if described:
            signed = self._file.read(4) == b"PK\x07\x08"
            self._file.seek(12 if signed else 8, 1)
        return True


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


def is_whole(file: BinaryIO) -> bool:
    """Returns whether a zip has its table of contents."""
    whole = zipfile.is_zipfile(file)
    file.seek(0)
    return whole


def _opened(path: str, file: BinaryIO) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError(f"{path}: this is not a sound zip archive: {reason(error)}") from error
