"""jieba's dictionary, compiled for the kernel once and kept in the user's cache folder.

- The table of jieba's own dictionary, or of that and a user dictionary, is found by the hash of both files: it is
  compiled when they change (about 0.3 s) and read otherwise (about 10 ms). jieba itself is then never imported. The
  16 tables that were used last are kept.
- A user dictionary means what `jieba.load_userdict` makes of it: words without a frequency get the one jieba
  suggests, words already there are overridden, frequency 0 splits the word.
- A table is used only if its logarithms are this Python's, bit for bit: ties between cuts depend on them.
"""

from __future__ import annotations

import math
import os
import re
import sys
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING

from shoestring._errors import ExtraMissing, InputError

if TYPE_CHECKING:
    from shoestring.count import _kernel

VERSION = "5"  # of the compiled form; changes with the C code that makes it
USER_LINE = re.compile(r"^(.+?)( [0-9]+)?( [a-z]+)?$")  # jieba's re_userdict
DIGEST = 16  # bytes
MOST_KEPT = 16  # tables of 8 MB, one for each user dictionary as it was
BLOCK = 1 << 16  # of the dictionary read at a time: what fits the cache needs no fresh memory
SUGGEST = -1
STATES = "BMES"


@dataclass(frozen=True)
class UserWord:
    """A word of a user dictionary; frequency `SUGGEST` means the one that cuts it out whole."""

    word: str
    frequency: int = SUGGEST


def read_user_dict(path: str | os.PathLike[str]) -> list[UserWord]:
    """Reads a jieba user dictionary: `word [frequency] [tag]` per line, UTF-8.

    Raises:
        InputError: a line is not UTF-8 or has no word; the message has the file and the line.
    """
    words = []
    try:
        lines = Path(path).read_bytes().split(b"\n")
    except OSError as error:
        raise InputError(f"user dictionary {path}: {error.strerror}") from error
    for number, line in enumerate(lines, 1):
        try:
            text = line.strip().decode("utf-8").lstrip("\ufeff")
        except UnicodeDecodeError as error:
            raise InputError(
                f"user dictionary {path}, line {number}: not UTF-8 at byte {error.start}"
            ) from error
        if not line.strip():
            continue
        match = USER_LINE.match(text)
        if match is None:
            raise InputError(f"user dictionary {path}, line {number}: no word; write: word [frequency] [tag]")
        word, frequency, _ = match.groups()
        words.append(UserWord(word, SUGGEST if frequency is None else int(frequency)))
    return words


def kernel_table(words: Sequence[UserWord] = (), whole: Sequence[str] = ()) -> _kernel.Table | None:
    """Returns the kernel's table, or None where the kernel is not built or cannot serve this dictionary exactly."""
    try:
        return compiled(words, whole)
    except (ImportError, Unfit):
        return None


def compiled(words: Sequence[UserWord] = (), whole: Sequence[str] = ()) -> _kernel.Table:
    """Returns the kernel's table of jieba's dictionary with these words added in order, and others kept whole.

    Raises:
        ImportError: the kernel is not built.
        Unfit: the dictionary is beyond the kernel's limits; another engine can still use it.
    """
    return _table(cache_folder() / f"jieba-{_digest(words)}.table", tuple(words), tuple(whole))


@lru_cache(maxsize=4)
def _table(path: Path, words: tuple[UserWord, ...], whole: tuple[str, ...]) -> _kernel.Table:
    """Reads the table, or compiles it and writes it for the next process."""
    from shoestring.count import _kernel

    image = _read_cached(path)
    try:
        if image is not None:
            return _kernel.Table(image, list(whole))
    except ValueError:
        pass  # of another machine or version: compiled again below
    try:
        frequencies = [(word.word, min(word.frequency, 2**62)) for word in words]
        image = _kernel.build(dict_path().read_bytes(), frequencies, _hmm())
        table = _kernel.Table(image, list(whole))
    except (ValueError, UnicodeEncodeError) as error:
        raise Unfit(str(error)) from error
    if not _same_logarithms(table):
        raise Unfit("this system's log() is not the one of Python")
    _write_cached(path, image)
    return table


