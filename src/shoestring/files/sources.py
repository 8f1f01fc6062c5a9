"""From what a user names (files, folders, patterns, addresses, `-`) to the files it means, in a fixed order.

- Folders are walked to the end, links to folders too (each folder once); hidden names are left out.
- In folders and archives, files with a known ending are taken, and others if they start like text.
- Paths sort by code point, so that the order is the same on every machine.
"""

from __future__ import annotations

import glob
import os
import re
import stat
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from shoestring._errors import InputError
from shoestring._extras import require
from shoestring.files.reading import Reading, Report
from shoestring.files.streams import opened, plain_name, reason

_KINDS = {
    ".txt": "txt", ".text": "txt", ".md": "txt", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl",
    ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet", ".zip": "zip", ".tar": "tar",
}  # fmt: skip

_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


@dataclass(frozen=True)
class Source:
    """One file: its path or address, its size in bytes (0 if unknown), and whether it can be sought in."""

    path: str
    size: int
    regular: bool


def kind_of(name: str, reading: Reading) -> str:
    """Returns the format a name stands for: one of txt, jsonl, csv, tsv, parquet, or an archive, zip or tar.

    >>> kind_of("a.JSONL.gz", Reading()), kind_of("part-00000", Reading())
    ('jsonl', 'txt')
    """
    kind = _KINDS.get(os.path.splitext(plain_name(name)[0])[1].lower(), "txt")
    return kind if reading.format == "auto" or kind in ("zip", "tar") else reading.format


def find(sources: Sequence[str | Path] | str | Path, report: Report | None = None) -> Iterator[Source]:
    """Yields the files that sources mean: sources in the given order, what they contain sorted, each once.

    Args:
        sources: files, folders, patterns, addresses, or `-`.
        report: is told of links to nothing within folders.

    Raises:
        InputError: a source is missing (close names are suggested), matches nothing, has no text in it, or two
            of them mean the same file.
    """
    report = report if report is not None else Report()
    names = [os.fspath(source) for source in ([sources] if isinstance(sources, str | Path) else sources)]
    given: dict[str, int] = {}
    for number, name in enumerate(names):
        for each in _found(name, report):
            if len(names) > 1 and (each.regular or name == "-"):
                first = given.setdefault(os.path.realpath(each.path), number)
                if first != number:  # links to one file within a folder are files of their own
                    raise InputError(
                        f"{each.path}: given twice, by {names[first]} and by {name}; its text would count double"
                    )
            yield each


def _found(name: str, report: Report) -> Iterator[Source]:
    if name == "-":
        yield Source(name, 0, False)
    elif "://" in name:
        yield from _remote(name)
    elif os.path.lexists(name):
        yield from _local(name, report)
    elif glob.has_magic(name):
        matches = sorted(glob.glob(name, recursive=True))
        if not matches:
            raise InputError(f"{name}: no file matches this pattern")
        for match in matches:
            yield from _local(match, report)
    else:
        raise InputError(f"{name}: there is no such file or folder{_suggestion(name)}")


def named_text(name: str) -> bool | None:
    """Returns whether a name alone says that a file is one of ours; None if it does not say.

    >>> named_text("a.txt.gz"), named_text("a.png.gz"), named_text("wiki_00")
    (True, False, None)
    """
    inner, compression = plain_name(name)
    ending = os.path.splitext(inner)[1].lower()
    if ending in _KINDS or (compression and not ending):
        return True
    return False if compression else None


def text_like(sample: bytes) -> bool:
    """Returns whether a file that starts so is text: UTF-16 with a BOM, or no control characters."""
    return bool(sample) and (sample[:2] in (BOM_UTF16_LE, BOM_UTF16_BE) or not _CONTROL.search(sample))


def hidden(name: str) -> bool:
    """Returns whether a part of an archive member's path starts with a dot.

    >>> hidden("__MACOSX/._a.txt"), hidden("a/b.txt")
    (True, False)
    """
    return any(part.startswith(".") and part not in (".", "..") for part in name.split("/"))


def _local(path: str, report: Report) -> Iterator[Source]:
    try:
        status = os.stat(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {reason(error)}") from error
    if not stat.S_ISDIR(status.st_mode):
        regular = stat.S_ISREG(status.st_mode)
        yield Source(path, status.st_size if regular else 0, regular)
        return
    found, others = False, Counter()
    for source in _walk(path, {(status.st_dev, status.st_ino)}, report):
        if _wanted(source.path):
            found = True
            yield source
        else:
            others[os.path.splitext(source.path)[1] or "files without ending"] += 1
    if not found:
        has = ", ".join(f"{count} {ending}" for ending, count in others.most_common(5)) or "nothing"
        raise InputError(
            f"{path}: no text in this folder, only {has}; files that end in {' '.join(_KINDS)} "
            "are read, and others that contain text"
        )


def _wanted(path: str) -> bool:
    wanted = named_text(path)
    if wanted is None:
        with opened(path) as file:
            wanted = text_like(file.read(4096))
    return wanted


def _walk(folder: str, seen: set[tuple[int, int]], report: Report) -> Iterator[Source]:
    """Goes down without recursion, for folders may lie deeper in each other than Python's stack is."""
    waiting = [iter(_entries(folder))]
    while waiting:
        entry = next(waiting[-1], None)
        if entry is None:
            waiting.pop()
            continue
        try:
            status = entry.stat()
        except OSError as error:
            if entry.is_symlink() and not os.path.exists(entry.path):
                report.note("links", entry.path, 0)
                continue
            raise InputError(f"{entry.path}: cannot be read: {reason(error)}") from error
        if stat.S_ISREG(status.st_mode):
            yield Source(entry.path, status.st_size, True)
        elif stat.S_ISDIR(status.st_mode) and (status.st_dev, status.st_ino) not in seen:
            seen.add((status.st_dev, status.st_ino))
            waiting.append(iter(_entries(entry.path)))


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted((entry for entry in found if not entry.name.startswith(".")), key=_order)
    except OSError as error:
        raise InputError(f"{folder}: cannot be read: {reason(error)}") from error


def _order(entry: os.DirEntry[str]) -> str:
    return entry.name


def _remote(address: str) -> Iterator[Source]:
    fsspec = require("files", "fsspec")
    try:
        system, path = fsspec.core.url_to_fs(address)
        if glob.has_magic(path):
            paths = sorted(system.glob(path))
        elif system.isdir(path):
            paths = sorted(each for each in system.find(path) if not hidden(each[len(path) :]))
            paths = [each for each in paths if _wanted(system.unstrip_protocol(each))]
        else:
            paths = [path] if system.exists(path) else []
        sizes = {each: system.size(each) or 0 for each in paths}
    except (OSError, ImportError, ValueError) as error:
        raise InputError(f"{address}: cannot be read: {reason(error)}") from error
    if not paths:
        raise InputError(f"{address}: nothing there to read")
    for each in paths:
        yield Source(address if each == path else system.unstrip_protocol(each), sizes[each], False)


def nearest(name: str) -> str:
    """Returns the paths beside a missing one whose names are nearest by edit distance, or nothing."""
    from difflib import get_close_matches

    folder, base = os.path.split(name.rstrip("/"))
    try:
        near = get_close_matches(base, os.listdir(folder or "."), n=3, cutoff=0.6)
    except OSError:
        return ""
    return " or ".join(os.path.join(folder, each) for each in near)


def _suggestion(name: str) -> str:
    folder = os.path.dirname(name.rstrip("/"))
    if folder and not os.path.isdir(folder):
        return f"; the folder {folder!r} is missing too"
    near = nearest(name)
    return f"; did you mean {near}?" if near else ""
