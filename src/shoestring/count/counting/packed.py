"""Exact counts of runs of 1 to 4 characters: 64-bit keys, sorted runs, a merge by ranges of keys.

- From every position up to four characters, to the end of the line at most, are packed in one key, 16 bits each,
  zeros after the end. Ids follow code points, so keys sort as the strings do, shorter ones first.
- A chunk of text becomes one sort and one run-length count. Orders 1 to 3 are prefixes of the sorted keys: no
  second sort. The kernel does both by radix; without it, numpy.
- Runs lie on disk with their own alphabet; merging maps it to the common one, which changes no order. Ranges begin
  at a first character, so that all prefixes of a key are in its range.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from shoestring._errors import InputError
from shoestring.count.counting.columns import Columns
from shoestring.files import atomic

WIDTH = 4
SEPARATOR = 0x110000  # beyond Unicode: no run of characters goes across it
ALPHABET = (1 << 16) - 1
PIECE = 1 << 18  # rows made into text at a time

Piece = tuple[bytes, bool]  # text, and whether runs end with its lines, as they all do with the piece
Codes = NDArray[np.uint32]
Keys = NDArray[np.uint64]


def _kernel() -> ModuleType | None:
    try:
        from shoestring.count import _kernel
    except ImportError:
        return None
    return _kernel


def measure(data: bytes) -> tuple[int, int] | None:
    """Returns how many characters and how many lines that are not empty there are; None if it is not UTF-8."""
    if kernel := _kernel():
        found = kernel.measure(data)
        return None if isinstance(found, int) else found
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return len(text), sum(1 for line in text.replace("\r\n", "\n").split("\n") if line)


def _codes_of(piece: Piece) -> Codes:
    text = piece[0].decode("utf-8")
    codes = _codes((text.replace("\r\n", "\n") if piece[1] else text) + "\n")
    codes[codes == ord("\n") if piece[1] else -1] = SEPARATOR
    return codes


def codes_of_texts(texts: Sequence[str]) -> Codes:
    """Returns the code points of texts, each followed by a separator."""
    codes = _codes("\n".join([*texts, ""]))
    codes[np.cumsum([len(text) + 1 for text in texts], dtype=np.int64) - 1] = SEPARATOR
    return codes


def _codes(text: str) -> Codes:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4").copy()


def count_chunk(pieces: Sequence[Piece], longest: int) -> tuple[Codes, Keys, NDArray[np.int64]]:
    """Counts the runs of characters of a chunk.

    Args:
        pieces: of UTF-8.
        longest: characters per key, 1 to 4.

    Returns:
        The alphabet in order of code points, the sorted keys of its ids (from 1), and how often each occurs.

    Raises:
        InputError: the chunk has more than 65,535 different characters.
    """
    if kernel := _kernel():
        alphabet, keys, counts = kernel.count_keys(list(pieces), longest)
        _check(len(alphabet) // 4)
        return (
            np.frombuffer(alphabet, np.uint32),
            np.frombuffer(keys, np.uint64),
            np.frombuffer(counts, np.int64),
        )
    codes = np.concatenate([_codes_of(piece) for piece in pieces])
    seen = np.zeros(SEPARATOR + 1, bool)
    seen[codes] = True
    seen[SEPARATOR] = False
    alphabet = np.flatnonzero(seen).astype(np.uint32)
    _check(len(alphabet))
    id_of = np.zeros(SEPARATOR + 1, np.uint16)
    id_of[alphabet] = np.arange(1, len(alphabet) + 1, dtype=np.uint16)
    ids = np.concatenate([id_of[codes], np.zeros(WIDTH, np.uint16)])
    size = len(codes)
    keys = ids[:size].astype(np.uint64) << np.uint64(48)
    alive = ids[:size] != 0
    for place in range(1, longest):
        following = ids[place : place + size]
        alive &= following != 0
        keys |= (following * alive).astype(np.uint64) << np.uint64(48 - 16 * place)
    keys = keys[ids[:size] != 0]
    keys.sort()
    starts = _starts(keys)
    return alphabet, keys[starts], np.diff(np.append(starts, len(keys)))


def _check(characters: int) -> None:
    if characters > ALPHABET:
        raise InputError(
            f"the corpus has {characters:,} different characters; runs of characters are counted for up to "
            f"{ALPHABET:,}; is it text, and in the encoding you gave?"
        )


def _starts(keys: Keys) -> NDArray[np.int64]:
    """Where each new value of a sorted array begins."""
    if not len(keys):
        return np.zeros(0, np.int64)
    return np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))


def table(pieces: Sequence[Piece], lengths: tuple[int, int]) -> Columns:
    """Counts a chunk; returns the runs of all lengths in order of code points."""
    alphabet, keys, counts = count_chunk(pieces, lengths[1])
    keys, totals = _orders(keys, counts, lengths)
    return next(decode(keys, totals, alphabet, max(1, len(keys))), Columns.of([]))


def write_run(path: Path, pieces: Sequence[Piece], longest: int) -> None:
    """Counts a chunk and writes it: alphabet, where each first character begins, counts, keys."""
    alphabet, keys, counts = count_chunk(pieces, longest)
    firsts = np.arange(1, len(alphabet) + 2, dtype=np.uint64) << np.uint64(48)
    with atomic(path, "wb") as file:
        np.save(file, alphabet)
        np.save(file, np.append(np.searchsorted(keys, firsts[:-1]), len(keys)))
        np.save(file, counts.astype(np.uint32))
        np.save(file, keys)


@dataclass(frozen=True)
class Run:
    """A run on disk: its alphabet, where the keys of each first character begin, where the arrays lie."""

    path: Path
    alphabet: Codes
    begins: NDArray[np.int64]
    counts_at: int
    keys_at: int

    @classmethod
    def open(cls, path: Path) -> Run:
        """Reads all but the counts and keys."""
        with open(path, "rb") as file:
            alphabet, begins = np.load(file), np.load(file)
        size = path.stat().st_size - 8 * int(begins[-1])
        return cls(path, alphabet, begins, size - 128 - 4 * int(begins[-1]), size)

    def slice(self, first: int, last: int, mapping: NDArray[np.uint16]) -> tuple[Keys, NDArray[np.uint32]]:
        """Returns the keys, in ids of its own, and counts whose common first id lies in first..last-1."""
        low, high = np.searchsorted(mapping[1:], [first, last])
        start, stop = int(self.begins[low]), int(self.begins[high])
        keys = np.fromfile(self.path, "<u8", stop - start, offset=self.keys_at + 8 * start)
        return keys, np.fromfile(self.path, "<u4", stop - start, offset=self.counts_at + 4 * start)


def merged(
    paths: Sequence[Path], lengths: tuple[int, int], memory: int, stop: Iterable[str] = ()
) -> Iterator[tuple[Keys, NDArray[np.int64], Codes]]:
    """Yields sorted keys, counts and the alphabet of all runs together, range by range.

    Args:
        paths: runs.
        lengths: shortest and longest run of characters wanted.
        memory: bytes that one range may take, about.
        stop: strings to leave out.
    """
    runs = [Run.open(path) for path in paths]
    alphabet = np.unique(np.concatenate([run.alphabet for run in runs])) if runs else np.zeros(0, np.uint32)
    _check(len(alphabet))
    mappings = [np.append(0, np.searchsorted(alphabet, run.alphabet) + 1).astype(np.uint16) for run in runs]
    rows = np.zeros(len(alphabet) + 2, np.int64)  # keys by first character
    for run, mapping in zip(runs, mappings, strict=True):
        rows[mapping[1:]] += np.diff(run.begins)
    left_out = np.array([key for word in stop if (key := key_of(word, alphabet))], np.uint64)
    for first, last in _ranges(rows, max(1, memory // 120)):
        slices = [
            (*run.slice(first, last, mapping), mapping) for run, mapping in zip(runs, mappings, strict=True)
        ]
        keys, counts = _added(slices)
        keys, counts = _orders(keys, counts, lengths)
        if len(left_out):
            kept = ~np.isin(keys, left_out)
            keys, counts = keys[kept], counts[kept]
        yield keys, counts, alphabet


def _ranges(rows: NDArray[np.int64], most: int) -> Iterator[tuple[int, int]]:
    """Ranges of first ids whose keys are at most `most`, or a single id."""
    first, held = 1, 0
    for identity in range(1, len(rows) - 1):
        if held and held + rows[identity] > most:
            yield first, identity
            first, held = identity, 0
        held += int(rows[identity])
    if held:
        yield first, len(rows) - 1


def _added(
    slices: Sequence[tuple[Keys, NDArray[np.uint32], NDArray[np.uint16]]],
) -> tuple[Keys, NDArray[np.int64]]:
    """Merges sorted keys, each with their counts and the common ids of theirs."""
    if kernel := _kernel():
        whole = [(keys, counts, np.pad(ids, (0, ALPHABET + 1 - len(ids)))) for keys, counts, ids in slices]
        return _views(kernel.merge_keys(whole))
    keys = np.concatenate([ids[keys.view("<u2")].view("<u8") for keys, _, ids in slices])
    order = np.argsort(keys, kind="stable")  # merges what is sorted already
    keys, counts = keys[order], np.concatenate([counts for _, counts, _ in slices]).astype(np.int64)[order]
    starts = _starts(keys)
    return keys[starts], np.add.reduceat(counts, starts) if len(starts) else counts


def _views(rows: tuple[bytes, bytes]) -> tuple[Keys, NDArray[np.int64]]:
    return np.frombuffer(rows[0], np.uint64), np.frombuffer(rows[1], np.int64)


def _orders(
    keys: Keys, counts: NDArray[np.int64], lengths: tuple[int, int]
) -> tuple[Keys, NDArray[np.int64]]:
    """Counts of all lengths from the counts of the longest: prefixes of sorted keys are sorted."""
    if kernel := _kernel():
        return _views(kernel.key_lengths(keys, counts, *lengths))
    every_key, every_count = [], []
    for length in range(lengths[0], lengths[1] + 1):
        unit = np.uint64(16 * (WIDTH - length))
        prefixes = keys >> unit
        full = (prefixes & np.uint64(0xFFFF)) != 0
        prefixes, weights = prefixes[full], counts[full]
        starts = _starts(prefixes)
        if len(starts):
            every_key.append(prefixes[starts] << unit)
            every_count.append(np.add.reduceat(weights, starts))
    if len(every_key) < 2:
        return (every_key[0], every_count[0]) if every_key else (keys[:0], counts[:0])
    joined, weights = np.concatenate(every_key), np.concatenate(every_count)
    order = np.argsort(joined, kind="stable")
    return joined[order], weights[order]


def key_of(word: str, alphabet: Codes) -> int:
    """The word's key, 0 if it cannot occur."""
    key = 0
    for place in range(WIDTH):
        identity = 0
        if place < len(word):
            identity = int(np.searchsorted(alphabet, ord(word[place]))) + 1
            if identity > len(alphabet) or alphabet[identity - 1] != ord(word[place]):
                return 0
        key = key << 16 | identity
    return key if 0 < len(word) <= WIDTH else 0


def decode(keys: Keys, counts: NDArray[np.int64], alphabet: Codes, piece: int = PIECE) -> Iterator[Columns]:
    """Spells keys out, so many at a time."""
    kernel, code_of = _kernel(), np.append(np.uint32(0), alphabet)
    for first in range(0, len(keys), piece):
        part, times = keys[first : first + piece], counts[first : first + piece].astype(np.int64).tobytes()
        if kernel:
            offsets, words = kernel.spell_keys(part, alphabet)
            yield Columns(offsets, words, times)
            continue
        ids = np.stack(
            [(part >> np.uint64(48 - 16 * place)) & np.uint64(0xFFFF) for place in range(WIDTH)], 1
        )
        used = ids != 0
        codes = code_of[ids]
        sizes = 1 + (codes >= 0x80) + (codes >= 0x800) + (codes >= 0x10000).astype(np.int64)
        offsets = np.append(0, np.cumsum((sizes * used).sum(1), dtype=np.int64))
        words = codes[used].astype("<u4").tobytes().decode("utf-32-le", "surrogatepass").encode("utf-8")
        yield Columns(offsets.tobytes(), words, times)