def table_of(frequencies: dict[str, int], total: int, forced: Iterable[str]) -> _kernel.Table | None:
    """Returns the table of a jieba tokenizer's FREQ, total and Force_Split_Words; None if the kernel cannot have it."""
    try:
        from shoestring.count import _kernel

        table = _kernel.Table(_kernel.build_from(frequencies, total, sorted(forced), _hmm()))
    except (ImportError, ValueError, OverflowError, TypeError):
        return None
    return table if _same_logarithms(table) else None


def _same_logarithms(table: _kernel.Table) -> bool:
    log_total = math.log(table.total())
    return all(weight == math.log(frequency) - log_total for frequency, weight in table.weights())


class Unfit(Exception):
    """The kernel cannot serve this dictionary exactly."""


def dict_path() -> Path:
    """Returns the path of jieba's dict.txt without importing jieba."""
    return _jieba_folder() / "dict.txt"


def known_words() -> frozenset[str]:
    """Returns the words of jieba's own dictionary."""
    rows = (line.split(" ", 2) for line in dict_path().read_text("utf-8").splitlines())
    return frozenset(row[0] for row in rows if row[1] != "0")


def cache_folder() -> Path:
    """Returns where compiled tables are kept: `$SHOESTRING_CACHE`, else the system's place for caches."""
    if chosen := os.environ.get("SHOESTRING_CACHE"):
        return Path(chosen)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "shoestring"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "shoestring"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shoestring"


def _jieba_folder() -> Path:
    spec = PathFinder.find_spec(
        "jieba"
    )  # where `jieba` is, also when a script runs with ours under that name
    if spec is None or not spec.submodule_search_locations:
        raise ExtraMissing(
            "this needs the package 'jieba', which is not installed; type: pip install 'shoestring[count]'"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def _hmm() -> bytes:
    """The HMM of jieba's finalseg as the kernel's Hmm: start[4], transition[4][4], emission[Han][4]."""
    from jieba import finalseg

    lowest = finalseg.MIN_FLOAT
    model = array("d", [finalseg.start_P[state] for state in STATES])
    model.extend(finalseg.trans_P[a].get(b, lowest) for a in STATES for b in STATES)
    han = map(chr, range(0x4E00, 0x9FD5 + 1))
    emit = [finalseg.emit_P[state] for state in STATES]
    model.extend(probability.get(character, lowest) for character in han for probability in emit)
    return model.tobytes()


def _digest(words: Sequence[UserWord]) -> str:
    from shoestring.count import _kernel

    path = dict_path()
    own = _digest_of(path, path.stat().st_mtime_ns)
    return _kernel.digest(own + "".join(f"{word.word}\n{word.frequency}\n" for word in words).encode()).hex()


@lru_cache(maxsize=1)
def _digest_of(path: Path, changed: int) -> bytes:
    from shoestring.count import _kernel

    digest = VERSION.encode()
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            digest = _kernel.digest(digest + block)
    return digest


def _read_cached(path: Path) -> bytes | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    from shoestring.count import _kernel

    whole = content[-DIGEST:] == _kernel.digest(content, max(0, len(content) - DIGEST))
    return content if whole else None


def _last_used(path: Path) -> float:
    status = path.stat()
    return max(status.st_atime, status.st_mtime)


def _write_cached(path: Path, image: bytes) -> None:
    """Writes beside the target and renames; those used longest ago go. A cache that cannot be written is no error."""
    from tempfile import NamedTemporaryFile

    from shoestring.count import _kernel

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(image + _kernel.digest(image))
        os.replace(file.name, path)
        for old in sorted(path.parent.glob("jieba-*.table"), key=_last_used)[:-MOST_KEPT]:
            old.unlink()
    except OSError:
        return
