"""Bytes in blocks from anything: local files, stdin, fsspec addresses, compressed, members of archives.

- A block is a quarter of a mebibyte, which the processor's cache can hold; no file is in memory as a whole.
- Concatenated gz, bz2, xz and zst members are one text; zero padding between and after them is allowed.
- Anything else after the end, a missing end, a wrong check sum: one clear error, or under `salvage` the end.
"""

from __future__ import annotations

import io
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, BinaryIO

from shoestring._errors import InputError
from shoestring._extras import require

BLOCK = 1 << 18
COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
_SALVAGE_STEP = 128  # a damaged piece is lost as a whole, so pieces are small when the rest is to be kept


class Damaged(Exception):
    """Compressed data or an archive ends early, is corrupt or goes on with something else."""


class Stream:
    """The bytes of one text, in blocks; may be looked into before it is read.

    Args:
        name: how messages call it.
        blocks: its bytes, cut anywhere.
        salvage: a damaged end is an end: it sets `cut`.
        start: the offset of the first byte in the whole text.
    """

    def __init__(self, name: str, blocks: Iterable[bytes], salvage: bool = False, start: int = 0) -> None:
        self.name = name
        self.start = start
        self.cut = False
        self._blocks = iter(blocks)
        self._salvage = salvage
        self._given = start

    def __iter__(self) -> Iterator[bytes]:
        try:
            for block in self._blocks:
                self._given += len(block)
                yield block
        except Damaged as damage:
            if not self._salvage:
                raise InputError(
                    f"{self.name}: {damage}, after {self._given:,} bytes of text; get the file again, "
                    "or keep what precedes the damage with salvage"
                ) from damage
            self.cut = True

    def peek(self, size: int) -> tuple[bytes, bool]:
        """Returns the first `size` bytes without using them up, and whether that is all there is."""
        taken, held = [], 0
        try:
            while held <= size and (block := next(self._blocks, None)) is not None:
                taken.append(block)
                held += len(block)
        except Damaged as damage:
            self._blocks = chain(taken, _raising(damage))
        else:
            self._blocks = chain(taken, self._blocks)
        return b"".join(taken)[:size], held <= size

    def rest(self) -> Iterator[bytes]:
        """Returns the blocks as they were given: damage is not yet an error or an end."""
        return self._blocks

    def file(self) -> io.BufferedReader:
        """Returns the stream as a binary file that can only be read forwards."""
        return io.BufferedReader(_Raw(iter(self)), BLOCK)


def _raising(error: Exception) -> Iterator[bytes]:
    raise error
    yield b""


class _Raw(io.RawIOBase):
    """Blocks as a raw file, for libraries that want one."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._rest = memoryview(block)
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


@contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """Opens a local path, an fsspec address or `-` (stdin) for reading bytes.

    Raises:
        InputError: it is missing, unreadable or a folder; what the system says is in the message.
    """
    if path == "-":
        yield sys.stdin.buffer
        return
    try:
        file = require("files", "fsspec").open(path, "rb").open() if "://" in path else open(path, "rb")  # noqa: SIM115
    except (OSError, ImportError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {reason(error)}") from error
    with file:
        yield file


def reason(error: Exception) -> str:
    """Returns what the system says about an error, without the file's name."""
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__


def blocks_of(
    read: Callable[[int], bytes], name: str, broken: tuple[type[Exception], ...] = ()
) -> Iterator[bytes]:
    """Yields what a binary file's `read` still gives, in blocks.

    Args:
        read: as of a file.
        name: how messages call it.
        broken: what reading a member of an archive raises when its data are broken.

    Raises:
        Damaged: it is a member of an archive whose data are broken.
        InputError: the system cannot read it.
    """
    while True:
        try:
            block = read(BLOCK)
        except broken as error:
            raise Damaged(f"the archive is damaged ({reason(error)})") from error
        except OSError as error:
            raise InputError(f"{name}: cannot be read: {reason(error)}") from error
        if not block:
            return
        yield block


def plain_name(name: str) -> tuple[str, str]:
    """Splits a file name into the name without its compression, and the compression.

    >>> plain_name("a.txt.gz"), plain_name("a.txt")
    (('a.txt', '.gz'), ('a.txt', ''))
    """
    lower = name.lower()
    for suffix in COMPRESSED:
        if lower.endswith(suffix):
            return name[: -len(suffix)], suffix
    return (name[:-4] + ".tar", ".gz") if lower.endswith(".tgz") else (name, "")


def decompressed(blocks: Iterable[bytes], compression: str, salvage: bool = False) -> Iterator[bytes]:
    """Yields the decompressed text of blocks compressed as the ending says; `""` changes nothing.

    Raises:
        Damaged: the data end early, are corrupt or go on with something that is not compressed so.
    """
    if not compression:
        yield from blocks
        return
    new, failures = _codec(compression)
    engine, ended, fresh = None, False, True
    step = _SALVAGE_STEP if salvage else 1024
    for block in blocks:
        at = 0
        while at < len(block):
            piece = block[at : at + step]
            at += len(piece)
            if engine is None:
                if not (piece := piece.lstrip(b"\0")):  # padding, as tapes leave it
                    continue
                engine, fresh = new(), True
            size = 0
            try:
                for text in _texts(engine, piece, compression):
                    size += len(text)
                    yield text
            except failures as error:
                raise Damaged(_what(compression, error, ended and fresh)) from error
            fresh = False
            if engine.eof:
                at -= len(engine.unused_data)
                engine, ended = None, True
            if not salvage:  # big steps are fast, but a hundred bytes may stand for gigabytes of one letter
                step = max(256, step // 8) if size > BLOCK else min(64 << 10, step * 2)
    if engine is not None:
        raise Damaged(f"the {compression} data end early")


def _texts(engine: Any, piece: bytes, compression: str) -> Iterator[bytes]:
    if compression in (".gz", ".zst"):
        yield engine.decompress(piece)
        return
    yield engine.decompress(piece, BLOCK)  # 45 bytes of bz2 may stand for 46 megabytes
    while not (engine.eof or engine.needs_input):
        yield engine.decompress(b"", BLOCK)


def _what(compression: str, error: Exception, beyond: bool) -> str:
    if beyond:
        return f"something else follows the end of the {compression} data"
    return f"the {compression} data are damaged ({reason(error)})"


def _codec(compression: str) -> tuple[Callable[[], Any], tuple[type[Exception], ...]]:
    if compression == ".zst":
        zstandard = require("files", "zstandard")
        engine = zstandard.ZstdDecompressor(max_window_size=1 << 31)  # `zstd --long=31` writes such windows
        return engine.decompressobj, (zstandard.ZstdError,)
    if compression == ".gz":
        return lambda: zlib.decompressobj(wbits=31), (zlib.error,)
    if compression == ".bz2":
        from bz2 import BZ2Decompressor

        return BZ2Decompressor, (OSError,)
    from lzma import LZMADecompressor, LZMAError

    return LZMADecompressor, (LZMAError,)
